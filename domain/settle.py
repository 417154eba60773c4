"""Settling: accounting for everything that is due, before a command is applied.

Every nominal time up to now ends as a run or as a skip with a reason, under the definition in force. Otherwise an
update or a pause that arrives between due and trigger would make a fire vanish.
"""

from __future__ import annotations

from typing import NamedTuple

from taskscheduler.domain import events as ev
from taskscheduler.domain.draft import Draft, ended, tzdata_of
from taskscheduler.domain.retry import GiveUp, after_failure
from taskscheduler.domain.schedule import Schedule, count_between, is_recurring, next_after, nominal_of, prev_before
from taskscheduler.domain.state import MAX_ACTIVE_RUNS, Run, Task
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
    """Queue the next fire time of the backlog when nothing is running: one after another, oldest first."""
    task = draft.task
    backlog = task.backlog
    if backlog is None or task.runs or task.pause is not None or task.definition is None:
        return
    schedule = task.definition.schedule
    _fire(draft, schedule, backlog.next, "catch_up")
    following = next_after(schedule, backlog.next)
    rest = ev.Backlog(following, backlog.until) if following is not None and following < backlog.until else None
    if rest is not None and draft.task.exhausted:
        _skip_range(draft, schedule, rest.next, rest.until, "missed")
        rest = None
    _advance(draft, schedule, task.next_fire, rest)


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
    if not is_recurring(schedule):
        # The only run of a one-time task is never given up for being late, nor for a pause that covered it.
        if task.pause is None:
            if len(task.runs) >= MAX_ACTIVE_RUNS:
                _skip_one(draft, schedule, task.next_fire, "too_many_active")
            elif task.runs:
                _skip_one(draft, schedule, task.next_fire, "overlap")
            else:
                _fire(draft, schedule, task.next_fire, "schedule")
            _advance(draft, schedule, None, task.backlog)
        return
    after = next_after(schedule, now)
    if task.pause is not None:
        _skip_range(draft, schedule, task.next_fire, now + 1, "paused")
        _advance(draft, schedule, after, task.backlog)
        return
    skips, backlog, fire = _plan(task, now, draft.policy.late_after)
    counted = _counted(schedule, skips)
    rows = sum(skip.times for skip in counted)
    for skip in counted:
        if skip.reason != "overlap":
            _skip(draft, schedule, skip, rows)
    if fire is not None:
        _fire(draft, schedule, *fire)
    for skip in counted:
        if skip.reason == "overlap":
            _skip(draft, schedule, skip, rows)
    _advance(draft, schedule, after, backlog)


_Skip = tuple[Instant, Instant, ev.SkipReason]


def _plan(
    task: Task, now: Instant, late_after: Millis
) -> tuple[list[_Skip], ev.Backlog | None, tuple[Instant, ev.RunCause] | None]:
    """What becomes of the nominal times from `next_fire` to now: skips, the backlog, at most one run at once."""
    assert task.definition is not None and task.next_fire is not None
    schedule, policy = task.definition.schedule, task.definition.catch_up
    start, end = task.next_fire, now + 1
    late = now - late_after
    on_time = _first_from(schedule, start, late)
    on_time = on_time if on_time is not None and on_time <= now else None
    busy = bool(task.runs) or task.backlog is not None
    skips: list[_Skip] = []
    fire: tuple[Instant, ev.RunCause] | None = None
    if start < late:
        missed_end = late
        # What is not missed yet is not outside the window either, however short that is.
        oldest = min(now - policy.window, late)
        if policy.policy == "none":
            skips.append((start, missed_end, "missed"))
        elif policy.policy == "latest":
            last = prev_before(schedule, missed_end)
            wanted = last is not None and last >= max(start, oldest) and on_time is None
            cut = last if wanted and last is not None else missed_end
            skips += [(start, min(oldest, cut), "outside_window"), (max(start, oldest), cut, "missed")]
            if wanted and last is not None:
                if busy:
                    skips.append((last, missed_end, "overlap"))
                else:
                    fire = (last, "catch_up")
        else:
            return *_plan_backlog(task, start, oldest, missed_end, end), None
    if on_time is not None:
        if busy:
            skips.append((on_time, end, "overlap"))
        else:
            fire = (on_time, "schedule")
            skips.append((on_time + 1, end, "overlap"))
    return skips, task.backlog, fire


def _plan_backlog(
    task: Task, start: Instant, oldest: Instant, late: Instant, end: Instant
) -> tuple[list[_Skip], ev.Backlog | None]:
    """The last missed times within window and limit are caught up, and with them what is due now."""
    assert task.definition is not None
    schedule, limit = task.definition.schedule, task.definition.catch_up.limit
    skips: list[_Skip] = []
    older = task.backlog
    if older is not None:
        if count_between(schedule, older.until, start):
            # A cursor names one stretch; between the two lie fire times that were settled otherwise.
            skips.append((older.next, older.until, "missed"))
        else:
            start = older.next
    first = _last_n_start(schedule, max(start, oldest), end, limit)
    if first is None:
        first = end
    skips.append((start, min(oldest, first), "outside_window"))
    skips.append((max(start, oldest), min(first, late), "missed"))
    skips.append((max(start, late), first, "overlap"))
    return skips, (ev.Backlog(first, end) if first < end else None)


def _first_from(schedule: Schedule, start: Instant, instant: Instant) -> Instant | None:
    """The first nominal time at or after both instants."""
    return start if start >= instant else next_after(schedule, instant - 1)


def _last_n_start(schedule: Schedule, start: Instant, end: Instant, limit: int) -> Instant | None:
    """The first of the last `limit` nominal times in start <= t < end."""
    first, cursor = None, end
    for _ in range(limit):
        previous = prev_before(schedule, cursor)
        if previous is None or previous < start:
            break
        first = cursor = previous
    return first


class _Counted(NamedTuple):
    start: Instant
    end: Instant
    reason: ev.SkipReason
    times: int


def _counted(schedule: Schedule, ranges: list[_Skip]) -> list[_Counted]:
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
