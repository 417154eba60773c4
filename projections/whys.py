"""Why a task did or did not run at an instant: what the read models hold about it, in the order it happened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from taskscheduler.domain import events as ev
from taskscheduler.domain.clock_notes import note_of
from taskscheduler.domain.excluded import Exclusion
from taskscheduler.domain.ids import run_id_floor
from taskscheduler.domain.ledger import Era
from taskscheduler.domain.limit_definition import limit_id, limits_of, own_limit
from taskscheduler.domain.schedule import count_between, left_out_by, next_after, nominal_of, prev_before
from taskscheduler.domain.values import DAY, Instant
from taskscheduler.projections.events import EVENTS, DecisionView
from taskscheduler.projections.ledger_rows import KEPT, STRETCHES, ScheduleChange, SkippedStretch, eras_of
from taskscheduler.projections.ledgers import Ledgers
from taskscheduler.projections.limits import LIMITS, LimitView, is_full
from taskscheduler.projections.ports import ViewReader
from taskscheduler.projections.runs import RUNS, RunView
from taskscheduler.projections.task_view import TaskView

Outcome: TypeAlias = Literal[
    "fired",
    "caught_up",
    "triggered",
    "retried",
    "backfilled",
    "chained",
    "ignored",
    "skipped",
    "to_come",
    "pending",
    "owed",
    "not_a_fire_time",
    "not_kept",
    "unaccounted",
]

MOST_DECISIONS = 2_000
"""Decisions looked through for those about a run."""

_LOOKED_BACK = 200
"""Runs looked through for the one that was active."""

_BY_CAUSE: dict[ev.RunCause, Outcome] = {
    "schedule": "fired",
    "catch_up": "caught_up",
    "manual": "triggered",
    "retry": "retried",
    "backfill": "backfilled",
    "chain": "chained",
}
_decode = msgspec.json.Decoder(list[ev.Event]).decode


class Step(msgspec.Struct, frozen=True, gc=False):
    """An event of the chain, and the version that its decision made."""

    version: int
    event: ev.Event


class Why(msgspec.Struct, frozen=True, gc=False):
    """What is known of one instant. `nominal_at` and `fire_at` are None where no schedule named it.

    `change` is what gave the schedule as it was then (or ended it), `paused` the pause in force when it was settled,
    `before` and `after` are the nearest fire times of the schedule in force, `active` is the run that was in the way,
    `quiet_since` when the task was last decided on before it was settled, `clock` what a clock change did, and
    `left_out` what of `except` takes the time away.
    `held_by` is a limit that leaves the run no room now, where it waits.
    `backfill_id` is a backfill that made a run for it too.
    """

    task_id: str
    at: Instant
    now: Instant
    outcome: Outcome
    nominal_at: Instant | None = None
    fire_at: Instant | None = None
    run: RunView | None = None
    stretch: SkippedStretch | None = None
    settled_at: Instant | None = None
    change: ScheduleChange | None = None
    paused: ScheduleChange | None = None
    before: Instant | None = None
    after: Instant | None = None
    active: RunView | None = None
    quiet_since: Instant | None = None
    clock: str | None = None
    left_out: tuple[Exclusion, ...] = ()
    backfill_id: str | None = None
    steps: tuple[Step, ...] = ()
    held_by: LimitView | None = None


class Whys:
    """Answers from a store of read models."""

    def __init__(self, store: ViewReader) -> None:
        self._store = store
        self._ledgers = Ledgers(store)

    async def why(self, view: TaskView, at: Instant, now: Instant) -> Why:
        """What is known of one instant in the life of a task that was read just now."""
        known = await self._why(view, at, now)
        if known.run is None or known.run.status != "queued":
            return known
        return msgspec.structs.replace(known, held_by=await self._held_by(view, now))

    async def _held_by(self, view: TaskView, now: Instant) -> LimitView | None:
        """The first limit that leaves no room for another run of the task."""
        own = own_limit(view.definition)
        for name in limits_of(view.definition):
            limit = await self._store.get(LIMITS, (limit_id(name),))
            if limit is not None and is_full(limit, own[1] if own is not None and own[0] == name else None, now):
                return limit
        return None

    async def _why(self, view: TaskView, at: Instant, now: Instant) -> Why:
        changes = await self._ledgers.changes(view.id, at)
        eras = eras_of(changes)
        named = _named(eras, at)
        if named is not None:
            return await self._fire_time(view, changes, *named, at=at, now=now)
        async for run in self._ledgers.runs(view.id, at, at + 1):
            if run.status == "skipped" and run.cause == "chain":
                return Why(view.id, at, now, "ignored", fire_at=at, run=run)
            if run.status != "skipped":
                steps = await self._steps(view, run.scheduled_for, run)
                return Why(view.id, at, now, _BY_CAUSE[run.cause], run.nominal_at, at, run, steps=steps)
        if (backfill_id := await self._backfilled(view.id, at)) is not None:
            return Why(view.id, at, now, "backfilled", at, backfill_id=backfill_id)
        return self._nothing(view, changes, eras, at, now)

    async def _fire_time(
        self,
        view: TaskView,
        changes: Sequence[ScheduleChange],
        era: Era,
        nominal: Instant,
        *,
        at: Instant,
        now: Instant,
    ) -> Why:
        fire = era.fire_of(nominal)
        change = _giving(changes, era)
        clock = note_of(era.schedule, fire - DAY, nominal)
        backfill_id = await self._backfilled(view.id, nominal)
        known = Why(view.id, at, now, "unaccounted", nominal, fire, change=change, clock=clock, backfill_id=backfill_id)
        async for run in self._ledgers.runs(view.id, nominal, fire + 1):
            if run.nominal_at != nominal or run.nominal_until is not None or run.cause in ("backfill", "chain"):
                continue
            if run.status == "skipped":
                settled = run.finished_at or fire
                return await self._skipped(view, changes, msgspec.structs.replace(known, run=run), settled)
            steps = await self._steps(view, fire, run)
            return msgspec.structs.replace(known, outcome=_BY_CAUSE[run.cause], run=run, steps=steps)
        rows = await self._store.scan(STRETCHES, (view.id,), start=(nominal,), limit=1)
        if rows and rows[0].nominal_at <= nominal:
            known = msgspec.structs.replace(known, stretch=rows[0])
            return await self._skipped(view, changes, known, rows[0].at)
        return msgspec.structs.replace(
            known,
            outcome=await self._open(view, era, nominal, fire, now),
            paused=_pause(changes, now + 1),
            active=await self._active(view.id, now),
        )

    async def _backfilled(self, task_id: str, nominal: Instant) -> str | None:
        """The backfill that has made a run for a nominal time, if one has."""
        async for row in self._ledgers.backfills(task_id):
            if row.start <= nominal < row.until and count_between(row.schedule, nominal, nominal + 1):
                return row.id
        return None

    async def _open(self, view: TaskView, era: Era, nominal: Instant, fire: Instant, now: Instant) -> Outcome:
        owed = view.owed
        if owed is not None and owed.since <= fire < owed.until:
            return "owed"
        if era.planned or (era.until is None and view.due_at is not None and fire >= view.due_at):
            return "to_come" if fire > now else "pending"
        kept = await self._store.get(KEPT, (view.id,))
        return "not_kept" if kept is not None and nominal < kept.since else "unaccounted"

    async def _skipped(self, view: TaskView, changes: Sequence[ScheduleChange], known: Why, settled: Instant) -> Why:
        version = await self._version_at(view, settled)
        steps = await self._steps(view, settled, None, nominal=known.nominal_at)
        decided = await self._store.get(EVENTS, (view.id,), (version - 1,)) if version > 1 else None
        return msgspec.structs.replace(
            known,
            outcome="skipped",
            settled_at=settled,
            paused=_pause(changes, settled),
            active=await self._active(view.id, settled),
            quiet_since=None if decided is None else decided.recorded_at,
            steps=steps,
        )

    def _nothing(
        self, view: TaskView, changes: Sequence[ScheduleChange], eras: Sequence[Era], at: Instant, now: Instant
    ) -> Why:
        before = after = clock = None
        left_out: tuple[Exclusion, ...] = ()
        change = _in_force(changes, at)
        goes_on = False
        for era in eras:
            if era.since > at:
                continue
            last = _before(era, at)
            before = before if last is None and goes_on else last
            goes_on = era.goes_on
            if era.until is None or at <= era.until:
                after = era.following(at)
                left_out = left_out_by(era.schedule, at)
                # What a clock change took away is told of the time that follows it.
                clock = None if after is None else note_of(era.schedule, at - DAY if before is None else before, after)
        if change is None and eras:
            after = eras[0].following(at)
        return Why(
            view.id,
            at,
            now,
            "not_a_fire_time",
            change=change,
            before=before,
            after=after,
            clock=clock,
            left_out=left_out,
            paused=_pause(changes, at),
        )

    async def _active(self, task_id: str, at: Instant) -> RunView | None:
        """A run that was queued, running or retrying at an instant."""
        for run in await self._store.scan(RUNS, (task_id,), start=(run_id_floor(at + 1),), limit=_LOOKED_BACK):
            if (
                run.status != "skipped"
                and run.scheduled_for < at
                and (run.finished_at is None or run.finished_at >= at)
            ):
                return run
        return None

    async def _version_at(self, view: TaskView, instant: Instant) -> int:
        """The first version recorded at or after an instant; they are recorded in order. What was purged is before."""
        low, high = 1, view.version + 1
        while low < high:
            middle = (low + high) // 2
            row = await self._store.get(EVENTS, (view.id,), (middle,))
            if row is None or row.recorded_at < instant:
                low = middle + 1
            else:
                high = middle
        return low

    async def _steps(
        self, view: TaskView, since: Instant, run: RunView | None, nominal: Instant | None = None
    ) -> tuple[Step, ...]:
        """The events about a run, or the one that skipped a nominal time, from an instant on."""
        version = await self._version_at(view, since)
        until = None if run is None else run.finished_at
        steps: list[Step] = []
        for _ in range(0, MOST_DECISIONS, 200):
            rows = await self._store.scan(EVENTS, (view.id,), start=(version,), limit=200)
            for row in rows:
                if until is not None and row.recorded_at > until:
                    return tuple(steps)
                steps += _about(row, run, nominal)
                if run is None and steps:
                    return tuple(steps)
            if len(rows) < 200:
                break
            version = rows[-1].version + 1
        return tuple(steps)


def _about(row: DecisionView, run: RunView | None, nominal: Instant | None) -> list[Step]:
    found: list[Step] = []
    for event in _decode(row.events):
        if run is not None and getattr(event, "run_id", None) == run.id and not isinstance(event, ev.KeyUsed):
            found.append(Step(row.version, event))
        elif run is None and nominal is not None and isinstance(event, ev.FiresSkipped):
            last = event.nominal_at if event.nominal_until is None else event.nominal_until
            if event.nominal_at <= nominal <= last:
                found.append(Step(row.version, event))
    return found


def _named(eras: Sequence[Era], at: Instant) -> tuple[Era, Instant] | None:
    """The era that names `at`, as a nominal time or as the moment to which jitter put one off."""
    for era in reversed(eras):
        if era.count(at, at + 1):
            return era, at
    for era in reversed(eras):
        if era.schedule.jitter and next_after(era.schedule, at - 1) == at:
            nominal = nominal_of(era.schedule, at)
            if era.count(nominal, nominal + 1):
                return era, nominal
    return None


def _before(era: Era, at: Instant) -> Instant | None:
    fire = prev_before(era.schedule, at if era.until is None else min(at, era.until + 1))
    if fire is None:
        return None
    nominal = nominal_of(era.schedule, fire)
    return nominal if era.count(nominal, nominal + 1) else None


def _in_force(changes: Sequence[ScheduleChange], at: Instant) -> ScheduleChange | None:
    """The last change by `at` of the schedule in force, or its end."""
    found = None
    for change in changes:
        since = change.at if change.effective_from is None else change.effective_from
        if since <= at and (change.schedule is not None or change.ends):
            found = change
    return found


def _giving(changes: Sequence[ScheduleChange], era: Era) -> ScheduleChange | None:
    """The change that gave an era its schedule, or planned to."""
    for change in reversed(changes):
        planned = None if change.planned is None else change.planned.schedule
        if era.schedule == (planned if era.planned else change.schedule):
            return change
    return None


def _pause(changes: Sequence[ScheduleChange], at: Instant) -> ScheduleChange | None:
    """The pause that was in force at `at`, or ended just then, if one was."""
    found = None
    for change in changes:
        if change.type.startswith(_PAUSED) and change.at <= at:
            found = change
        elif change.type.startswith(_RESUMED) and change.at < at:
            found = None
    return found


_PAUSED, _RESUMED = "task.paused", "task.resumed"
