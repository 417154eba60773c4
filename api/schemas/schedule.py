"""Schedules in requests."""

from __future__ import annotations

from msgspec.structs import replace

from taskscheduler.api.body import join
from taskscheduler.api.durations import LONGEST, has_no_length
from taskscheduler.api.problems import FieldError
from taskscheduler.api.schemas.fields import Fields
from taskscheduler.api.schemas.local_forms import CLOCK, CRON_ONLY, SHORTEST_INTERVAL, read_cron, read_local_every
from taskscheduler.api.schemas.recurrence import read_rrule
from taskscheduler.domain.schedule import Every, OneTime, Schedule
from taskscheduler.domain.values import HOUR, Instant, Millis

MOST_RUNS = 1_000_000_000
LATEST_PAST: Millis = HOUR
"""An `at` that lies further back is taken for a mistake."""

_FORMS = ("at", "delay", "every", "cron", "rrule")
_BOUNDS = ("start_at", "end_at", "max_runs", "jitter")
_NOT_YET = ("any", "except")

NOW = OneTime(at=0)


def read_schedule(fields: Fields | None, now: Instant) -> Schedule:
    """The schedule, its open instants not filled in yet. None is: run now."""
    if fields is None:
        return NOW
    later = [name for name in _NOT_YET if name in fields]
    fields.not_yet(*later)
    given = [name for name in _FORMS if name in fields]
    schedule: Schedule = NOW
    if len(given) != 1:
        if given or not later:
            fields.errors.add(fields.pointer, f"must hold one of {', '.join(_FORMS)}")
        for name in (*given, "anchor", "dtstart", *CRON_ONLY, *_BOUNDS):
            fields.take(name)
    elif given == ["at"]:
        schedule = _read_at(fields, now)
    elif given == ["delay"]:
        fields.required("delay")
        schedule = OneTime(at=0, kind="delay", delay=fields.duration("delay", 0, LONGEST, 0))
    elif given == ["every"]:
        schedule = _read_every(fields)
    elif given == ["cron"]:
        schedule = read_cron(fields, now) or NOW
    else:
        schedule = read_rrule(fields, now) or NOW
    fields.only("anchor", ["every"])
    fields.only("dtstart", ["rrule"])
    for name in CLOCK:
        fields.only(name, ["cron", "every", "rrule"])
    fields.only("days", ["cron"])
    if len(given) == 1:
        schedule = _bounded(fields, schedule, now)
    fields.end()
    return schedule


def _bounded(fields: Fields, schedule: Schedule, now: Instant) -> Schedule:
    start, end = fields.instant("start_at"), fields.instant("end_at")
    if start is not None and end is not None and end < start:
        fields.error("end_at", "lies before start_at")
    elif end is not None and end < now:
        fields.error("end_at", "lies in the past, so it never fires")
    most = fields.optional_integer("max_runs", 1, MOST_RUNS)
    jitter = fields.duration("jitter", 0, LONGEST, 0)
    return replace(schedule, start_at=start, end_at=end, max_runs=most, jitter=jitter)


def _read_at(fields: Fields, now: Instant) -> Schedule:
    fields.required("at")
    at = fields.instant("at")
    if at is None:
        return NOW
    if at < now - LATEST_PAST:
        fields.errors.late.append(FieldError(join(fields.pointer, "at"), "lies more than an hour in the past"))
    return OneTime(at=at, kind="at")


def _read_every(fields: Fields) -> Schedule:
    if fields.raw("timezone") is not None:
        return read_local_every(fields) or NOW
    fields.required("every")
    if fields.take("dst") is not None:
        fields.error("dst", "goes with timezone; without one an interval is elapsed time")
    if has_no_length(fields.raw("every")):
        fields.take("every")
        fields.error("every", "months and years go by a clock: say whose by timezone, such as Europe/Berlin or UTC")
    every = fields.duration("every", SHORTEST_INTERVAL, LONGEST, HOUR)
    anchor = fields.instant("anchor")
    return Every(every=every, anchor=anchor or 0, anchored=anchor is not None)
