"""`flink submit|status|savepoint|stop`."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from taskscheduler.api.cli.configuration import SETTINGS, SettingsOptions
from taskscheduler.api.cli.errors import Failed
from taskscheduler.api.cli.output import Columns, Format, say, show

if TYPE_CHECKING:
    from taskscheduler.streams.flink.rest import Checkpoint, Job

Output = Annotated[Format | None, Parameter(name=["--output", "-o"], help="Default: table on a terminal, else json.")]
Directory = Annotated[
    str | None, Parameter(name="--directory", help="Where to save it, a URI; else where Flink's configuration says.")
]

_FIELDS: Columns = {
    "id": lambda found: found.id,
    "name": lambda found: found.name,
    "state": lambda found: found.state,
    "running": lambda found: found.running,
    "started": lambda found: found.started_at,
    "parallelism": lambda found: found.parallelism,
    "restarts": lambda found: found.restarts,
    "failure": lambda found: found.failure,
    "failed": lambda found: found.failed_at,
    "checkpoint": lambda found: found.checkpoint and found.checkpoint.completed_at,
    "checkpoint age": lambda found: found.checkpoint and found.checkpoint.age,
    "checkpoint size": lambda found: found.checkpoint and found.checkpoint.size,
}


class Saved(msgspec.Struct, frozen=True):
    """A savepoint."""

    savepoint: str


class ShownCheckpoint(msgspec.Struct, frozen=True):
    """A checkpoint with instants and durations as people and programs are given them."""

    id: int
    completed_at: datetime
    age: timedelta
    duration: timedelta
    size: int
    written: int
    location: str


class ShownJob(msgspec.Struct, frozen=True):
    """A job, likewise."""

    id: str
    name: str
    state: str
    running: bool
    started_at: datetime
    parallelism: int
    restarts: int
    failure: str | None
    failed_at: datetime | None
    checkpoint: ShownCheckpoint | None


def submit(
    settings: SettingsOptions = SETTINGS,
    *,
    savepoint: Annotated[
        str | None, Parameter(name="--from", help="A savepoint or checkpoint to go on from; else the log's beginning.")
    ] = None,
    output: Output = None,
) -> None:
    """Start the job of the log that the settings name, and wait until it runs. It must not run already.

    Without a savepoint it reads the whole log, which takes a while and gives some triggers again: they decide nothing.
    """
    from taskscheduler.api.local_cluster import flink_home, jars
    from taskscheduler.streams.flink import control

    chosen = settings.load(check=False).settings
    home = chosen.flink.home or (Path(os.environ["FLINK_HOME"]) if os.environ.get("FLINK_HOME") else None)
    if home is None:
        home = jars.cache_dir() / "flink-home"
        flink_home.build(home)
        say(f"using the Flink distribution in {home}")
    environment = flink_home.environment(home)
    _show(asyncio.run(control.submit(chosen.kafka, chosen.flink, environment=environment, savepoint=savepoint)), output)


def status(settings: SettingsOptions = SETTINGS, *, output: Output = None) -> None:
    """Show how the job is: its parts, restarts, last failure and last checkpoint. Exit 1 unless all of it runs."""
    from taskscheduler.streams.flink import control

    chosen = settings.load(check=False).settings
    job = asyncio.run(control.status(chosen.kafka, chosen.flink))
    if job is None:
        say(f"no job keeps the timers of {chosen.kafka.topic_prefix} at {chosen.flink.url}")
        raise Failed
    _show(job, output)
    if not job.running:
        raise Failed


def savepoint(settings: SettingsOptions = SETTINGS, *, directory: Directory = None, output: Output = None) -> None:
    """Save the state of the job, and print where."""
    _save(settings, directory, output, stop=False)


def stop(settings: SettingsOptions = SETTINGS, *, directory: Directory = None, output: Output = None) -> None:
    """Save the state of the job, end it, and print where to go on from: `flink submit --from`."""
    _save(settings, directory, output, stop=True)


def _save(settings: SettingsOptions, directory: str | None, output: Format | None, *, stop: bool) -> None:
    from taskscheduler.streams.flink import control

    chosen = settings.load(check=False).settings
    saved = Saved(asyncio.run(control.savepoint(chosen.kafka, chosen.flink, directory, stop=stop)))
    show(saved, {"savepoint": lambda one: one.savepoint}, output)


def _show(job: Job, output: Format | None) -> None:
    shown = ShownJob(
        id=job.id,
        name=job.name,
        state=job.state,
        running=job.running,
        started_at=_moment(job.started_at),
        parallelism=job.parallelism,
        restarts=job.restarts,
        failure=job.failure,
        failed_at=None if job.failed_at is None else _moment(job.failed_at),
        checkpoint=None if job.checkpoint is None else _checkpoint(job.checkpoint),
    )
    show(shown, _FIELDS, output)


def _checkpoint(found: Checkpoint) -> ShownCheckpoint:
    age = max(0.0, time.time() - found.completed_at / 1_000)
    return ShownCheckpoint(
        id=found.id,
        completed_at=_moment(found.completed_at),
        age=timedelta(seconds=age),
        duration=timedelta(milliseconds=found.duration),
        size=found.size,
        written=found.written,
        location=found.location,
    )


def _moment(millis: int) -> datetime:
    return datetime.fromtimestamp(millis / 1_000, UTC)
