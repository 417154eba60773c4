"""Celery beat schedules: entries that were read from Python or JSON, as tasks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from taskscheduler.api.migration.entries import Entry, Options, Reading, Unfit, label, stable_id
from taskscheduler.domain.ids import is_id
from taskscheduler.domain.values import Instant

CRONTAB_FIELDS = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")

_LONG_NAME = re.compile(r"([A-Za-z]{3})[A-Za-z]+")


class Crontab(NamedTuple):
    """What `crontab(...)` was given; None is `*`."""

    minute: Any = None
    hour: Any = None
    day_of_week: Any = None
    day_of_month: Any = None
    month_of_year: Any = None


class BeatEntry(NamedTuple):
    """One entry of a beat schedule."""

    line: int | None
    name: str
    schedule: Crontab | timedelta | float
    members: Mapping[str, Any]
    """All others: task, args, kwargs, options, relative."""


class Beat(NamedTuple):
    """A file: its entries, those that are no literals (line, name, why), and its zone if it names one."""

    entries: list[BeatEntry]
    unread: list[tuple[int | None, str, str]]
    timezone: str | None


def tasks_of(beat: Beat, options: Options, now: Instant) -> Reading:
    """Every entry as a task, or refused with the reason."""
    reading = Reading(now)
    zone = options.timezone or beat.timezone or "UTC"
    for one in beat.entries:
        try:
            reading.take(_entry(one, zone, options))
        except Unfit as error:
            reading.refuse(one.line, one.name, str(error))
    for unread in beat.unread:
        reading.refuse(*unread)
    reading.refused.sort(key=lambda refusal: refusal.line or 0)
    return reading


def cron_of(crontab: Crontab) -> str:
    """The cron expression of the same times. Raises Unfit.

    Celery wants all fields to match, days included: that is what six fields, with seconds first, say.
    """
    minute, hour, day_of_week, day_of_month, month = map(_field, crontab)
    five = f"{minute} {hour} {day_of_month} {month} {day_of_week}"
    return f"0 {five}" if day_of_month != "*" and day_of_week != "*" else five


def _field(value: Any) -> str:
    if value is None:
        return "*"
    if isinstance(value, str):
        # Names of days and months may be longer than three letters there.
        return _LONG_NAME.sub(r"\1", "".join(value.split()))
    numbers = [value] if isinstance(value, int) else value
    if not isinstance(numbers, list | tuple | set) or not numbers:
        raise Unfit(f"schedule: crontab cannot be given {value!r}")
    if not all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
        raise Unfit(f"schedule: crontab cannot be given {value!r}")
    return ",".join(map(str, sorted(numbers)))


def _entry(one: BeatEntry, zone: str, options: Options) -> Entry:
    members, notes = dict(one.members), []
    task = members.pop("task", None)
    if not isinstance(task, str) or not task:
        raise Unfit("task: the name of a task is needed, as text")
    kind = options.kind or task
    if not is_id(kind):
        raise Unfit(f"task: {task!r} cannot be the kind of a target; name one with --kind")
    args, kwargs = members.pop("args", ()) or (), members.pop("kwargs", {}) or {}
    if not isinstance(args, list | tuple) or not isinstance(kwargs, dict):
        raise Unfit("args has to be a list or tuple, and kwargs a dict")
    sent = members.pop("options", None) or {}
    if not isinstance(sent, dict):
        raise Unfit("options has to be a dict")
    queue = sent.get("queue", options.queue)
    if not isinstance(queue, str):
        raise Unfit("options.queue: the name of a queue is needed, as text")
    lost = [*sorted(f"options.{name}" for name in sent if name not in ("queue", "time_limit")), *sorted(members)]
    if lost:
        notes.append(f"not carried over: {', '.join(lost)}")
    fields = {
        "id": stable_id("celery", one.name, one.name),
        "name": label(one.name),
        "schedule": _schedule(one.schedule, zone),
        "target": {"type": "queue", "queue": queue, "kind": kind},
        "payload": {"task": task, "args": list(args), "kwargs": kwargs},
        "retry": {"max_attempts": 1},
        "timeout": sent.get("time_limit") or options.timeout,
        "overlap": "allow_all",
        "tags": {"imported_from": "celery"},
    }
    return Entry(one.line, one.name, fields, None, tuple(notes))


def _schedule(schedule: Crontab | timedelta | float, zone: str) -> dict[str, Any]:
    if isinstance(schedule, Crontab):
        return {"cron": cron_of(schedule), "timezone": zone}
    seconds = schedule.total_seconds() if isinstance(schedule, timedelta) else schedule
    return {"every": seconds}
