"""What the commands of `replay` work on, and what becomes of what goes wrong there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from taskscheduler.api.cli.errors import FAILED, UNAVAILABLE, Failed
from taskscheduler.api.cli.output import Format, say
from taskscheduler.api.settings import Settings
from taskscheduler.commands.ports import LogUnavailable
from taskscheduler.projections.ports import ViewsUnavailable
from taskscheduler.streams.codec import UnknownEvent
from taskscheduler.streams.replay.exporting import ExportRefused
from taskscheduler.streams.replay.file import ExportDamaged
from taskscheduler.streams.replay.importing import ImportRefused
from taskscheduler.streams.rocksdb.rebuild import NothingToRebuild
from taskscheduler.streams.rocksdb.refusals import DataRefused, StorageFailed

if TYPE_CHECKING:
    from taskscheduler.streams.replay.folding import Place

Output = Annotated[Format | None, Parameter(name=["--output", "-o"], help="Default: table on a terminal, else json.")]
Execute = Annotated[bool, Parameter(negative="", help="Do it; without this it is only told what would be done.")]

EVERY = 2.0
"""Seconds between two lines about how far something is."""


def place_of(settings: Settings) -> Place:
    """Where the log is that the settings name."""
    return settings.data_dir if settings.profile == "embedded" else settings.kafka


@contextmanager
def explained() -> Iterator[None]:
    """Whatever is no fault of this program becomes a line on standard error and an exit code."""
    try:
        yield
    except (LogUnavailable, ViewsUnavailable) as error:
        say(f"taskscheduler: {error}")
        raise Failed(UNAVAILABLE) from error
    except UnknownEvent as error:
        say(f"taskscheduler: the log was written by a newer release, so use that one: {error}")
        raise Failed(FAILED) from error
    except (DataRefused, StorageFailed, ExportRefused, ExportDamaged, ImportRefused, NothingToRebuild) as error:
        say(f"taskscheduler: {error}")
        raise Failed(FAILED) from error
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("aiokafka", "cassandra"):
            raise
        say(f"taskscheduler: the cluster profile needs the package {error.name}: pip install 'taskscheduler[cluster]'")
        raise Failed(FAILED) from error
    except OSError as error:
        if error.filename is None:
            raise
        say(f"taskscheduler: {error.filename}: {error.strerror}")
        raise Failed(FAILED) from error


def progress() -> Callable[[int, int], None]:
    """Says how far something is, records done of total, and how many a second; seldom enough to be read."""
    started = last = monotonic()
    first: int | None = None

    def tell(done: int, total: int) -> None:
        nonlocal last, first
        if first is None:
            first = done
        now = monotonic()
        if now - last >= EVERY:
            last = now
            say(f"{done:,} of {total:,} records, {(done - first) / (now - started):,.0f} a second")

    return tell
