"""Settling: accounting for everything that is due, before a command is applied.

Every nominal time up to now ends as a run or as a skip with a reason, under the definition in force. Otherwise an
update or a pause that arrives between due and trigger would make a fire vanish.
"""

from __future__ import annotations

from taskscheduler.domain import events as ev
from taskscheduler.domain.draft import Draft, ended
from taskscheduler.domain.fires import catch_up, settle_fires
from taskscheduler.domain.ids import instant_of
from taskscheduler.domain.retry import GiveUp, after_failure
from taskscheduler.domain.state import Attempt, Run
from taskscheduler.domain.switch import switch
from taskscheduler.domain.values import DAY, Instant, Millis

SCHEDULER = "scheduler"
"""Who pauses a task that keeps failing."""

LONGEST_NOTE = 1_000

HEARD_FOR = DAY
"""So long what the holder of an attempt reports that the scheduler ended is kept."""

MOST_RELEASED = 20
"""A run that so many holders gave back may be what makes them do so: from then on it is lost with each."""

_LOST = ev.Error(type="Lost", message="the holder of the attempt was not heard from within its lease")
_GONE = ev.Error(type="Lost", message="the holder of the attempt is gone")
_SILENT = ev.Error(
    type="HeartbeatTimeout", message="the holder of the attempt was not heard from within its heartbeat timeout"
)
_TIMED_OUT = ev.Error(type="TimedOut", message="the attempt did not end within its timeout")
_PAST_DEADLINE = ev.Error(type="DeadlineExceeded", message="the run did not end within its deadline")
_UNCLAIMED = ev.Error(type="QueueTimeout", message="the run was not claimed within its queue timeout")


def settle(draft: Draft) -> None:
    """Bring the task up to `draft.now`: runs whose timer is over, then fire times, then the backlog.

    The fire times that come in a pause wait for its end, which says what becomes of them.
    """
    task = draft.task
    if task.definition is None:
        return
    if task.dues and min(task.dues.values()) <= draft.now:
        _settle_runs(draft)
    switch(draft)
    settle_fires(draft, draft.now + 1)
    catch_up(draft)
    if task.expire_at is not None and task.expire_at <= draft.now:
        _expire(draft, task.expire_at)


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
    following: Instant | GiveUp = GiveUp("deadline")
    if run.deadline is None or run.deadline > draft.now:
        following = after_failure(
            definition.retry,
            run.tries,
            first_started=run.attempts[0].started_at,
            now=draft.now,
            error_type=error.type,
            retryable=retryable,
            retry_after=retry_after,
            chance=draft.chance(),
            deadline=run.deadline,
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
            heard_until=None if outcome == "failed" else draft.now + HEARD_FOR,
        )
    )
    requeue(draft, run.id)
    _pause_on_failure(draft, error)


def _fail_run(draft: Draft, run: Run, reason: ev.FailReason, error: ev.Error) -> None:
    """End a run of which no attempt is active."""
    draft.add(ev.RunFailed(at=draft.now, run_id=run.id, reason=reason, error=error))
    _pause_on_failure(draft, error)


def release(draft: Draft, run: Run) -> None:
    """The holder of the run's active attempt gives it back, which does not count; but not for ever."""
    if len(run.attempts) - run.tries >= MOST_RELEASED:
        lose(draft, run)
        return
    number = run.attempts[-1].number
    draft.add(ev.AttemptReleased(at=draft.now, run_id=run.id, number=number, claim_by=draft.claim_by()))


def lose(draft: Draft, run: Run) -> None:
    """The holder of the run's active attempt is gone."""
    fail_attempt(draft, run, "lost", _GONE)


def requeue(draft: Draft, run_id: str) -> None:
    """Make a retrying run claimable when its delay is over."""
    run = draft.task.runs.get(run_id)
    if run is not None and run.retry_at is not None and run.retry_at <= draft.now:
        draft.add(ev.RunRequeued(at=draft.now, run_id=run_id, claim_by=draft.claim_by()))


def _pause_on_failure(draft: Draft, error: ev.Error) -> None:
    task, definition = draft.task, draft.task.definition
    most = None if definition is None else definition.pause_on_failure
    if most is None or task.failures_in_row < most or task.pause is not None or not task.goes_on:
        return
    many = "the last run failed" if task.failures_in_row == 1 else f"the last {task.failures_in_row} runs failed"
    note = f"{many} (pause_on_failure is {most}); the last error was {error.type}: {error.message}"
    draft.add(ev.TaskPaused(at=draft.now, by=SCHEDULER, note=note[:LONGEST_NOTE]))


def _settle_runs(draft: Draft) -> None:
    now = draft.now
    for run_id in sorted(run_id for run_id, due in draft.task.dues.items() if due <= now):
        run = draft.task.runs[run_id]
        if run.active_attempt is not None:
            _settle_attempt(draft, run, run.active_attempt)
        elif run.deadline is not None and run.deadline <= now:
            _fail_run(draft, run, "deadline", _PAST_DEADLINE)
        elif run.status == "queued":
            _fail_run(draft, run, "queue_timeout", _UNCLAIMED)
        else:
            requeue(draft, run_id)


def _settle_attempt(draft: Draft, run: Run, attempt: Attempt) -> None:
    """End the active attempt by what came first: its timeout or the run's deadline, or else the end of its lease."""
    if attempt.lease_until < attempt.deadline and attempt.heartbeat is None:
        fail_attempt(draft, run, "lost", _LOST)
    elif attempt.lease_until < attempt.deadline:
        fail_attempt(draft, run, "timed_out", _SILENT)
    elif run.deadline is not None and run.deadline <= attempt.deadline:
        fail_attempt(draft, run, "timed_out", _PAST_DEADLINE)
    else:
        fail_attempt(draft, run, "timed_out", _TIMED_OUT)


def _expire(draft: Draft, due: Instant) -> None:
    """Drop what has been kept long enough: the deleted task whole, or finished runs, at most once a day."""
    task, now = draft.task, draft.now
    if task.deleted_at is not None:
        draft.add(ev.TaskPurged(at=now))
        return
    before = now - draft.policy.keep_runs
    if task.runs:
        before = min(before, *map(instant_of, task.runs))
    ends = (run.finished_at for run in (task.last_finished, task.last_skipped) if run is not None)
    kept = bool(task.runs) or any(at is not None and at >= before for at in ends)
    draft.add(ev.RunsExpired(at=now, before=before, next=max(now, due) + DAY if kept else None))
