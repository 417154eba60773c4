"""Settling: accounting for everything that is due, before a command is applied.

Every nominal time up to now ends as a run or as a skip with a reason, under the definition in force. Otherwise an
update or a pause that arrives between due and trigger would make a fire vanish.
"""

from __future__ import annotations

from typing import NamedTuple

from taskscheduler.domain import events as ev
from taskscheduler.domain.draft import Draft, ended, tzdata_of
from taskscheduler.domain.plan import AFTER_FIRES, BUFFERS, Skip, plan_fires, plan_one_time
from taskscheduler.domain.retry import GiveUp, after_failure
from taskscheduler.domain.schedule import Schedule, count_between, is_recurring, next_after, nominal_of, prev_before
from taskscheduler.domain.state import MAX_ACTIVE_RUNS, Run
from taskscheduler.domain.values import DAY, Instant, Millis

SINGLE_SKIPS = 100
"""More skips than this in one decision are shown as one row each reason."""

_LOST = ev.Error(type="Lost", message="the holder of the attempt was not heard from within its lease")


def settle(draft: Draft) -> None:
    """Bring the task up to `draft.now`: runs whose timer is over, then fire times, then the backlog."""
    task = draft.task
    if task.definition is None:
        return
    if task.dues and min(task.dues.values()) <= draft.now:
        _settle_runs(draft)
    if task.next_fire is not None and task.next_fire <= draft.now:
        _settle_fires(draft)
    catch_up(draft)
    if task.expire_at is not None and task.expire_at <= draft.now:
        _expire(draft, task.expire_at)


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
    if len(task.runs) >= (MAX_ACTIVE_RUNS if task.definition.overlap == "allow_all" else 1):
        return False
    schedule = task.definition.schedule
    # What a backlog holds was missed, unless it was put there to wait for a run that was active.
    waited = task.definition.overlap in BUFFERS and task.definition.catch_up.policy != "all"
    _fire(draft, schedule, backlog.next, "schedule" if waited else "catch_up")
    following = next_after(schedule, backlog.next)
    rest = ev.Backlog(following, backlog.until) if following is not None and following < backlog.until else None
    if rest is not None and draft.task.exhausted:
        _skip_range(draft, schedule, rest.next, rest.until, "missed")
        rest = None
    _advance(draft, schedule, task.next_fire, rest)
    return True


def drop_owed(draft: Draft) -> None:
    """Account for fire times that have come but will not run any more, because the schedule ends or changes."""
    task = draft.task
    if task.definition is None:
        return
    schedule = task.definition.schedule
    if task.backlog is not None:
        _skip_range(draft, schedule, task.backlog.next, task.backlog.until, "missed")
        _advance(draft, schedule, task.next_fire, None)
    elif task.pause is not None and task.next_fire is not None and task.next_fire <= draft.now:
        # Settling leaves only the fire time of a one-time task to wait for the end of a pause.
        _skip_one(draft, schedule, task.next_fire, "paused")
        _advance(draft, schedule, None, None)


def plan_retention(draft: Draft) -> None:
    """See to it that what has just ended is looked at again when it has been kept long enough."""
    task = draft.task
    if task.deleted_at is not None:
        due = task.deleted_at + draft.policy.keep_deleted
        if task.expire_at is None or task.expire_at != due:
            draft.add(ev.RetentionPlanned(at=draft.now, expire_at=due))
    elif task.definition is not None and task.expire_at is None and ended(task) > draft.ended_before:
        draft.add(ev.RetentionPlanned(at=draft.now, expire_at=draft.now + draft.policy.keep_runs))


def fail_attempt(
    draft: Draft,
    run: Run,
    outcome: ev.AttemptFailure,
    error: ev.Error,
    *,
    retryable: bool = True,
    retry_after: Millis | None = None,
) -> None:
    """End the run's active attempt and decide what follows by the retry policy in force."""
    definition = draft.task.definition
    assert definition is not None and run.attempts
    following = after_failure(
        definition.retry,
        len(run.attempts),
        first_started=run.attempts[0].started_at,
        now=draft.now,
        error_type=error.type,
        retryable=retryable,
        retry_after=retry_after,
        chance=draft.chance(),
    )
    draft.add(
        ev.AttemptFailed(
            at=draft.now,
            run_id=run.id,
            number=run.attempts[-1].number,
            outcome=outcome,
            error=error,
            retry_at=None if isinstance(following, GiveUp) else following,
            reason=following.reason if isinstance(following, GiveUp) else None,
        )
    )
    requeue(draft, run.id)


def lose(draft: Draft, run: Run) -> None:
    """The holder of the run's active attempt is gone."""
    fail_attempt(draft, run, "lost", _LOST)


def requeue(draft: Draft, run_id: str) -> None:
    """Make a retrying run claimable when its delay is over."""
    run = draft.task.runs.get(run_id)
    if run is not None and run.retry_at is not None and run.retry_at <= draft.now:
        draft.add(ev.RunRequeued(at=draft.now, run_id=run_id))


def _settle_runs(draft: Draft) -> None:
    now = draft.now
    for run_id in sorted(run_id for run_id, due in draft.task.dues.items() if due <= now):
        run = draft.task.runs[run_id]
        attempt = run.active_attempt
        if attempt is None:
            requeue(draft, run_id)
        elif attempt.deadline <= attempt.lease_until and attempt.deadline <= now:
            error = ev.Error(type="TimedOut", message="the attempt did not end within its timeout")
            fail_attempt(draft, run, "timed_out", error)
        else:
            lose(draft, run)


def _settle_fires(draft: Draft) -> None:
    task, now = draft.task, draft.now
    assert task.definition is not None and task.next_fire is not None
    schedule = task.definition.schedule
    after = next_after(schedule, now)
    if task.pause is not None:
        if not is_recurring(schedule):
            return  # its only run waits for the end of the pause
        _skip_range(draft, schedule, task.next_fire, now + 1, "paused")
        _advance(draft, schedule, after, task.backlog)
        return
    plan = plan_fires(task, now, draft.policy.late_after) if is_recurring(schedule) else plan_one_time(task)
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
    _advance(draft, schedule, after, plan.backlog)


class _Counted(NamedTuple):
    start: Instant
    end: Instant
    reason: ev.SkipReason
    times: int


def _counted(schedule: Schedule, ranges: list[Skip]) -> list[_Counted]:
    counted = (_Counted(start, end, reason, count_between(schedule, start, end)) for start, end, reason in ranges)
    return [skip for skip in counted if skip.times]


def _skip_range(draft: Draft, schedule: Schedule, start: Instant, end: Instant, reason: ev.SkipReason) -> None:
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
    draft.queue(cause, fire, nominal_at=nominal_of(schedule, fire))


def _cancel_runs(draft: Draft) -> None:
    for run_id in sorted(draft.task.runs):
        draft.add(ev.RunCancelled(at=draft.now, run_id=run_id, by="overlap"))


def _advance(draft: Draft, schedule: Schedule, next_fire: Instant | None, backlog: ev.Backlog | None) -> None:
    if draft.task.exhausted:
        next_fire = None
    draft.add(ev.ScheduleAdvanced(at=draft.now, next_fire=next_fire, backlog=backlog, tzdata=tzdata_of(schedule)))


def _expire(draft: Draft, due: Instant) -> None:
    """Drop what has been kept long enough: the deleted task whole, or finished runs, at most once a day."""
    task, now = draft.task, draft.now
    if task.deleted_at is not None:
        draft.add(ev.TaskPurged(at=now))
        return
    before = now - draft.policy.keep_runs
    if task.runs:
        before = min(before, *(run.scheduled_for for run in task.runs.values()))
    ends = (run.finished_at for run in (task.last_finished, task.last_skipped) if run is not None)
    kept = bool(task.runs) or any(at is not None and at >= before for at in ends)
    draft.add(ev.RunsExpired(at=now, before=before, next=max(now, due) + DAY if kept else None))
