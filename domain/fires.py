"""Fire times that have come: carrying out what was planned for them, catching up, skipping."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from taskscheduler.domain import events as ev
from taskscheduler.domain.draft import Draft, tzdata_of
from taskscheduler.domain.errors import WrongState
from taskscheduler.domain.plan import AFTER_FIRES, BUFFERS, Plan, Skip, plan_fires, plan_one_time
from taskscheduler.domain.schedule import Schedule, count_between, is_recurring, next_after, nominal_of, prev_before
from taskscheduler.domain.state import MAX_ACTIVE_RUNS
from taskscheduler.domain.values import Instant

SINGLE_SKIPS = 100
"""More skips than this in one decision are shown as one row each reason."""


def catch_up(draft: Draft) -> None:
    """Queue the next fire time of the backlog when nothing is running: one after another, oldest first.

    Where runs may overlap, all that there is room for.
    """
    while _catch_up_next(draft):
        pass


def _catch_up_next(draft: Draft) -> bool:
    task = draft.task
    backlog = task.backlog
    if backlog is None or task.pause is not None or task.definition is None:
        return False
    if task.busy >= 1 and task.definition.overlap != "allow_all":
        return False
    if len(task.runs) >= MAX_ACTIVE_RUNS:
        return False
    schedule = task.definition.schedule
    # What a backlog holds was missed, or came in a pause, unless it was put there to wait for a run that was active.
    waited = task.definition.overlap in BUFFERS and task.definition.catch_up.policy != "all"
    if backlog.resumed_until is not None and backlog.next < backlog.resumed_until:
        waited = False
    _fire(draft, schedule, backlog.next, "schedule" if waited else "catch_up")
    following = next_after(schedule, backlog.next)
    rest = None
    if following is not None and following < backlog.until:
        rest = replace(backlog, next=following, count=backlog.count - 1)
    advance(draft, schedule, task.next_fire, rest)
    return True


def drop_owed(draft: Draft, end: Instant) -> None:
    """Account for fire times before `end` that will not run, because the schedule ends or changes."""
    task = draft.task
    if task.definition is None:
        return
    schedule = task.definition.schedule
    came = task.pause is not None and task.next_fire is not None and task.next_fire < end
    if task.backlog is None and not came:
        return
    if task.backlog is not None:
        skip_range(draft, schedule, task.backlog.next, task.backlog.until, "missed")
    if came and task.next_fire is not None:
        skip_range(draft, schedule, task.next_fire, end, "paused")
    advance(draft, schedule, next_after(schedule, end - 1) if came else task.next_fire, None)


def purge_owed(draft: Draft) -> None:
    """Skip what waits to be caught up or for the end of a run. Raises WrongState where nothing does."""
    task = draft.task
    if task.backlog is None or task.definition is None:
        raise WrongState("no fire time of the task waits to be caught up or for the end of a run: nothing is owed")
    schedule = task.definition.schedule
    skip_range(draft, schedule, task.backlog.next, task.backlog.until, "purged")
    advance(draft, schedule, task.next_fire, None)


def settle_fires(draft: Draft, end: Instant) -> None:
    """Account for the fire times before `end`; those of a paused task wait for the end of the pause."""
    task = draft.task
    if task.next_fire is None or task.next_fire >= end or task.definition is None or task.pause is not None:
        return
    schedule = task.definition.schedule
    recurring = is_recurring(schedule)
    plan = plan_fires(task, draft.now, end, draft.policy.late_after) if recurring else plan_one_time(task)
    carry_out(draft, schedule, plan, next_after(schedule, end - 1))


def carry_out(draft: Draft, schedule: Schedule, plan: Plan, after: Instant | None) -> None:
    """Do what was planned; `after` is the next fire time then."""
    task = draft.task
    assert task.definition is not None
    counted = _counted(schedule, plan.skips)
    rows = sum(skip.times for skip in counted)
    for skip in counted:
        if skip.reason not in AFTER_FIRES:
            _skip(draft, schedule, skip, rows)
    if plan.fires and task.definition.overlap == "cancel_other":
        _cancel_runs(draft)
    for fire, cause in plan.fires:
        if draft.task.exhausted:
            _skip_one(draft, schedule, fire, "missed")
        else:
            _fire(draft, schedule, fire, cause)
    for skip in counted:
        if skip.reason in AFTER_FIRES:
            _skip(draft, schedule, skip, rows)
    advance(draft, schedule, after, plan.backlog)


class _Counted(NamedTuple):
    start: Instant
    end: Instant
    reason: ev.SkipReason
    times: int


def _counted(schedule: Schedule, ranges: list[Skip]) -> list[_Counted]:
    counted = (_Counted(start, end, reason, count_between(schedule, start, end)) for start, end, reason in ranges)
    return [skip for skip in counted if skip.times]


def skip_range(draft: Draft, schedule: Schedule, start: Instant, end: Instant, reason: ev.SkipReason) -> None:
    """Skip the fire times in start <= t < end."""
    for skip in _counted(schedule, [(start, end, reason)]):
        _skip(draft, schedule, skip, skip.times)


def _skip(draft: Draft, schedule: Schedule, skip: _Counted, of: int) -> None:
    """Skip a range, one of those that make `of` skips together."""
    first = next_after(schedule, skip.start - 1)
    assert first is not None
    if of > SINGLE_SKIPS:
        last = prev_before(schedule, skip.end)
        nominal = nominal_of(schedule, first)
        draft.add(
            ev.FiresSkipped(
                at=draft.now,
                run_id=draft.new_run_id(nominal),
                nominal_at=nominal,
                nominal_until=None if last is None else nominal_of(schedule, last),
                count=skip.times,
                reason=skip.reason,
            )
        )
        return
    for _ in range(skip.times):
        assert first is not None
        _skip_one(draft, schedule, first, skip.reason)
        first = next_after(schedule, first)


def _skip_one(draft: Draft, schedule: Schedule, fire: Instant, reason: ev.SkipReason) -> None:
    nominal = nominal_of(schedule, fire)
    draft.add(ev.FiresSkipped(at=draft.now, run_id=draft.new_run_id(nominal), nominal_at=nominal, reason=reason))


def _fire(draft: Draft, schedule: Schedule, fire: Instant, cause: ev.RunCause) -> None:
    # A change of the schedule does not wait for what jitter has put off beyond it.
    draft.queue(cause, min(fire, draft.now), nominal_at=nominal_of(schedule, fire))


def _cancel_runs(draft: Draft) -> None:
    for run_id in sorted(run.id for run in draft.task.runs.values() if run.backfill_id is None):
        draft.add(ev.RunCancelled(at=draft.now, run_id=run_id, by="overlap"))


def advance(draft: Draft, schedule: Schedule, next_fire: Instant | None, backlog: ev.Backlog | None) -> None:
    """Everything before `next_fire` is settled, apart from `backlog`; nothing is to come once all runs are made."""
    if draft.task.exhausted:
        if backlog is not None:
            skip_range(draft, schedule, backlog.next, backlog.until, "missed")
        next_fire = backlog = None
    draft.add(ev.ScheduleAdvanced(at=draft.now, next_fire=next_fire, backlog=backlog, tzdata=tzdata_of(schedule)))
