"""Folding an event into the state. Total: never raises, asks no clock and no time zone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from msgspec.structs import replace

from taskscheduler.domain import events as ev
from taskscheduler.domain import evolve_backfills, evolve_chains
from taskscheduler.domain.calendar_days import with_calendar
from taskscheduler.domain.state import (
    Attempt,
    Counts,
    Pause,
    Released,
    Run,
    Task,
    Unheard,
    UsedKey,
    run_due,
)
from taskscheduler.domain.values import DAY

T = TypeVar("T")

KEY_LIFETIME = 2 * DAY
"""Idempotency-Keys are forgotten when another is used this long after; at least a day is promised."""

MOST_UNHEARD = 50
"""Attempts of a task that a timer ended and whose holders may still report."""


def evolve(task: Task, event: ev.Event) -> Task:
    """The state after `event`. An event about a run that the state does not hold changes nothing but counts."""
    return _APPLY[type(event)](task, event)


def _created(task: Task, e: ev.TaskCreated) -> Task:
    return Task(
        id=task.id,
        version=task.version,
        recorded_at=task.recorded_at,
        steps=task.steps,
        definition=e.definition,
        revision=1,
        created_at=e.at,
        updated_at=e.at,
        created_version=task.version + 1,
        first_fire=e.next_fire,
        next_fire=e.next_fire,
    )


def _updated(task: Task, e: ev.TaskUpdated) -> Task:
    same = task.definition is not None and e.definition.schedule == task.definition.schedule
    if task.definition is not None and e.definition.after != task.definition.after:
        task = replace(task, arrived={})
    return replace(
        task,
        definition=e.definition,
        scheduled=task.scheduled if same else 0,
        original=task.original or task.definition,
        revision=task.revision + 1,
        updated_at=e.at,
        next_fire=e.next_fire,
        pending=e.pending,
    )


def _switched(task: Task, e: ev.ScheduleSwitched) -> Task:
    if task.definition is None:
        return task
    return replace(
        task,
        definition=replace(task.definition, schedule=e.schedule),
        scheduled=0,
        original=task.original or task.definition,
        updated_at=e.at,
        next_fire=e.next_fire,
        backlog=None,
        pending=None,
    )


def _paused(task: Task, e: ev.TaskPaused) -> Task:
    return replace(task, pause=Pause(note=e.note, at=e.at, by=e.by), updated_at=e.at)


def _resumed(task: Task, e: ev.TaskResumed) -> Task:
    return replace(task, pause=None, failures_in_row=0, updated_at=e.at)


def _cancelled(task: Task, e: ev.TaskCancelled) -> Task:
    return replace(task, cancelled_at=e.at, updated_at=e.at, next_fire=None, backlog=None, pending=None)


def _deleted(task: Task, e: ev.TaskDeleted) -> Task:
    return replace(task, deleted_at=e.at, updated_at=e.at, next_fire=None, backlog=None, pending=None)


def _purged(task: Task, _: ev.TaskPurged) -> Task:
    # Receivers know the steps of a stream by their numbers, so these go on when it begins anew.
    return Task(id=task.id, version=task.version, recorded_at=task.recorded_at, steps=task.steps)


def _advanced(task: Task, e: ev.ScheduleAdvanced) -> Task:
    return replace(task, next_fire=e.next_fire, backlog=e.backlog)


def _queued(task: Task, e: ev.RunQueued) -> Task:
    run = Run(
        id=e.run_id,
        cause=e.cause,
        scheduled_for=e.scheduled_for,
        nominal_at=e.nominal_at,
        retry_of=e.retry_of,
        status="queued",
        available_at=e.at,
        backfill_id=e.backfill_id,
        claim_by=e.claim_by,
        deadline=e.deadline,
        caused_by=e.caused_by,
        upstream=e.upstream,
        depth=e.depth,
    )
    counts = replace(task.counts, fired=task.counts.fired + 1)
    if e.backfill_id is not None:
        task = evolve_backfills.count(task, e.backfill_id, 1)
    elif e.nominal_at is not None and task.definition is not None and task.definition.schedule.max_runs is not None:
        task = replace(task, scheduled=task.scheduled + 1)
    due = run_due(run)
    dues = task.dues if due is None else _with(task.dues, run.id, due)
    return replace(task, runs=_with(task.runs, run.id, run), dues=dues, counts=counts, last_run_id=run.id)


def _skipped(task: Task, e: ev.FiresSkipped) -> Task:
    counts = replace(task.counts, skipped=task.counts.skipped + e.count)
    return replace(task, counts=counts, last_run_id=e.run_id, last_skipped=skipped_run(e))


def skipped_run(e: ev.FiresSkipped) -> Run:
    """The row that stands for skipped fire times."""
    return Run(
        id=e.run_id,
        cause="schedule",
        scheduled_for=e.nominal_at,
        nominal_at=e.nominal_at,
        nominal_until=e.nominal_until,
        count=e.count,
        status="skipped",
        reason=e.reason,
        finished_at=e.at,
    )


def _requeued(task: Task, e: ev.RunRequeued) -> Task:
    run = task.runs.get(e.run_id)
    if run is None:
        return task
    return _with_run(task, replace(run, status="queued", available_at=e.at, retry_at=None, claim_by=e.claim_by))


def _claimed(task: Task, e: ev.AttemptClaimed) -> Task:
    run = task.runs.get(e.run_id)
    if run is None:
        return task
    attempt = Attempt(
        number=e.number,
        worker=e.worker,
        started_at=e.at,
        token_hash=e.token_hash,
        lease=e.lease,
        lease_until=e.lease_until,
        deadline=e.deadline,
        request=e.request,
        heartbeat=e.heartbeat,
        grants=e.grants,
    )
    attempts = (*run.attempts, attempt)
    return _with_run(task, replace(run, status="running", available_at=None, claim_by=None, attempts=attempts))


def _renewed(task: Task, e: ev.AttemptRenewed) -> Task:
    run = task.runs.get(e.run_id)
    if run is None or not run.attempts:
        return task
    last = run.attempts[-1]
    progress = last.progress if e.progress is None else e.progress
    last = replace(last, lease_until=e.lease_until, progress=progress)
    return _with_run(task, replace(run, attempts=(*run.attempts[:-1], last)))


def _succeeded(task: Task, e: ev.AttemptSucceeded) -> Task:
    run = task.runs.get(e.run_id)
    if run is None:
        return task
    run = replace(_end_attempt(run, e.at, "succeeded", None), status="succeeded", finished_at=e.at)
    task = _finish(task, run, replace(task.counts, succeeded=task.counts.succeeded + 1))
    return replace(task, failures_in_row=0) if task.failures_in_row else task


def _failed(task: Task, e: ev.AttemptFailed) -> Task:
    run = task.runs.get(e.run_id)
    if run is None:
        return task
    if e.heard_until is not None and (last := run.active_attempt) is not None:
        ended = Unheard(run.id, e.number, last.token_hash, e.outcome, e.heard_until)
        task = replace(task, unheard=(*[one for one in task.unheard if one.until > e.at], ended)[-MOST_UNHEARD:])
    run = _end_attempt(run, e.at, e.outcome, e.error)
    if e.retry_at is not None:
        return _with_run(task, replace(run, status="retrying", retry_at=e.retry_at))
    run = replace(run, status="failed", reason=e.reason, finished_at=e.at)
    task = _finish(task, run, replace(task.counts, failed=task.counts.failed + 1))
    return replace(task, failures_in_row=task.failures_in_row + 1)


def _run_failed(task: Task, e: ev.RunFailed) -> Task:
    run = task.runs.get(e.run_id)
    if run is None:
        return task
    run = replace(
        _end_attempt(run, e.at, "failed", e.error),
        status="failed",
        reason=e.reason,
        error=e.error,
        available_at=None,
        retry_at=None,
        claim_by=None,
        finished_at=e.at,
    )
    task = _finish(task, run, replace(task.counts, failed=task.counts.failed + 1))
    return replace(task, failures_in_row=task.failures_in_row + 1)


def _attempt_released(task: Task, e: ev.AttemptReleased) -> Task:
    run = task.runs.get(e.run_id)
    if run is None or run.active_attempt is None:
        return task
    # It keeps the place that it has in its queue by how long it has waited.
    since = run.attempts[-1].started_at
    run = _end_attempt(run, e.at, "released", None)
    return _with_run(task, replace(run, status="queued", available_at=since, claim_by=e.claim_by))


def _run_cancelled(task: Task, e: ev.RunCancelled) -> Task:
    run = task.runs.get(e.run_id)
    if run is None:
        return task
    released = task.released
    attempt = run.active_attempt
    if attempt is not None:
        # Their holders still have to be told; after the end of the lease nobody asks any more.
        released = {run_id: held for run_id, held in released.items() if held.until > e.at}
        released[run.id] = Released(attempt.number, attempt.token_hash, attempt.lease_until)
        run = _end_attempt(run, e.at, "cancelled", None)
    run = replace(
        run, status="cancelled", reason=e.by, retry_at=None, available_at=None, claim_by=None, finished_at=e.at
    )
    task = _finish(task, run, replace(task.counts, cancelled=task.counts.cancelled + 1))
    return replace(task, released=released)


def _reported_late(task: Task, e: ev.ReportedLate) -> Task:
    if task.unheard:
        left = tuple([one for one in task.unheard if (one.run_id, one.number) != (e.run_id, e.number)])
        task = replace(task, unheard=left)
    run = task.runs.get(e.run_id)
    if run is not None:
        return _with_run(task, _mark_late(run, e.number))
    last = task.last_finished
    if last is not None and last.id == e.run_id:
        task = replace(task, last_finished=_mark_late(last, e.number))
    if e.run_id in task.released:
        released = {run_id: held for run_id, held in task.released.items() if run_id != e.run_id}
        task = replace(task, released=released)
    return task


def _key_used(task: Task, e: ev.KeyUsed) -> Task:
    return replace(task, keys=with_key(task.keys, e))


def with_key(keys: dict[str, UsedKey], e: ev.KeyUsed) -> dict[str, UsedKey]:
    """The keys that are remembered, one more of them."""
    keys = {key: used for key, used in keys.items() if used.at > e.at - KEY_LIFETIME}
    keys[e.key] = UsedKey(e.fingerprint, e.verb, e.at, e.run_id, e.backfill_id, e.task_id)
    return keys


def _retention_planned(task: Task, e: ev.RetentionPlanned) -> Task:
    return replace(task, expire_at=e.expire_at)


def _runs_expired(task: Task, e: ev.RunsExpired) -> Task:
    return replace(task, expire_at=e.next)


def _followed(task: Task, e: ev.CalendarFollowed) -> Task:
    if task.definition is None:
        return task
    schedule = with_calendar(task.definition.schedule, e.calendar)
    definition = replace(task.definition, schedule=schedule)
    return replace(task, definition=definition, next_fire=e.next_fire, pending=e.pending)


def _grants_revoked(task: Task, e: ev.GrantsRevoked) -> Task:
    run = task.runs.get(e.run_id)
    return task if run is None else _with_run(task, replace(run, revoked=run.revoked + 1))


def _not_about_it(task: Task, _: ev.Event) -> Task:
    return task


def _with(known: dict[str, T], key: str, value: T) -> dict[str, T]:
    # Copying a dictionary whole is several times faster than filling a new one: with 1,000 active runs it shows.
    known = known.copy()
    known[key] = value
    return known


def _with_run(task: Task, run: Run) -> Task:
    due = run_due(run)
    dues = task.dues
    if due is not None:
        dues = _with(dues, run.id, due)
    elif run.id in dues:
        dues = {key: value for key, value in dues.items() if key != run.id}
    return replace(task, runs=_with(task.runs, run.id, run), dues=dues)


def _finish(task: Task, run: Run, counts: Counts) -> Task:
    runs = task.runs.copy()
    runs.pop(run.id, None)
    dues = task.dues
    if run.id in dues:
        dues = dues.copy()
        del dues[run.id]
    if run.backfill_id is not None:
        task = evolve_backfills.count(task, run.backfill_id, -1, int(run.status == "failed"))
    return replace(task, runs=runs, dues=dues, counts=counts, last_finished=run)


def _end_attempt(run: Run, at: int, outcome: Any, error: ev.Error | None) -> Run:
    if not run.attempts or run.attempts[-1].outcome is not None:
        return run
    last = replace(run.attempts[-1], finished_at=at, outcome=outcome, error=error)
    return replace(run, attempts=(*run.attempts[:-1], last))


def _mark_late(run: Run, number: int) -> Run:
    return replace(run, attempts=tuple(replace(a, late_report=True) if a.number == number else a for a in run.attempts))


_APPLY: dict[type, Callable[[Task, Any], Task]] = {
    ev.TaskCreated: _created,
    ev.TaskUpdated: _updated,
    ev.TaskPaused: _paused,
    ev.TaskResumed: _resumed,
    ev.TaskCancelled: _cancelled,
    ev.TaskDeleted: _deleted,
    ev.TaskPurged: _purged,
    ev.ScheduleAdvanced: _advanced,
    ev.ScheduleSwitched: _switched,
    ev.BackfillRequested: evolve_backfills.requested,
    ev.BackfillAdvanced: evolve_backfills.advanced,
    ev.BackfillEnded: evolve_backfills.ended,
    ev.RunQueued: _queued,
    ev.FiresSkipped: _skipped,
    ev.RunRequeued: _requeued,
    ev.AttemptClaimed: _claimed,
    ev.AttemptRenewed: _renewed,
    ev.AttemptSucceeded: _succeeded,
    ev.AttemptFailed: _failed,
    ev.RunFailed: _run_failed,
    ev.AttemptReleased: _attempt_released,
    ev.RunCancelled: _run_cancelled,
    ev.ReportedLate: _reported_late,
    ev.KeyUsed: _key_used,
    ev.DeadLetterPurged: _not_about_it,
    ev.RetentionPlanned: _retention_planned,
    ev.RunsExpired: _runs_expired,
    ev.CalendarFollowed: _followed,
    ev.StepsMade: evolve_chains.made,
    ev.StepsTaken: evolve_chains.taken,
    ev.UpstreamHeard: evolve_chains.heard,
    ev.ChainLinked: evolve_chains.linked,
    **dict.fromkeys(
        (
            ev.OperationStarted,
            ev.OperationPicked,
            ev.OperationAdvanced,
            ev.OperationCancelled,
            ev.OperationEnded,
            ev.OperationForgotten,
        ),
        _not_about_it,
    ),
    ev.UniqueHeard: evolve_chains.unique_heard,
    ev.UniqueReserved: _not_about_it,
    ev.UniqueReleased: _not_about_it,
    ev.CalendarDefined: _not_about_it,
    ev.CalendarDeleted: _not_about_it,
    ev.WorkerSeen: _not_about_it,
    ev.WorkerDrainRequested: _not_about_it,
    ev.WorkerLeft: _not_about_it,
    ev.WorkerForgotten: _not_about_it,
    ev.GrantsRevoked: _grants_revoked,
    ev.LimitDefined: _not_about_it,
    ev.LimitDeleted: _not_about_it,
    ev.SlotsGranted: _not_about_it,
    ev.SlotsReleased: _not_about_it,
}
