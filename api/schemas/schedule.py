"""Schedules in requests."""

from __future__ import annotations

from taskscheduler.api.body import join
from taskscheduler.api.durations import LONGEST
from taskscheduler.api.problems import FieldError
from taskscheduler.api.schemas.fields import Fields
from taskscheduler.api.schemas.shapes import DURATION, INSTANT, Schema, request, text
from taskscheduler.domain.cron import InvalidCron, InvalidZone, compile_cron, load_zone
from taskscheduler.domain.cron_parse import MAX_EXPRESSION
from taskscheduler.domain.schedule import Cron, Every, OneTime, Schedule
from taskscheduler.domain.values import HOUR, Instant, Millis

SHORTEST_INTERVAL: Millis = 100
LATEST_PAST: Millis = HOUR
"""An `at` that lies further back is taken for a mistake."""

_FORMS = ("at", "delay", "every", "cron")
_NOT_YET = ("any", "except", "start_at", "end_at", "max_runs", "jitter", "dst", "days")

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
        for name in (*given, "anchor", "timezone"):
            fields.take(name)
    elif given == ["at"]:
        schedule = _read_at(fields, now)
    elif given == ["delay"]:
        fields.required("delay")
        schedule = OneTime(at=0, kind="delay", delay=fields.duration("delay", 0, LONGEST, 0))
    elif given == ["every"]:
        schedule = _read_every(fields)
    else:
        schedule = _read_cron(fields, now)
    fields.only("anchor", ["every"])
    fields.only("timezone", ["cron"])
    fields.end()
    return schedule


def _read_at(fields: Fields, now: Instant) -> Schedule:
    fields.required("at")
    at = fields.instant("at")
    if at is None:
        return NOW
    if at < now - LATEST_PAST:
        fields.errors.late.append(FieldError(join(fields.pointer, "at"), "lies more than an hour in the past"))
    return OneTime(at=at, kind="at")


def _read_every(fields: Fields) -> Schedule:
    fields.required("every")
    every = fields.duration("every", SHORTEST_INTERVAL, LONGEST, HOUR)
    anchor = fields.instant("anchor")
    return Every(every=every, anchor=anchor or 0, anchored=anchor is not None)


def _read_cron(fields: Fields, now: Instant) -> Schedule:
    expression = fields.text("cron", 1, MAX_EXPRESSION, required=True)
    zone = fields.text("timezone", 1, 64) or "UTC"
    good = True
    try:
        load_zone(zone)
    except InvalidZone as error:
        fields.error("timezone", str(error))
        good = False
    if expression is None:
        return NOW
    try:
        compiled = compile_cron(expression)
    except InvalidCron as error:
        fields.error("cron", str(error))
        return NOW
    if good and compiled.next_after(now, zone) is None:
        fields.error("cron", "never fires")
    return Cron(cron=expression, timezone=zone)


SCHEMA: Schema = {
    "description": "When the task runs. Left out: now, once. Recurring ones miss nothing silently; see `catch_up`.",
    "oneOf": [
        request({"at": INSTANT}, title="Once, at an instant", description="At most an hour in the past."),
        request({"delay": DURATION}, title="Once, after a delay"),
        request(
            {"every": DURATION},
            {"anchor": INSTANT},
            title="At an interval",
            description="Fires at anchor + k·every, k ≥ 1; at least 100 ms. `anchor` is by default when it was made.",
        ),
        request(
            {
                "cron": text(
                    1,
                    MAX_EXPRESSION,
                    description="Five fields, six with seconds first, or a macro such as `@daily`.",
                    examples=["0 2 * * *"],
                )
            },
            {"timezone": text(1, 64, description="IANA name, `UTC` by default.", examples=["Europe/Berlin"])},
            title="By cron",
        ),
    ],
    "examples": [
        {"cron": "0 2 * * *", "timezone": "Europe/Berlin"},
        {"every": "15m"},
        {"at": "2030-01-31T08:00:00Z"},
        {"delay": "30s"},
    ],
}
