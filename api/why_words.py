"""Why a task did or did not run, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator

from taskscheduler.api.durations import format_duration
from taskscheduler.api.values import format_instant
from taskscheduler.domain import events as ev
from taskscheduler.domain.definition import ExecTarget, QueueTarget
from taskscheduler.domain.excluded import ExceptCalendar, ExceptCron, ExceptDays, ExceptTime, Exclusion
from taskscheduler.domain.limit import next_allowed
from taskscheduler.domain.plan import BUFFERS
from taskscheduler.domain.state import MAX_ACTIVE_RUNS
from taskscheduler.domain.values import Instant
from taskscheduler.projections.ledger_rows import ENDED, ScheduleChange
from taskscheduler.projections.limits import LimitView
from taskscheduler.projections.runs import RunView
from taskscheduler.projections.task_view import TaskView
from taskscheduler.projections.whys import Why

_OUTCOMES = {"timed_out": "timed out", "lost": "was lost: its holder was not heard from within its lease"}


def answer(why: Why, view: TaskView) -> str:
    """Some sentences."""
    return " ".join(_sentences(why, view))


def _sentences(why: Why, view: TaskView) -> Iterator[str]:
    match why.outcome:
        case "not_a_fire_time":
            yield from _nothing(why)
        case "skipped":
            yield f"It did not run: {_skip(why, view)}."
        case "to_come":
            assert why.fire_at is not None
            yield f"It has not come yet: the task is to run at {_put_off(why)}."
            if why.paused is not None:
                yield f"But the task is paused {_since(why)}, and nothing fires during a pause."
        case "pending" if why.paused is not None:
            yield f"It has not run: the task is paused {_since(why)}."
        case "pending":
            yield "It has come and was not decided on yet; that is the next thing that happens to the task."
        case "owed":
            yield "It has come and waits for its turn: the fire times of the backlog run one after another."
            if why.active is not None:
                yield f"The run {why.active.id} is still active."
        case "not_kept":
            yield "It was a fire time, but runs of that time are no longer kept; the events of the task still are."
        case "unaccounted":
            yield "It was a fire time, and neither a run nor a skip is known of it: that is a fault of the scheduler."
        case "ignored":
            assert why.run is not None
            yield _ignored(why.run)
        case "backfilled" if why.run is None:
            yield f"It was no fire time when it came, and the backfill {why.backfill_id} has made a run for it."
            return
        case _:
            assert why.run is not None
            yield from _ran(why, why.run, view)
    if why.backfill_id is not None:
        yield f"The backfill {why.backfill_id} has made a run for it too."
    if why.clock is not None and why.nominal_at is not None:
        yield f"A clock change: {why.clock}."


def _nothing(why: Why) -> Iterator[str]:
    change, at = why.change, why.at
    if change is None:
        yield f"It did not run at {format_instant(at)}: the task had not been created yet."
        if why.after is not None:
            yield f"Its first fire time was {format_instant(why.after)}."
        return
    if change.schedule is None:
        words = {ENDED: "had made as many runs as its schedule allows"}
        what = {"task.cancelled.v1": "cancelled", "task.deleted.v1": "deleted"}.get(change.type)
        said = f"was {what} by {change.by}" if what is not None else words.get(change.type, "had ended")
        yield f"It did not run at {format_instant(at)}: the task {said} at {format_instant(change.at)}."
        return
    yield f"There is no fire time at {format_instant(at)}{_left_out(why)}."
    near = [f"the one before is {format_instant(why.before)}"] if why.before is not None else []
    near += [f"the next one is {format_instant(why.after)}"] if why.after is not None else []
    if near:
        yield f"T{' and '.join(near)[1:]}."
    else:
        yield "The schedule names none before and none after it."
    if why.clock is not None:
        yield f"A clock change: {why.clock}."


def _left_out(why: Why) -> str:
    if not why.left_out:
        return ""
    return f": the schedule would name it, but leaves it out ({', '.join(map(_named, why.left_out))})"


def _named(one: Exclusion) -> str:
    match one:
        case ExceptCalendar(calendar=name):
            return f"a day of the calendar {name}"
        case ExceptDays(first=first, last=last):
            return f"the day {first}" if first == last else f"the days from {first} to {last}"
        case ExceptTime(start=start, end=end):
            return f"the time from {format_instant(start)} until before {format_instant(end)}"
        case ExceptCron(cron=expression):
            return f"times of the cron expression {expression}"


def _skip(why: Why, view: TaskView) -> str:
    row = why.stretch
    reason = row.reason if row is not None else why.run.reason if why.run is not None else None
    settled = "" if why.settled_at is None else f", which was settled at {format_instant(why.settled_at)}"
    match reason:
        case "overlap" if why.active is not None and view.definition.overlap != "cancel_other":
            full = ", and as many fire times as may were waiting already" if view.definition.overlap in BUFFERS else ""
            return f"the run {why.active.id} was still active{full} (overlap {view.definition.overlap})"
        case "overlap":
            return f"a run for another fire time took its place (overlap {view.definition.overlap})"
        case "paused" if why.paused is not None:
            return f"the task was paused {_since(why)}"
        case "purged":
            return "it waited for its turn, and what waited was purged"
        case "too_many_active":
            return f"the task had {MAX_ACTIVE_RUNS} active runs, and may have no more"
        case "outside_window":
            return f"it was missed, and older than the catch-up window when it was found{_quiet(why)}"
        case "missed":
            return f"it was missed, and the catch-up policy left it out{_quiet(why)}"
        case _:
            return f"it was skipped ({reason}){settled}"


def _quiet(why: Why) -> str:
    if why.quiet_since is None or why.settled_at is None:
        return ""
    since, until = format_instant(why.quiet_since), format_instant(why.settled_at)
    return f": nothing was decided on the task between {since} and {until}"


def _ran(why: Why, run: RunView, view: TaskView) -> Iterator[str]:
    begun = {
        "fired": f"It fired at {_put_off(why)}",
        "caught_up": f"It was missed at {_put_off(why)} and caught up",
        "triggered": "It was triggered by hand",
        "retried": f"It is a retry by hand of the run {run.retry_of}",
        "backfilled": "It was made good by a backfill",
        "chained": f"It was made because a run of {run.caused_by} had ended",
    }[why.outcome]
    yield f"{begun}, as run {run.id}."
    attempts = run.attempts
    if attempts:
        first = attempts[0]
        yield f"{first.worker} claimed it at {format_instant(first.started_at)}."
    tried = "the first attempt" if len(attempts) == 1 else f"{len(attempts)} attempts"
    ended = "" if run.finished_at is None else f" at {format_instant(run.finished_at)}"
    match run.status:
        case "succeeded":
            yield f"It succeeded{ended}, after {tried}."
        case "failed":
            error = next((one.error for one in reversed(attempts) if one.error is not None), None)
            said = "" if error is None else f": {error.type}: {error.message}"
            yield f"It failed for good{ended} after {tried} ({run.reason}){said}."
        case "cancelled":
            yield f"It was cancelled{ended} by {run.reason}."
        case "running":
            last = attempts[-1]
            yield f"Attempt {last.number} has been running at {last.worker} since {format_instant(last.started_at)}."
        case "retrying":
            last = attempts[-1]
            said = _OUTCOMES.get(last.outcome or "", "failed")
            yield f"Attempt {last.number} {said}; the next one may begin at {format_instant(run.retry_at or why.now)}."
        case _:
            yield f"It is {_waiting(view)} since {format_instant(_available(why, run))}."
            if why.held_by is not None:
                yield f"The limit {why.held_by.name} leaves no room for it now ({_room(why.held_by, why.now)})."


def _room(limit: LimitView, now: Instant) -> str:
    rate = None if limit.definition is None else limit.definition.rate
    if rate is None or (begins := next_allowed(limit.next_start, rate)) <= now:
        return f"{limit.in_use} in use"
    said = f"by its rate the next may begin at {format_instant(begins)}"
    return f"{limit.in_use} in use, and {said}" if limit.in_use else said


def _ignored(run: RunView) -> str:
    cause = run.upstream.get(run.caused_by or "")
    named = "" if cause is None else f" {cause.run_id}"
    said = {
        "paused": "the task was paused then, and what chains lead to in a pause is left out",
        "not_awaited": "the task had ceased to run after it by then",
        "too_deep": "more runs in a row than chains may make led to it: they run in a circle",
    }.get(run.reason or "", str(run.reason))
    return f"A run{named} of {run.caused_by} had ended, and it did not run because of it: {said}."


def _waiting(view: TaskView) -> str:
    target = view.definition.target
    if isinstance(target, QueueTarget):
        return f"waiting for a worker of the queue {target.queue}"
    if isinstance(target, ExecTarget):
        return f"waiting for a worker of the queue {target.queue} that runs commands"
    return "waiting to be carried out by the server"


def _available(why: Why, run: RunView) -> Instant:
    made = [step.event.at for step in why.steps if isinstance(step.event, ev.RunQueued | ev.RunRequeued)]
    return made[-1] if made else run.scheduled_for


def _put_off(why: Why) -> str:
    assert why.fire_at is not None or why.nominal_at is not None
    fire = why.fire_at if why.fire_at is not None else why.nominal_at
    assert fire is not None
    if why.nominal_at is None or fire == why.nominal_at:
        return format_instant(fire)
    by = format_duration(fire - why.nominal_at)
    return f"{format_instant(fire)} ({by} of jitter after {format_instant(why.nominal_at)})"


def _since(why: Why) -> str:
    pause = why.paused
    assert pause is not None
    note = f", with the note {pause.note!r}" if pause.note else ""
    return f"by {pause.by} since {format_instant(pause.at)}{note}"


def said_of(change: ScheduleChange) -> str:
    """A change of the task, in a few words."""
    if change.type == "calendar.followed.v1":
        return "a calendar that the schedule leaves out was changed, and the task followed"
    if change.planned is not None and change.schedule is None:
        return f"another schedule from {format_instant(change.planned.effective_from)} on was planned by {change.by}"
    note = f": {change.note}" if change.note else ""
    return f"{_CHANGES.get(change.type, change.type)} by {change.by}{note}"


_CHANGES = {
    ENDED: "the schedule had made as many runs as it may; the last one was asked for",
    "task.created.v1": "the task was created",
    "task.updated.v1": "the task was given this schedule",
    "task.paused.v1": "the task was paused",
    "task.cancelled.v1": "the task was cancelled",
    "task.deleted.v1": "the task was deleted",
    "schedule.switched.v1": "the schedule that was planned took force; the decision was asked for",
}


def summary(event: ev.Event) -> str:
    """One event of the chain, in a few words."""
    match event:
        case ev.RunQueued(cause="chain", caused_by=other):
            return f"the run was made (chain, by {other})"
        case ev.RunQueued(cause=cause):
            return f"the run was made ({cause})"
        case ev.RunRequeued():
            return "the delay was over: it can be claimed again"
        case ev.AttemptClaimed(number=number, worker=worker):
            return f"{worker} claimed attempt {number}"
        case ev.AttemptRenewed(number=number, lease_until=until):
            return f"the holder of attempt {number} was heard from; its lease goes on until {format_instant(until)}"
        case ev.AttemptSucceeded(number=number):
            return f"attempt {number} succeeded"
        case ev.AttemptFailed(number=number, outcome=outcome, error=error, retry_at=retry_at, reason=reason):
            then = f"failed for good: {reason}" if retry_at is None else f"again at {format_instant(retry_at)}"
            return f"attempt {number} {outcome} ({error.type}), {then}"
        case ev.RunFailed(reason=reason, error=error):
            return f"the run failed for good: {reason} ({error.message})"
        case ev.AttemptReleased(number=number):
            return f"attempt {number} was given back before it had begun"
        case ev.RunCancelled(by=by):
            return f"the run was cancelled by {by}"
        case ev.ReportedLate(number=number, outcome=outcome):
            return f"the holder of attempt {number} reported, too late, that it {outcome}"
        case ev.FiresSkipped(reason=reason, count=count):
            return f"skipped ({reason})" if count == 1 else f"skipped together with {count - 1} others ({reason})"
        case _:
            return ev.tag_of(event)
