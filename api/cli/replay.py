"""`replay verify|rebuild`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from cyclopts import Parameter

from taskscheduler.api import logs
from taskscheduler.api.bootstrap import FAMILIES, system_clock
from taskscheduler.api.cli.configuration import SETTINGS, SettingsOptions
from taskscheduler.api.cli.errors import INCOMPLETE, Failed, UsageError
from taskscheduler.api.cli.output import Columns, format_of, say, show, show_all
from taskscheduler.api.cli.replay_places import Execute, Output, explained, place_of, progress
from taskscheduler.api.settings import Settings
from taskscheduler.streams.replay.folding import log_of
from taskscheduler.streams.replay.report import Report
from taskscheduler.streams.replay.sides import Absent, EmbeddedRows, Replica
from taskscheduler.streams.rocksdb import rebuild as embedded
from taskscheduler.streams.rocksdb.buffer import Buffer
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.event_log import RocksEventLog

if TYPE_CHECKING:
    from taskscheduler.streams.cassandra.rebuild import Progress
    from taskscheduler.streams.replay.timers import Asked
    from taskscheduler.streams.replay.verify import Side

Which = Literal["state", "views", "timers"]

_COMPARED: Columns = {
    "side": lambda one: one.side,
    "result": lambda one: one.result,
    "tasks": lambda one: one.tasks,
    "different": lambda one: one.different,
    "up to": lambda one: ", ".join(f"{partition}:{position}" for partition, position in one.positions.items()),
    "behind": lambda one: one.behind or None,
    "detail": lambda one: one.detail,
}
_DIFFERENT: Columns = {
    "task": lambda one: one.task or "(of no single task)",
    "side": lambda one: one.side,
    "differs in": lambda one: ", ".join(one.parts),
}
_STEPS: Columns = {
    "outbox of": lambda one: one[0],
    "step": lambda one: one[1].number,
    "to": lambda one: one[1].to,
    "is": lambda one: one[1].found,
}


class Rebuild(msgspec.Struct, frozen=True):
    """What was done, or would be: `generation` takes the place of `in_force`, made of `records` of the log."""

    generation: int | None
    in_force: int | None
    records: int
    done: bool


_REBUILD: Columns = {
    "in force now": lambda one: one.in_force,
    "new generation": lambda one: one.generation,
    "records": lambda one: one.records,
    "done": lambda one: one.done,
}


def verify(
    settings: SettingsOptions = SETTINGS,
    *,
    replica: Annotated[
        list[Path] | None,
        Parameter(negative="", help="Of a cluster: the data directory of another process on this machine; repeatable."),
    ] = None,
    only: Annotated[
        list[Which] | None, Parameter(negative="", help="Compare this alone: state, views or timers; repeatable.")
    ] = None,
    processes: Annotated[int | None, Parameter(help="Default: as many as there are processors.")] = None,
    output: Output = None,
) -> None:
    """Fold the log afresh, and compare what was made of it: states, read models, timers. Changes nothing.

    Works while servers run. Exit 0 if all of it was compared and is the same; 1 if anything is otherwise than the log
    says, or could not be compared; 6 if what was compared is the same, but something was not there to compare.
    """
    from taskscheduler.streams.replay.verify import verify

    chosen = settings.load(check=False).settings
    wanted = set(only or ("state", "views", "timers"))
    with explained():
        sides: Sequence[Side]
        timers: Asked | None = None
        if chosen.profile == "embedded":
            sides = list(_embedded(chosen.data_dir, wanted))
        else:
            sides, timers = _of_cluster(chosen, [chosen.data_dir, *(replica or ())], wanted)
        report = verify(place_of(chosen), sides, processes or os.cpu_count() or 1, timers=timers, say=say)
    if format_of(output) == "table":
        _tell(report)
    else:
        show(report, {}, output)
    if report.wrong:
        raise Failed
    if not report.same:
        say(f"not there to compare: {', '.join(one.side for one in report.compared if one.result == 'absent')}")
        raise Failed(INCOMPLETE)


def _embedded(data_dir: Path, wanted: set[Which]) -> Iterator[Side]:
    if "state" in wanted:
        yield Replica("state", {0: data_dir})
    if "views" in wanted:
        yield EmbeddedRows(data_dir)


def _of_cluster(settings: Settings, data_dirs: Sequence[Path], wanted: set[Which]) -> tuple[list[Side], Asked | None]:
    from taskscheduler.api.cluster.commands import folder_of
    from taskscheduler.streams.replay.cassandra_rows import CassandraRows
    from taskscheduler.streams.replay.flink_timers import FlinkTimers

    sides: list[Side] = []
    if "state" in wanted:
        log_id, ends = log_of(settings.kafka)
        for data_dir in data_dirs:
            folder = folder_of(data_dir, log_id)
            found = {partition: path for partition in ends if (path := folder / str(partition)).is_dir()}
            if found:
                sides.append(Replica(f"state in {data_dir}", found))
            else:
                why = f"no process keeps its state of log {log_id} there: name those that do"
                sides.append(Absent(f"state in {data_dir}", why))
            if found and (lacking := [str(partition) for partition in sorted(ends.keys() - found.keys())]):
                name = f"state of partition {', '.join(lacking)} in {data_dir}"
                sides.append(Absent(name, "a process keeps all partitions, and these are not there"))
    if "views" in wanted:
        if settings.cassandra.contact_points:
            sides.append(CassandraRows(settings.cassandra, settings.kafka))
        else:
            sides.append(Absent("read models", "cassandra.contact_points is not set"))
    return sides, FlinkTimers(settings.kafka) if "timers" in wanted else None


def _tell(report: Report) -> None:
    say(f"{report.records:,} records of log {report.log} folded and compared in {report.seconds:,.1f} s")
    show_all(report.compared, _COMPARED, "table")
    if report.different:
        show_all(report.different, _DIFFERENT, "table")
    if steps := [(one.task, step) for one in report.different for step in one.steps]:
        show_all(steps, _STEPS, "table")


def rebuild(settings: SettingsOptions = SETTINGS, *, execute: Execute = False, output: Output = None) -> None:
    """Make all read models anew from the log, beside those in force, then switch to them.

    A cluster goes on meanwhile. An embedded server must be stopped.
    """
    chosen = settings.load(check=False).settings
    with explained():
        if chosen.profile == "embedded":
            done = _rebuild_embedded(chosen.data_dir, execute)
        else:
            logs.configure(chosen.log.format, chosen.log.level)  # projecting tells of what it tries again
            done = asyncio.run(_rebuild_cluster(chosen, execute))
    if not execute:
        say("nothing was changed: --execute does it")
    show(done, _REBUILD, output)


def _rebuild_embedded(data_dir: Path, execute: bool) -> Rebuild:
    if not execute:
        with Database(data_dir, (), read_only=True) as database:
            return _rebuilt(embedded.standing(database), False)
    if not (data_dir / "CURRENT").exists():
        raise UsageError(f"there is no data in {data_dir}")
    tell = progress()
    with Database(data_dir, FAMILIES) as database:
        found = embedded.standing(database)
        log = RocksEventLog(database, system_clock)
        asyncio.run(
            embedded.rebuild(
                database, Buffer(database), log, to=found.position, progress=lambda folded: tell(folded, found.position)
            )
        )
        database.sync_now()
    return _rebuilt(found, True)


def _rebuilt(found: embedded.Standing, done: bool) -> Rebuild:
    return Rebuild(found.in_force + 1, found.in_force, found.position, done)


async def _rebuild_cluster(settings: Settings, execute: bool) -> Rebuild:
    from taskscheduler.streams.cassandra import rebuild as cassandra
    from taskscheduler.streams.cassandra.schema import Schema
    from taskscheduler.streams.cassandra.session import Session
    from taskscheduler.streams.kafka.event_log import KafkaEventLog

    session = Session(settings.cassandra)
    try:
        before = await Schema(session).in_force()
        in_force = None if before is None else before.number
        if not execute:
            return Rebuild(None, in_force, await _records(settings), False)
        tell = progress()
        folded = 0

        def follow(now: Progress) -> None:
            nonlocal folded
            folded = now.folded
            tell(now.folded, now.total)

        log = await KafkaEventLog.open(settings.kafka, clock=system_clock)
        try:
            scratch = settings.data_dir / log.log_id / "rebuild"
            made = await cassandra.rebuild(
                session, log, log.log_id, log.partitions, scratch, clock=system_clock, progress=follow
            )
        finally:
            await log.close()
        return Rebuild(made.number, in_force, folded, True)
    finally:
        await session.close()


async def _records(settings: Settings) -> int:
    from taskscheduler.streams.replay.folding import opened

    async with opened(settings.kafka) as source:
        return sum((await source.ends()).values())
