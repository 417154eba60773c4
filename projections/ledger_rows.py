"""What the ledger needs beside runs: a compact index of what changed when a task should fire, of long skips, and of
backfills."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from taskscheduler.domain import events as ev
from taskscheduler.domain.calendar_days import with_calendar
from taskscheduler.domain.decision import Accepted
from taskscheduler.domain.ledger import RUNS_FOR, Era, Settled
from taskscheduler.domain.schedule import Schedule, nominal_of
from taskscheduler.domain.values import Instant
from taskscheduler.projections.changes import Change, DeleteRange, Put
from taskscheduler.projections.runs import RunView
from taskscheduler.projections.tables import Column, Table

ENDED = "schedule.ended"
"""The type of the row that says that a schedule has made as many runs as it may; no event does."""


FOLLOWED = ev.CalendarFollowed.__struct_config__.tag
"""The type of the row of a calendar's other days."""


class ScheduleChange(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A change at `at` of when a task should fire. `schedule` is set where one took force, for nominal times from
    `effective_from` on if that is given; `planned` is the change that is planned since then.
    """

    task_id: str
    at: Instant
    version: int
    number: int
    type: str
    by: str = ""
    note: str = ""
    schedule: Schedule | None = None
    effective_from: Instant | None = None
    planned: ev.Pending | None = None

    @property
    def ends(self) -> bool:
        """Whether no schedule is in force since then."""
        return self.type in _ENDING


class SkippedStretch(msgspec.Struct, frozen=True, gc=False):
    """One row of `count` skips, from `nominal_at` to `nominal_until`, settled at `at`."""

    task_id: str
    nominal_until: Instant
    nominal_at: Instant
    count: int
    reason: ev.SkipReason
    at: Instant
    version: int


class Backfilled(msgspec.Struct, frozen=True, gc=False):
    """A backfill has made the runs for the nominal times of `schedule` in start <= t < until."""

    task_id: str
    id: str
    schedule: Schedule
    start: Instant
    until: Instant


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
BACKFILLED = Table("backfilled", Backfilled, partition=(Column("task_id"),), clustering=(Column("id"),))
KEPT = Table("runs_kept", RunsKept, partition=(Column("task_id"),))

_PAUSES = (ev.TaskPaused, ev.TaskResumed)
_ENDS = (ev.TaskCancelled, ev.TaskDeleted)
_RELEVANT = frozenset(
    (
        ev.TaskCreated,
        ev.TaskUpdated,
        ev.ScheduleSwitched,
        ev.CalendarFollowed,
        ev.FiresSkipped,
        ev.RunsExpired,
        ev.TaskPurged,
        *_PAUSES,
        *_ENDS,
    )
)
_ENDING = frozenset((ENDED, *(str(event.__struct_config__.tag) for event in _ENDS)))
_PAUSING = frozenset(str(event.__struct_config__.tag) for event in _PAUSES)


def project(accepted: Accepted) -> Sequence[Change]:
    """A row for each change of what is to come, and for each stretch of skips; most decisions have none."""
    events, after = accepted.record.events, accepted.after
    bounded = after.definition is not None and after.definition.schedule.max_runs is not None
    if not bounded and not after.backfills and _RELEVANT.isdisjoint([type(event) for event in events]):
        return ()
    rows = _Rows(accepted)
    for number, event in enumerate(events):
        rows.take(number, event)
    rows.finish()
    return rows.changes


class _Rows:
    """The rows of one decision."""

    def __init__(self, accepted: Accepted) -> None:
        before = accepted.before
        self.changes: list[Change] = []
        self._after = accepted.after
        self._actor = accepted.record.actor
        self._events = accepted.record.events
        self._schedule = None if before.definition is None else before.definition.schedule
        self._planned = before.pending
        self._made, self._ended = before.scheduled, before.exhausted
        self._backfilled: dict[str, Instant] = {}

    def take(self, number: int, event: ev.Event) -> None:
        """Take in one of the events."""
        task_id, version = self._after.id, self._after.version
        match event:
            case ev.TaskCreated():
                self._begin(number, event, event.definition.schedule)
            case ev.TaskUpdated(definition=definition, pending=planned):
                if definition.schedule != self._schedule:
                    self._begin(number, event, definition.schedule, planned=planned)
                elif planned != self._planned:
                    self._planned = planned
                    self._put(number, event, planned=planned)
            case ev.ScheduleSwitched(effective_from=effective_from):
                self._begin(number, event, event.schedule, effective_from=effective_from)
            case ev.CalendarFollowed():
                self._follow(number, event)
            case ev.TaskPaused(note=note, by=by) | ev.TaskResumed(note=note, by=by):
                self._put(number, event, by=by, note=note)
            case ev.TaskCancelled(by=by) | ev.TaskDeleted(by=by):
                self._put(number, event, by=by)
            case ev.RunQueued(backfill_id=str(backfill_id), nominal_at=int(at)):
                self._backfilled[backfill_id] = at + 1
            case ev.RunQueued(nominal_at=int()):
                self._made += 1
            case ev.FiresSkipped(nominal_until=int(until)):
                first, count, reason = event.nominal_at, event.count, event.reason
                row = SkippedStretch(task_id, until, first, count, reason, event.at, version)
                self.changes.append(Put(STRETCHES, row))
            case ev.RunsExpired(before=kept):
                self.changes += (Put(KEPT, RunsKept(task_id, kept)), DeleteRange(STRETCHES, (task_id,), None, (kept,)))
            case ev.TaskPurged():
                self._schedule = None
                self.changes = [DeleteRange(table, (task_id,)) for table in (CHANGES, STRETCHES, BACKFILLED, KEPT)]
            case _:
                pass

    def finish(self) -> None:
        """What follows from all of them."""
        most = None if self._schedule is None else self._schedule.max_runs
        if most is not None and self._made >= most and not self._ended:
            self._put(len(self._events), self._events[-1], type=ENDED)
        for backfill_id, until in self._backfilled.items():
            backfill = self._after.backfills.get(backfill_id)
            if backfill is not None:
                row = Backfilled(self._after.id, backfill_id, backfill.schedule, backfill.start, until)
                self.changes.append(Put(BACKFILLED, row))

    def _begin(
        self,
        number: int,
        event: ev.Event,
        schedule: Schedule,
        *,
        effective_from: Instant | None = None,
        planned: ev.Pending | None = None,
    ) -> None:
        self._schedule, self._planned, self._made, self._ended = schedule, planned, 0, False
        self._put(number, event, schedule=schedule, effective_from=effective_from, planned=planned)

    def _follow(self, number: int, event: ev.CalendarFollowed) -> None:
        if self._schedule is None:
            return
        schedule = self._schedule = with_calendar(self._schedule, event.calendar)
        self._planned = event.pending
        if schedule.max_runs is not None and self._made >= schedule.max_runs:
            # It has ended, and other days do not begin it anew.
            self._put(number, event, planned=event.pending)
            return
        # What has come and waits, for the end of its jitter or of a pause, is named by the new days already.
        first = None if event.next_fire is None else nominal_of(schedule, event.next_fire)
        since = first if first is not None and first <= event.at else None
        self._put(number, event, schedule=schedule, effective_from=since, planned=event.pending)

    def _put(
        self,
        number: int,
        event: ev.Event,
        *,
        type: str | None = None,
        by: str | None = None,
        note: str = "",
        schedule: Schedule | None = None,
        effective_from: Instant | None = None,
        planned: ev.Pending | None = None,
    ) -> None:
        row = ScheduleChange(
            self._after.id,
            event.at,
            self._after.version,
            number,
            ev.tag_of(event) if type is None else type,
            self._actor if by is None else by,
            note,
            schedule,
            effective_from,
            planned,
        )
        self.changes.append(Put(CHANGES, row))


def eras_of(changes: Iterable[ScheduleChange]) -> list[Era]:
    """When each schedule was in force, by the changes in their order."""
    eras: list[Era] = []
    given: tuple[Schedule, Instant] | None = None
    planned: ev.Pending | None = None
    for change in changes:
        if change.type in _PAUSING:
            continue
        if change.schedule is not None or change.ends:
            if given is not None:
                before, goes_on = change.effective_from, change.type == FOLLOWED
                until = change.at if before is None else None
                eras.append(Era(*given, until, before=before, goes_on=goes_on))
            given = None
        if change.schedule is not None:
            since = change.at if change.effective_from is None else change.effective_from - 1
            given = (change.schedule, since)
        # The last run of a schedule does not take away the one that is planned after it.
        if change.type != ENDED:
            planned = change.planned
    if given is not None:
        eras.append(Era(*given, before=None if planned is None else planned.effective_from))
    if planned is not None:
        eras.append(Era(planned.schedule, planned.effective_from - 1, planned=True))
    return eras


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
