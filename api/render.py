"""Read models as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, assert_never

import msgspec

from taskscheduler.api import render_chain, render_limit
from taskscheduler.api.durations import format_duration, format_steps
from taskscheduler.api.schemas.unique import render_unique
from taskscheduler.api.values import format_instant
from taskscheduler.domain.definition import (
    CatchUp,
    Definition,
    ExecTarget,
    HttpTarget,
    KafkaTarget,
    NoopTarget,
    QueueTarget,
    Target,
)
from taskscheduler.domain.events import Error, Pending, Upstream
from taskscheduler.domain.excluded import ExceptCalendar, ExceptCron, ExceptDays, ExceptTime, Exclusion
from taskscheduler.domain.retry import Retry
from taskscheduler.domain.schedule import AnyOf, Cron, Every, LocalEvery, Manual, OneTime, Recurrence, Schedule
from taskscheduler.domain.state import Counts
from taskscheduler.domain.values import Instant, Json, Millis
from taskscheduler.projections.events import DecisionView
from taskscheduler.projections.runs import AttemptView, RunView
from taskscheduler.projections.task_view import BackfillView, OwedView, TaskView
from taskscheduler.streams.dispatch.queue import Given
from taskscheduler.streams.hub import LiveEvent

_duration = lru_cache(maxsize=4096)(format_duration)


def _instant(instant: Instant | None) -> str | None:
    return None if instant is None else format_instant(instant)


def _length(duration: Millis | None) -> str | None:
    return None if duration is None else _duration(duration)


def _json(text: Json | None) -> msgspec.Raw | None:
    return None if text is None else msgspec.Raw(text.encode())


def task(view: TaskView) -> dict[str, Any]:
    """A task."""
    pause = view.pause
    return {
        "id": view.id,
        **definition(view.definition),
        "status": view.status,
        "revision": view.revision,
        "version": view.version,
        "created_at": format_instant(view.created_at),
        "updated_at": format_instant(view.updated_at),
        "next_fire_at": _instant(view.next_fire_at),
        "last_run": None if view.last_run is None else _run(view.last_run),
        "counts": _counts(view.counts),
        "pause": None if pause is None else {"note": pause.note, "at": format_instant(pause.at), "by": pause.by},
        "owed": None if view.owed is None else _owed(view.owed),
        "pending_schedule": None if view.pending is None else _pending(view.pending),
        "failures_in_row": view.failures_in_row,
        "backfills": [_backfill(backfill) for backfill in view.backfills],
        "followed_by": render_chain.followers(view.links),
        "arrived": render_chain.upstream(view.arrived),
    }


def _owed(owed: OwedView) -> dict[str, Any]:
    return {"from": format_instant(owed.since), "until": format_instant(owed.until), "count": owed.count}


def _pending(pending: Pending) -> dict[str, Any]:
    return {
        "schedule": _schedule(pending.schedule),
        "effective_from": format_instant(pending.effective_from),
        "next_fire_at": _instant(pending.next_fire),
    }


def _backfill(of: BackfillView) -> dict[str, Any]:
    return {
        "id": of.id,
        "status": of.status,
        "from": format_instant(of.since),
        "to": format_instant(of.until),
        "overlap": of.overlap,
        "total": of.total,
        "fired": of.fired,
        "active": of.active,
        "failed": of.failed,
        "remaining": of.total - of.fired,
        "requested_at": format_instant(of.requested_at),
        "by": of.by,
    }


def definition(of: Definition) -> dict[str, Any]:
    """The part of a task that its owner defined."""
    return {
        "name": of.name,
        "schedule": _schedule(of.schedule),
        "target": _target(of.target),
        "payload": _json(of.payload),
        "retry": _retry(of.retry),
        "timeout": _duration(of.timeout),
        "overlap": of.overlap,
        "catch_up": _catch_up(of.catch_up),
        "priority": of.priority,
        "tags": of.tags,
        "pause_on_failure": of.pause_on_failure,
        "concurrency": render_limit.concurrency(of.concurrency),
        "queue_timeout": _length(of.queue_timeout),
        "heartbeat_timeout": _length(of.heartbeat_timeout),
        "deadline": _length(of.deadline),
        "unique": None if of.unique is None else render_unique(of.unique),
        "then": of.then,
        "on_failure": of.on_failure,
        "after": None if of.after is None else render_chain.after(of.after),
    }


def _schedule(schedule: Schedule) -> dict[str, Any] | None:
    if isinstance(schedule, OneTime) and schedule.kind == "now":
        return None
    shown = _bounded_form(schedule)
    if schedule.max_runs is not None:
        shown["max_runs"] = schedule.max_runs
    if schedule.jitter:
        shown["jitter"] = _duration(schedule.jitter)
    if schedule.excluded:
        shown["except"] = [_exclusion(one) for one in schedule.excluded]
    return shown


def _bounded_form(schedule: Schedule) -> dict[str, Any]:
    shown = _form(schedule)
    for name, bound in (("start_at", schedule.start_at), ("end_at", schedule.end_at)):
        if bound is not None:
            shown[name] = format_instant(bound)
    return shown


def _exclusion(exclusion: Exclusion) -> dict[str, Any]:
    match exclusion:
        case ExceptDays(first=first, last=last):
            return {"date": first} if first == last else {"from": first, "to": last}
        case ExceptTime(start=start, end=end):
            return {"from": format_instant(start), "to": format_instant(end)}
        case ExceptCron(cron=expression, timezone=zone):
            return {"cron": expression} if zone is None else {"cron": expression, "timezone": zone}
        case ExceptCalendar(calendar=name):
            return {"calendar": name}
        case _:
            assert_never(exclusion)


def _form(schedule: Schedule) -> dict[str, Any]:
    match schedule:
        case OneTime(kind="delay", delay=delay):
            return {"delay": _length(delay or 0)}
        case Manual():
            return {"manual": True}
        case OneTime(at=at):
            return {"at": format_instant(at)}
        case Every(every=every, anchor=anchor):
            return {"every": _duration(every), "anchor": format_instant(anchor)}
        case LocalEvery(days=days, months=months, timezone=zone):
            # Where it begins at `start_at` it would not, if that were given as its anchor.
            begins = schedule.anchored or schedule.start_at is None
            named = {"anchor": format_instant(schedule.anchor)} if begins else {}
            return {"every": format_steps(days, months), **named, "timezone": zone, **_dst(schedule)}
        case AnyOf(members=members, timezone=zone):
            return {"any": [_bounded_form(each) for each in members], "timezone": zone}
        case Recurrence(rrule=rule, timezone=zone, dtstart=start):
            return {"rrule": rule, "timezone": zone, "dtstart": start, **_dst(schedule)}
        case Cron():
            return _cron(schedule)
        case _:
            assert_never(schedule)


def _cron(schedule: Cron) -> dict[str, Any]:
    shown: dict[str, Any] = {"cron": schedule.cron, "timezone": schedule.timezone}
    shown.update(_dst(schedule))
    if schedule.days is not None:
        shown["days"] = schedule.days
    return shown


def _dst(schedule: LocalEvery | Recurrence | Cron) -> dict[str, Any]:
    dst = {"gap": schedule.gap, "fold": schedule.fold}
    given = {name: choice for name, choice in dst.items() if choice is not None}
    return {"dst": given} if given else {}


def _target(target: Target) -> dict[str, Any]:
    match target:
        case NoopTarget():
            return {"type": "noop"}
        case QueueTarget(queue=queue, kind=kind):
            return {"type": "queue", "queue": queue, "kind": kind}
        case ExecTarget():
            return {"type": "exec", **exec_command(target)}
        case HttpTarget():
            return _http(target)
        case KafkaTarget(topic=topic, key=key, headers=headers):
            return {"type": "kafka", "topic": topic, "key": key, "headers": headers}
        case _:
            assert_never(target)


def _http(target: HttpTarget) -> dict[str, Any]:
    auth, tls = target.auth, target.tls
    shown: dict[str, Any] = {
        "type": "http",
        "url": target.url,
        "method": target.method,
        "headers": target.headers | {header: {"secret": name} for header, name in target.secret_headers.items()},
        "body": _json(target.body),
        "expect": target.expect,
    }
    if auth is not None:
        basic = {"user": auth.user, "password": auth.password}
        shown["auth"] = {"basic": basic} if auth.bearer is None else {"bearer": auth.bearer}
    if target.sign is not None:
        shown["sign"] = {"secret": target.sign}
    if tls is not None:
        names = {"cert": tls.cert, "key": tls.key, "ca": tls.ca}
        shown["tls"] = {part: name for part, name in names.items() if name is not None}
    return shown


@lru_cache(maxsize=256)
def _retry(retry: Retry) -> dict[str, Any]:
    return {
        "max_attempts": retry.max_attempts,
        "backoff": retry.backoff,
        "initial": _duration(retry.initial),
        "multiplier": retry.multiplier,
        "max": _duration(retry.max),
        "jitter": retry.jitter,
        "max_elapsed": _length(retry.max_elapsed),
        "give_up_on": retry.give_up_on,
        "retry_on": retry.retry_on or None,
    }


@lru_cache(maxsize=256)
def _catch_up(policy: CatchUp) -> dict[str, Any]:
    return {"policy": policy.policy, "window": _duration(policy.window), "limit": policy.limit}


def _counts(counts: Counts) -> dict[str, int]:
    return {name: getattr(counts, name) for name in Counts.__struct_fields__}


def run(view: RunView) -> dict[str, Any]:
    """A run with its result."""
    return {**_run(view), "result": _json(view.result)}


def _run(view: RunView) -> dict[str, Any]:
    return {
        "id": view.id,
        "task_id": view.task_id,
        "nominal_at": _instant(view.nominal_at),
        "nominal_until": _instant(view.nominal_until),
        "count": view.count,
        "scheduled_for": format_instant(view.scheduled_for),
        "cause": view.cause,
        "status": view.status,
        "reason": view.reason,
        "attempts": [_attempt(attempt) for attempt in view.attempts],
        "lateness_ms": view.lateness_ms,
        "retry_of": view.retry_of,
        "backfill_id": view.backfill_id,
        "caused_by": render_chain.caused_by(view),
        "upstream": render_chain.upstream(view.upstream),
        "retry_at": _instant(view.retry_at),
        "finished_at": _instant(view.finished_at),
        "deadline": _instant(view.deadline),
        "error": _error_of(view),
    }


def _error_of(view: RunView) -> Error | None:
    """Why the run failed, or why it is tried again."""
    if view.error is not None or view.status not in ("failed", "retrying"):
        return view.error
    return view.attempts[-1].error if view.attempts else None


def _attempt(attempt: AttemptView) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "worker": attempt.worker,
        "started_at": format_instant(attempt.started_at),
        "finished_at": _instant(attempt.finished_at),
        "outcome": attempt.outcome,
        "error": attempt.error,
        "progress": _json(attempt.progress),
    }


def exec_command(target: ExecTarget) -> dict[str, Any]:
    """What a task with this target asks for."""
    return {"queue": target.queue, "argv": target.argv, "env": target.env, "cwd": target.cwd}


def claim(given: Given) -> dict[str, Any]:
    """A claim as its worker gets it."""
    command = {} if given.command is None else {"exec": exec_command(given.command)}
    return {
        "token": given.token,
        "task_id": given.task_id,
        "run_id": given.run_id,
        "attempt": given.attempt,
        "kind": given.kind,
        "payload": _json(given.payload),
        "upstream": render_chain.upstream(given.upstream),
        "scheduled_for": format_instant(given.scheduled_for),
        "deadline": format_instant(given.deadline),
        "heartbeat_timeout": _length(given.heartbeat),
        "timeout": format_duration(given.timeout),
        "lease_until": format_instant(given.lease_until),
        **command,
    }


def events(decision: DecisionView) -> list[dict[str, Any]]:
    """The events of a decision."""
    return [
        _event(event, decision.version, decision.recorded_at, decision.actor, decision.cause)
        for event in msgspec.json.decode(decision.events)
    ]


def live_event(live: LiveEvent) -> dict[str, Any]:
    """A live event."""
    event = _event(msgspec.json.decode(live.event), live.version, live.recorded_at, live.actor, live.cause)
    return {"task_id": live.task_id, **event, "gap": live.gap}


def _event(event: dict[str, Any], version: int, recorded_at: Instant, actor: str, cause: str | None) -> dict[str, Any]:
    return {
        "type": event["type"],
        "version": version,
        "time": format_instant(recorded_at),
        "actor": actor,
        "cause": cause,
        "data": {name: _value(name, value) for name, value in event.items() if name not in _NOT_SHOWN},
    }


_NOT_SHOWN = {"type", "at", "token_hash", "request", "key", "fingerprint"}
"""What stands elsewhere in an event, and hashes that are of use to the scheduler only."""

_INSTANTS = {
    "before",
    "check_at",
    "claim_by",
    "deadline",
    "ended_at",
    "effective_from",
    "expire_at",
    "heard_until",
    "lease_until",
    "next",
    "next_fire",
    "nominal_at",
    "nominal_until",
    "resumed_until",
    "retry_at",
    "scheduled_for",
    "start",
    "until",
}


def _value(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in _INSTANTS:
        return format_instant(value)
    if name in ("heartbeat", "lease", "retry_after"):
        return _duration(value)
    if name in ("result", "progress"):
        return _json(value)
    if name == "upstream" and isinstance(value, dict):
        return render_chain.upstream(msgspec.convert(value, dict[str, Upstream]))
    if name == "step" and "at" in value:
        return {**value, "at": format_instant(value["at"])}
    if name == "definition":
        return definition(msgspec.convert(value, Definition))
    if name == "schedule":
        return _schedule(msgspec.convert(value, Schedule))
    if name in ("backlog", "pending"):
        return {part: _value(part, at) for part, at in value.items()}
    return value


def page(items: Sequence[dict[str, Any]], next_cursor: str | None) -> dict[str, Any]:
    """A page of a list."""
    return {"items": items, "next_cursor": next_cursor}
