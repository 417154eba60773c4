"""What the ledger needs beside runs: a compact index of what changed when a task should fire, and of long skips."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from taskscheduler.domain import events as ev
from taskscheduler.domain.decision import Accepted
from taskscheduler.domain.ledger import RUNS_FOR, Era, Settled
from taskscheduler.domain.schedule import Schedule
from taskscheduler.domain.values import Instant
from taskscheduler.projections.changes import Change, DeleteRange, Put
from taskscheduler.projections.runs import RunView
from taskscheduler.projections.tables import Column, Table

ENDED = "schedule.ended"
"""The type of the row that says that a schedule has made as many runs as it may; no event does."""


class ScheduleChange(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A change at `at` of when a task should fire. `schedule` is set where the event brings one."""

    task_id: str
    at: Instant
    version: int
    number: int
    type: str
    by: str = ""
    note: str = ""
    schedule: Schedule | None = None


class SkippedStretch(msgspec.Struct, frozen=True, gc=False):
    """One row of `count` skips, from `nominal_at` to `nominal_until`, settled at `at`."""

    task_id: str
    nominal_until: Instant
    nominal_at: Instant
    count: int
    reason: ev.SkipReason
    at: Instant
    version: int


class RunsKept(msgspec.Struct, frozen=True, gc=False):
    """Runs scheduled before `since` are no longer kept."""

    task_id: str
    since: Instant


CHANGES = Table(
    "schedule_changes",
    ScheduleChange,
    partition=(Column("task_id"),),
    clustering=(Column("at", "int"), Column("version", "int"), Column("number", "int")),
)
STRETCHES = Table(
    "skipped_stretches",
    SkippedStretch,
    partition=(Column("task_id"),),
    clustering=(Column("nominal_until", "int"), Column("version", "int"), Column("nominal_at", "int")),
)
KEPT = Table("runs_kept", RunsKept, partition=(Column("task_id"),))

_PAUSES = (ev.TaskPaused, ev.TaskResumed)
_ENDS = (ev.TaskCancelled, ev.TaskDeleted)
_RELEVANT = frozenset(
    (ev.TaskCreated, ev.TaskUpdated, ev.FiresSkipped, ev.RunsExpired, ev.TaskPurged, *_PAUSES, *_ENDS)
)


def project(accepted: Accepted) -> Sequence[Change]:
    """A row for each change of what is to come, and for each stretch of skips; most decisions have none."""
    events, after = accepted.record.events, accepted.after
    bounded = after.definition is not None and after.definition.schedule.max_runs is not None
    if not bounded and _RELEVANT.isdisjoint([type(event) for event in events]):
        return ()
    changes: list[Change] = []
    task_id, version, actor = after.id, after.version, accepted.record.actor
    before = accepted.before
    schedule = None if before.definition is None else before.definition.schedule
    made, ended = before.scheduled, before.exhausted

    def change(number: int, event: ev.Event, type: str, *, note: str = "", given: Schedule | None = None) -> None:
        row = ScheduleChange(task_id, event.at, version, number, type, actor, note, given)
        changes.append(Put(CHANGES, row))

    for number, event in enumerate(events):
        match event:
            case ev.TaskCreated(definition=definition) | ev.TaskUpdated(definition=definition):
                if isinstance(event, ev.TaskCreated) or definition.schedule != schedule:
                    schedule, made, ended = definition.schedule, 0, False
                    change(number, event, ev.tag_of(event), given=schedule)
            case ev.TaskPaused(note=note) | ev.TaskResumed(note=note):
                change(number, event, ev.tag_of(event), note=note)
            case ev.TaskCancelled() | ev.TaskDeleted():
                change(number, event, ev.tag_of(event))
            case ev.RunQueued(nominal_at=int()):
                made += 1
            case ev.FiresSkipped(nominal_until=int(until)):
                first, count, reason = event.nominal_at, event.count, event.reason
                changes.append(Put(STRETCHES, SkippedStretch(task_id, until, first, count, reason, event.at, version)))
            case ev.RunsExpired(before=kept):
                changes += (Put(KEPT, RunsKept(task_id, kept)), DeleteRange(STRETCHES, (task_id,), None, (kept,)))
            case ev.TaskPurged():
                schedule, made, ended = None, 0, False
                changes = [DeleteRange(table, (task_id,)) for table in (CHANGES, STRETCHES, KEPT)]
            case _:
                pass
    if not ended and schedule is not None and schedule.max_runs is not None and made >= schedule.max_runs:
        change(len(events), events[-1], ENDED)
    return changes


def eras_of(changes: Iterable[ScheduleChange]) -> list[Era]:
    """When each schedule was in force, by the changes in their order."""
    eras: list[Era] = []
    given: tuple[Schedule, Instant] | None = None
    for change in changes:
        if change.type in _KEEP:
            continue
        if given is not None:
            eras.append(Era(*given, change.at))
        given = None if change.schedule is None else (change.schedule, change.at)
    if given is not None:
        eras.append(Era(*given))
    return eras


_KEEP = frozenset(str(event.__struct_config__.tag) for event in _PAUSES)


def settled_of(run: RunView) -> Settled | None:
    """The nominal time that a run settles; None for runs beside the schedule, and for stretches, which have rows."""
    at = run.nominal_at
    if at is None or run.nominal_until is not None:
        return None
    if run.status == "skipped":
        return Settled(at, at, 1, "skipped", run.reason)  # type: ignore[arg-type]
    how = RUNS_FOR.get(run.cause)
    return None if how is None else Settled(at, at, 1, how)


def settled_in(stretch: SkippedStretch) -> Settled:
    """The nominal times of a stretch."""
    return Settled(stretch.nominal_at, stretch.nominal_until, stretch.count, "skipped", stretch.reason)
