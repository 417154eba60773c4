"""Backfills: runs for nominal times that are over, beside those that the schedule makes."""

from __future__ import annotations

from msgspec.structs import replace

from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import Definition
from taskscheduler.domain.draft import Draft, tzdata_of
from taskscheduler.domain.errors import BackfillNotFound, Invalid, WrongState
from taskscheduler.domain.schedule import Schedule, count_between, next_after
from taskscheduler.domain.state import MAX_ACTIVE_RUNS, MAX_BACKFILLS, Backfill
from taskscheduler.domain.values import DAY, Instant, Millis

MOST_BACKFILLED = 100_000
"""Fire times of one backfill."""

MAX_BACKFILL_RUNS = 500
"""Active runs of all backfills of a task: the others are left to its schedule."""

_NO_FIRE_TIME = (
    "the schedule names no fire time from `from` up to `to`: a preview shows which it names; an interval begins at its "
    "anchor, which is when the task was made unless it names one"
)

LONGEST_AGO: Millis = 3_660 * DAY
"""How long ago the fire times of a backfill may be."""


def request(draft: Draft, definition: Definition, command: msg.Backfill, by: str) -> str:
    """Begin a backfill; gives its id. Raises Invalid or WrongState."""
    if command.start >= command.until:
        raise Invalid("/to", "must be after `from`")
    if command.until > draft.now:
        raise Invalid("/to", "must be at most now: what is to come runs by the schedule")
    if command.start < draft.now - LONGEST_AGO:
        raise Invalid("/from", f"must be at most {LONGEST_AGO // DAY:,} days ago")
    # Jitter spreads load when times come; these are over. How many runs a schedule makes is about what is to come.
    schedule = replace(definition.schedule, jitter=0, max_runs=None)
    total = _count(schedule, command.start, command.until)
    first = next_after(schedule, command.start - 1)
    if not total or first is None:
        raise Invalid("/from", _NO_FIRE_TIME)
    if total > MOST_BACKFILLED:
        raise Invalid("/from", f"more than {MOST_BACKFILLED:,} fire times up to `to`: ask for less at a time")
    if sum(backfill.status == "running" for backfill in draft.task.backfills.values()) >= MAX_BACKFILLS:
        raise WrongState(f"the task has {MAX_BACKFILLS} backfills; wait for one to end or cancel it")
    backfill_id = draft.new_run_id(draft.now)
    draft.add(
        ev.BackfillRequested(
            at=draft.now,
            backfill_id=backfill_id,
            by=by,
            schedule=schedule,
            start=command.start,
            until=command.until,
            overlap=command.overlap,
            total=total,
            next=first,
            tzdata=tzdata_of(schedule),
        )
    )
    return backfill_id


def _count(schedule: Schedule, start: Instant, until: Instant) -> int:
    """How many fire times are asked for, or that they are too many.

    Some schedules can be counted only by walking: nobody should have to wait while years are, to be refused in the end.
    """
    total, step = 0, DAY
    while start < until and total <= MOST_BACKFILLED:
        end = min(start + step, until)
        total += count_between(schedule, start, end)
        start, step = end, 2 * step
    return total


def cancel(draft: Draft, backfill_id: str, by: str) -> None:
    """End a backfill and its active runs. Raises BackfillNotFound or WrongState."""
    backfill = draft.task.backfills.get(backfill_id)
    if backfill is None:
        raise BackfillNotFound(f"the task has no backfill {backfill_id!r}, or it ended long ago")
    if backfill.status != "running":
        raise WrongState(f"the backfill is {backfill.status}: there is nothing to cancel")
    for run_id in sorted(run.id for run in draft.task.runs.values() if run.backfill_id == backfill_id):
        draft.add(ev.RunCancelled(at=draft.now, run_id=run_id, by=by))
    _end(draft, backfill, by, "cancelled")


def cancel_runs_and_end_all(draft: Draft, by: str) -> None:
    """Cancel the active runs, whatever they are part of, and end the backfills, because the task ends."""
    running = [backfill.id for backfill in draft.task.backfills.values() if backfill.status == "running"]
    for run_id in sorted(draft.task.runs):
        draft.add(ev.RunCancelled(at=draft.now, run_id=run_id, by=by))
    for backfill_id in running:
        _end(draft, draft.task.backfills[backfill_id], by, "task_ended")


def fill(draft: Draft) -> None:
    """Make the runs of backfills that there is room for; none while the task is paused."""
    for backfill_id in draft.task.backfills if draft.task.pause is None else ():
        backfill = draft.task.backfills[backfill_id]
        room = min(MAX_BACKFILL_RUNS - draft.task.backfilling, MAX_ACTIVE_RUNS - len(draft.task.runs))
        if backfill.overlap == "buffer_all":
            room = min(room, 1 - backfill.active)
        at, made = backfill.next, 0
        while at is not None and made < room:
            draft.queue("backfill", at, nominal_at=at, backfill_id=backfill_id)
            following = next_after(backfill.schedule, at)
            at = following if following is not None and following < backfill.until else None
            made += 1
        if made:
            tzdata = tzdata_of(backfill.schedule)
            fired = backfill.fired + made
            draft.add(ev.BackfillAdvanced(at=draft.now, backfill_id=backfill_id, next=at, fired=fired, tzdata=tzdata))


def _end(draft: Draft, backfill: Backfill, by: str, reason: ev.BackfillEnd) -> None:
    draft.add(
        ev.BackfillEnded(at=draft.now, backfill_id=backfill.id, by=by, reason=reason, remaining=backfill.remaining)
    )
