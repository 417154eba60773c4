"""`replay export|import`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from taskscheduler.api.bootstrap import FAMILIES, system_clock
from taskscheduler.api.cli.configuration import SETTINGS, SettingsOptions
from taskscheduler.api.cli.output import Columns, say, show
from taskscheduler.api.cli.replay_places import Execute, Output, explained, place_of, progress
from taskscheduler.api.settings import Settings
from taskscheduler.streams.replay.exporting import Exported
from taskscheduler.streams.replay.exporting import export as export_log
from taskscheduler.streams.replay.folding import opened
from taskscheduler.streams.replay.importing import Checked, Imported, bring, check_file, missing
from taskscheduler.streams.replay.source import RocksSource
from taskscheduler.streams.replay.targets import RocksTarget
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.event_log import PARTITION

if TYPE_CHECKING:
    from taskscheduler.streams.kafka.client_options import KafkaSettings

File = Annotated[Path, Parameter(help="JSON lines, gzipped: `zcat` shows them.")]

_EXPORTED: Columns = {
    "file": lambda one: one.file,
    "log": lambda one: one.log,
    "records": lambda one: one.records,
    "resumed": lambda one: one.resumed or None,
    "bytes": lambda one: one.bytes,
    "sha256 of records": lambda one: one.sha256,
}


class Import(msgspec.Struct, frozen=True):
    """What is in a file and where it goes; `appended` were put there now, or would be, and `there` were already."""

    file: str
    log: str
    into: str
    records: int
    streams: int
    there: int
    appended: int
    done: bool


_IMPORT: Columns = {
    "file": lambda one: one.file,
    "log": lambda one: one.log,
    "into": lambda one: one.into,
    "records": lambda one: one.records,
    "tasks": lambda one: one.streams,
    "there already": lambda one: one.there,
    "appended": lambda one: one.appended if one.done else f"{one.appended} with --execute",
}


def export(file: File, settings: SettingsOptions = SETTINGS, *, output: Output = None) -> None:
    """Write all that is on the log into a file; begun again, it goes on where it was broken off.

    Servers may run meanwhile: what they append after the start is not in the file.
    """
    chosen = settings.load(check=False).settings
    with explained():
        done = asyncio.run(_export(chosen, file))
    show(done, _EXPORTED, output)


async def _export(settings: Settings, file: Path) -> Exported:
    async with opened(place_of(settings)) as source:
        return await export_log(source, file, now=system_clock(), progress=progress())


def import_(
    file: File, settings: SettingsOptions = SETTINGS, *, execute: Execute = False, output: Output = None
) -> None:
    """Append an export to an empty log: every task, run and id stays. Begun again, it goes on where it was broken off.

    No server may run on that log before it is done.
    """
    chosen = settings.load(check=False).settings
    with explained():
        say(f"checking {file}")
        checked = check_file(file)
        if chosen.profile == "embedded":
            into, done = str(chosen.data_dir), asyncio.run(_into_directory(file, checked, chosen.data_dir, execute))
        else:
            into = f"{chosen.kafka.topic_prefix} at {', '.join(chosen.kafka.bootstrap_servers)}"
            done = asyncio.run(_into_kafka(file, checked, chosen.kafka, execute))
    if not execute:
        say("nothing was changed: --execute does it")
    there = done.records - done.appended
    shown = Import(str(file), checked.header.log_id, into, done.records, checked.streams, there, done.appended, execute)
    show(shown, _IMPORT, output)


async def _into_directory(file: Path, checked: Checked, data_dir: Path, execute: bool) -> Imported:
    if not execute:
        if not (data_dir / "CURRENT").exists():
            return Imported(checked.end.records, checked.end.records)
        with Database(data_dir, (), read_only=True) as database:
            return await missing(file, RocksSource(database), lambda stream: PARTITION)
    with Database(data_dir, FAMILIES) as database:
        return await bring(file, RocksTarget(database), progress=_told(checked))


async def _into_kafka(file: Path, checked: Checked, settings: KafkaSettings, execute: bool) -> Imported:
    from taskscheduler.streams.kafka.genesis import find_or_begin
    from taskscheduler.streams.kafka.partitioning import partition_of
    from taskscheduler.streams.kafka.topics import prepare_topics
    from taskscheduler.streams.replay.kafka_source import KafkaSource
    from taskscheduler.streams.replay.kafka_target import KafkaTarget

    if execute:
        topics = await prepare_topics(settings)
        await find_or_begin(settings, topics.decisions)
    async with KafkaSource.open(settings) as source:
        if source is None:
            return Imported(checked.end.records, checked.end.records)
        if not execute:
            return await missing(file, source, lambda stream: partition_of(stream, source.partitions))
        target = KafkaTarget(settings, source)
        try:
            return await bring(file, target, progress=_told(checked))
        finally:
            await target.close()


def _told(checked: Checked) -> Callable[[int], None]:
    tell = progress()
    return lambda done: tell(done, checked.end.records)
