"""Schedules in requests."""

from __future__ import annotations

import re
from typing import get_args

from msgspec.structs import replace

from taskscheduler.api.body import join
from taskscheduler.api.durations import LONGEST, format_duration, parse_duration
from taskscheduler.api.problems import FieldError
from taskscheduler.api.schemas.fields import Fields
from taskscheduler.api.schemas.shapes import DURATION, INSTANT, Schema, request, text, whole, words
from taskscheduler.domain.cron import MAX_EXPRESSION, Fold, Gap, InvalidCron, InvalidZone, load_zone
from taskscheduler.domain.cron_hash import is_hashed, resolve_hash
from taskscheduler.domain.cron_parse import DayRule, parse, split_zone
from taskscheduler.domain.schedule import Cron, Every, OneTime, Schedule
from taskscheduler.domain.values import HOUR, Instant, Millis

SHORTEST_INTERVAL: Millis = 100
MOST_RUNS = 1_000_000_000
LATEST_PAST: Millis = HOUR
"""An `at` that lies further back is taken for a mistake."""

_FORMS = ("at", "delay", "every", "cron")
_CRON_ONLY = ("timezone", "dst", "days")
_NOT_YET = ("any", "except")
_EVERY = re.compile(r"\s*@every(?:\s+(.*))?", re.IGNORECASE | re.DOTALL)

GAPS: tuple[Gap, ...] = get_args(Gap)
FOLDS: tuple[Fold, ...] = get_args(Fold)
DAY_RULES: tuple[DayRule, ...] = get_args(DayRule)

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
        for name in (*given, "anchor", *_CRON_ONLY, *_BOUND_SCHEMAS):
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
    for name in _CRON_ONLY:
        fields.only(name, ["cron"])
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
    fields.required("every")
    every = fields.duration("every", SHORTEST_INTERVAL, LONGEST, HOUR)
    anchor = fields.instant("anchor")
    return Every(every=every, anchor=anchor or 0, anchored=anchor is not None)


def _read_cron(fields: Fields, now: Instant) -> Schedule:
    expression = fields.text("cron", 1, MAX_EXPRESSION, required=True)
    if expression is not None and (every := _EVERY.fullmatch(expression)):
        return _read_interval(fields, every[1] or "")
    zone, dst = fields.text("timezone", 1, 64), fields.object("dst")
    gap = fold = None
    if dst is not None:
        gap, fold = dst.word("gap", GAPS), dst.word("fold", FOLDS)
        dst.end()
    days = fields.word("days", DAY_RULES)
    if expression is None:
        return NOW
    prefix, expression = split_zone(expression)
    if prefix is not None and zone not in (None, prefix):
        fields.error("timezone", f"differs from the zone {prefix[:64]!r} that cron begins with; give one of them")
    zone = (zone or "UTC") if prefix is None else prefix
    good = _is_zone(fields, "timezone" if prefix is None else "cron", zone)
    schedule = Cron(cron=expression, timezone=zone, gap=gap, fold=fold, days=days)
    try:
        if is_hashed(expression):
            # Whether it ever fires shows when the task is known; any values of H show whether it is understood.
            parse(resolve_hash(expression, ""), days)
        elif schedule.compiled().next_after(now, zone if good else "UTC") is None:
            # A year that is over, or local times that no clock shows.
            fields.errors.late.append(FieldError(join(fields.pointer, "cron"), "never fires from now on"))
    except InvalidCron as error:
        fields.error("cron", str(error))
        return NOW
    return schedule


def _is_zone(fields: Fields, field: str, zone: str) -> bool:
    try:
        load_zone(zone)
    except InvalidZone as error:
        fields.error(field, str(error))
        return False
    return True


def _read_interval(fields: Fields, text: str) -> Schedule:
    """`@every 90s`: the same as `{"every": "90s"}`."""
    for name in _CRON_ONLY:
        if fields.take(name) is not None:
            fields.error(name, "does not go with @every, which is elapsed time")
    try:
        every = parse_duration(text.strip())
    except ValueError as error:
        fields.error("cron", f"@every: {error}")
        return NOW
    if not SHORTEST_INTERVAL <= every <= LONGEST:
        fields.error("cron", f"@every: must be from {format_duration(SHORTEST_INTERVAL)} to {format_duration(LONGEST)}")
        return NOW
    return Every(every=every, anchor=0)


_BOUND_SCHEMAS: dict[str, Schema] = {
    "start_at": {**INSTANT, "description": "No fire time before it. An interval without anchor begins here."},
    "end_at": {**INSTANT, "description": "No fire time after it."},
    "max_runs": whole(1, MOST_RUNS, description="So many runs for fire times, then the schedule has ended."),
    "jitter": {
        **DURATION,
        "description": "Each fire time is put off by up to so much, never past the next one: the same for a task and "
        "a time, another for another task.",
    },
}

SCHEMA: Schema = {
    "description": "When the task runs. Left out: now, once. Recurring ones miss nothing silently; see `catch_up`.",
    "oneOf": [
        request(
            {"at": INSTANT}, _BOUND_SCHEMAS, title="Once, at an instant", description="At most an hour in the past."
        ),
        request({"delay": DURATION}, _BOUND_SCHEMAS, title="Once, after a delay"),
        request(
            {"every": DURATION},
            {"anchor": INSTANT, **_BOUND_SCHEMAS},
            title="At an interval",
            description="Fires at anchor + k·every, k ≥ 1; at least 100 ms. `anchor` is by default when it was made.",
        ),
        request(
            {
                "cron": text(
                    1,
                    MAX_EXPRESSION,
                    description="Five fields, six with seconds first, seven with the year last, or `@daily` and such.",
                    examples=["0 2 * * *", "0 0 9 LW * ?", "H H(0-5) * * *"],
                )
            },
            {
                "timezone": text(1, 64, description="IANA name, `UTC` by default.", examples=["Europe/Berlin"]),
                "dst": request(
                    {},
                    {"gap": words(*GAPS), "fold": words(*FOLDS)},
                    description="What becomes of local times that a clock change skips, or repeats. By default a fixed "
                    "time of day is shifted and runs at the first; one whose minute or hour begins with `*` skips, "
                    "and runs at both.",
                ),
                "days": {
                    **words(*DAY_RULES),
                    "description": "How day of month and day of week combine where both are set: five fields `or` by "
                    "default, six and seven `and`.",
                },
                **_BOUND_SCHEMAS,
            },
            title="By cron",
            description="`@every 90s` is taken as an interval, a prefix `CRON_TZ=` as `timezone`, and `H` stands for "
            "values that follow from the task's id.",
        ),
    ],
    "examples": [
        {"cron": "0 2 * * *", "timezone": "Europe/Berlin"},
        {"cron": "30 2 LW * *", "timezone": "Europe/Berlin", "dst": {"gap": "skip", "fold": "last"}},
        {"every": "15m"},
        {"at": "2030-01-31T08:00:00Z"},
        {"delay": "30s"},
    ],
}
