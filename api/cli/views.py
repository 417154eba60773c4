"""What a table shows of each kind of thing."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from taskscheduler.api.cli.output import Columns

TASK: Columns = {
    "id": lambda task: task.id,
    "name": lambda task: task.name,
    "status": lambda task: task.status,
    "schedule": lambda task: schedule_text(task.schedule),
    "target": lambda task: target_text(task.target),
    "payload": lambda task: task.payload,
    "next fire": lambda task: task.next_fire_at,
    "last run": lambda task: last_run_text(task.last_run),
    "fired": lambda task: task.counts.fired,
    "succeeded": lambda task: task.counts.succeeded,
    "failed": lambda task: task.counts.failed,
    "skipped": lambda task: task.counts.skipped,
    "paused": lambda task: task.pause and f"since {task.pause.at} by {task.pause.by}: {task.pause.note or ''}",
    "failures in a row": lambda task: task.failures_in_row or None,
    "owed": lambda task: task.owed and f"{task.owed.count} from {task.owed.since}",
    "from then on": lambda task: task.pending_schedule and pending_text(task.pending_schedule),
    "backfills": lambda task: "; ".join(backfill_text(backfill) for backfill in task.backfills) or None,
    "then": lambda task: ", ".join(task.then) or None,
    "on failure": lambda task: ", ".join(task.on_failure) or None,
    "after": lambda task: task.after and after_text(task.after),
    "followed by": lambda task: ", ".join(task.followed_by) or None,
    "arrived": lambda task: ", ".join(task.arrived) or None,
    "tags": lambda task: task.tags,
    "priority": lambda task: task.priority,
    "timeout": lambda task: task.timeout,
    "queue timeout": lambda task: task.queue_timeout,
    "heartbeat timeout": lambda task: task.heartbeat_timeout,
    "deadline": lambda task: task.deadline,
    "unique": lambda task: task.unique and task.unique.get("key"),
    "created": lambda task: task.created_at,
    "updated": lambda task: task.updated_at,
    "revision": lambda task: task.revision,
}

TASKS: Columns = {
    **{name: TASK[name] for name in ("id", "name", "status", "schedule", "target", "next fire")},
    "last run": lambda task: task.last_run.status if task.last_run else "",
    "tags": TASK["tags"],
}

RUNS: Columns = {
    "id": lambda run: run.id,
    "status": lambda run: run.status,
    "cause": lambda run: run.cause,
    "scheduled for": lambda run: run.scheduled_for,
    "late ms": lambda run: run.lateness_ms,
    "attempts": lambda run: len(run.attempts),
    "caused by": lambda run: run.caused_by and f"{run.caused_by.task_id}/{run.caused_by.run_id}",
    "reason": lambda run: run.reason,
    "error": lambda run: last_error(run),
}

BACKFILLS: Columns = {
    name: attrgetter(name)
    for name in ("id", "status", "since", "until", "overlap", "total", "fired", "active", "failed", "remaining")
}

EVENTS: Columns = {
    "version": lambda event: event.version,
    "time": lambda event: event.time,
    "type": lambda event: event.type,
    "actor": lambda event: event.actor,
    "data": lambda event: event.data,
}

FIRE_TIMES: Columns = {
    "at": lambda fire: fire.at,
    "local": lambda fire: fire.local,
    "note": lambda fire: fire.note,
}


def schedule_text(schedule: dict[str, Any] | None) -> str:
    """A schedule in a few words."""
    if schedule is None:
        return "now"
    if "cron" in schedule:
        return f"{schedule['cron']} {schedule.get('timezone', 'UTC')}"
    if "manual" in schedule:
        return "manual"
    return " ".join(f"{kind} {value}" for kind, value in schedule.items())


def pending_text(pending: Any) -> str:
    """A planned change of the schedule in a few words."""
    return f"{pending.effective_from}: {schedule_text(pending.schedule)}"


def backfill_text(backfill: Any) -> str:
    """How far a backfill is, in a few words."""
    return f"{backfill.id} {backfill.status}, {backfill.fired} of {backfill.total}, {backfill.failed} failed"


def after_text(after: dict[str, Any]) -> str:
    """What a task runs after, in a few words."""
    return f"{after.get('when', 'all')} of {', '.join(after.get('tasks', ()))} ({after.get('on', 'success')})"


def target_text(target: dict[str, Any]) -> str:
    """A target in a few words."""
    kind = target.get("type", "")
    if kind == "http":
        return f"{target.get('method', 'POST')} {target.get('url', '')}"
    if kind == "queue":
        return f"queue {target.get('queue', '')}/{target.get('kind', '')}"
    if kind == "kafka":
        return f"kafka {target.get('topic', '')}"
    return str(kind)


def last_run_text(run: Any) -> str:
    """The last run in a few words."""
    if run is None:
        return ""
    return " ".join(part for part in (run.status, run.id, run.reason, last_error(run)) if part)


def last_error(run: Any) -> str:
    """Why it failed, or the error of the last attempt, if it had one."""
    error = run.error or (run.attempts[-1].error if run.attempts else None)
    return "" if error is None else f"{error.type}: {error.message}"
