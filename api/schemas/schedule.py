"""Schedules in requests."""

from __future__ import annotations

from msgspec.structs import replace

from taskscheduler.api.body import join
from taskscheduler.api.durations import LONGEST, has_no_length
from taskscheduler.api.problems import FieldError
from taskscheduler.api.schemas.exclusions import member, read_exclusions
from taskscheduler.api.schemas.fields import Fields
from taskscheduler.api.schemas.local_forms import SHORTEST_INTERVAL, is_zone, read_cron, read_local_every
from taskscheduler.api.schemas.recurrence import read_rrule
from taskscheduler.domain.schedule import AnyOf, Every, Manual, OneTime, Schedule, Single, counting_cost, resolve_open
from taskscheduler.domain.values import DAY, HOUR, Instant, Millis

MOST_RUNS = 1_000_000_000
MOST_MEMBERS = 20
MOST_WALKED = 250_000
MOST_LEFT_OUT = 100_000
"""In a year: so much may take a second to count after a year in which nothing ran."""
LATEST_PAST: Millis = HOUR
"""An `at` that lies further back is taken for a mistake."""

_FORMS = ("at", "delay", "every", "cron", "rrule", "any", "manual")
_OF_MEMBERS = ("at", "every", "cron", "rrule")
_BOUNDS = ("start_at", "end_at", "max_runs", "jitter")
_GOES_WITH = {
    "anchor": ("every",),
    "dtstart": ("rrule",),
    "timezone": ("cron", "every", "rrule", "any"),
    "dst": ("cron", "every", "rrule"),
    "days": ("cron",),
    "except": ("cron", "every", "rrule", "any"),
}

NOW = OneTime(at=0)
MANUAL = Manual()


def read_schedule(fields: Fields | None, now: Instant) -> Schedule:
    """The schedule, its open instants not filled in yet. None is: run now."""
    if fields is None:
        return NOW
    form = _form_of(fields, _FORMS)
    if form is None:
        return NOW
    if form == "manual":
        return _read_manual(fields)
    wrong = len(fields.errors.found)
    schedule: Schedule
    if form == "any":
        schedule = _read_any(fields)
    elif form == "delay":
        fields.required("delay")
        schedule = OneTime(at=0, kind="delay", delay=fields.duration("delay", 0, LONGEST, 0))
    else:
        schedule = _read_form(fields, form, now)
    if "except" in fields and form in _GOES_WITH["except"]:
        schedule = replace(schedule, excluded=read_exclusions(fields))
    _refuse_others(fields)
    schedule = _bounded(fields, schedule, now)
    fields.end()
    if len(fields.errors.found) == wrong and (isinstance(schedule, AnyOf) or schedule.excluded):
        _check_cost(fields, schedule, now)
    return schedule


def _form_of(fields: Fields, forms: tuple[str, ...]) -> str | None:
    given = [name for name in forms if name in fields]
    if len(given) == 1:
        return given[0]
    fields.errors.add(fields.pointer, f"must hold one of {', '.join(forms)}")
    for name in (*_FORMS, *_GOES_WITH, *_BOUNDS):
        fields.take(name)
    fields.end()
    return None


def _read_form(fields: Fields, form: str, now: Instant, zone: str | None = None) -> Single:
    if form == "at":
        return _read_at(fields, now)
    if form == "every":
        return _read_every(fields)
    if form == "cron":
        return read_cron(fields, now, zone) or NOW
    return read_rrule(fields, now, zone) or NOW


def _refuse_others(fields: Fields) -> None:
    for name, of in _GOES_WITH.items():
        fields.only(name, of)


def _read_any(fields: Fields) -> Schedule:
    zone = fields.text("timezone", 1, 64)
    if zone is not None and not is_zone(fields, "timezone", zone):
        zone = None
    members = []
    for number, value in enumerate(fields.list("any", 1, MOST_MEMBERS, required=True)):
        inner = member(fields, "any", number, value)
        if inner is not None and (form := _form_of(inner, _OF_MEMBERS)) is not None:
            # What has ended is taken: it is the whole that has to fire.
            each = _read_form(inner, form, 0, zone)
            for name in ("max_runs", "jitter", "except"):
                if inner.take(name) is not None:
                    inner.error(name, "holds for the whole: write it beside any")
            _refuse_others(inner)
            members.append(replace(each, **_edges(inner)))
            inner.end()
    return AnyOf(members=tuple(members), timezone=zone or "UTC")


def _read_manual(fields: Fields) -> Schedule:
    if not fields.flag("manual", False):
        fields.error("manual", "must be true: leave the schedule out to run now")
    for name in (*_BOUNDS, *_GOES_WITH):
        if fields.take(name) is not None:
            fields.error(name, "bounds fire times, and a manual schedule names none")
    fields.end()
    return MANUAL


def _edges(fields: Fields) -> dict[str, Instant | None]:
    start, end = fields.instant("start_at"), fields.instant("end_at")
    if start is not None and end is not None and end < start:
        fields.error("end_at", "lies before start_at")
    return {"start_at": start, "end_at": end}


def _bounded(fields: Fields, schedule: Schedule, now: Instant) -> Schedule:
    wrong = len(fields.errors.found)
    edges = _edges(fields)
    if len(fields.errors.found) == wrong and (end := edges["end_at"]) is not None and end < now:
        fields.error("end_at", "lies in the past, so it never fires")
    most = fields.optional_integer("max_runs", 1, MOST_RUNS)
    jitter = fields.duration("jitter", 0, LONGEST, 0)
    return replace(schedule, max_runs=most, jitter=jitter, **edges)


def _check_cost(fields: Fields, schedule: Schedule, now: Instant) -> None:
    walked, left_out = counting_cost(resolve_open(schedule, now, now, ""), now, now + 365 * DAY)
    if walked > MOST_WALKED:
        fields.error(
            "any",
            f"all members but the one that fires most fire {walked:,} times a year, and {MOST_WALKED:,} is the most; "
            "write those that fire often as one cron expression, or as tasks of their own",
        )
    if left_out > MOST_LEFT_OUT:
        fields.error(
            "except",
            f"leaves out {left_out:,} stretches of time a year, and {MOST_LEFT_OUT:,} is the most; name longer ones, "
            "such as whole hours or days, or write the schedule without them",
        )


def _read_at(fields: Fields, now: Instant) -> OneTime:
    fields.required("at")
    at = fields.instant("at")
    if at is None:
        return NOW
    if at < now - LATEST_PAST:
        fields.errors.late.append(FieldError(join(fields.pointer, "at"), "lies more than an hour in the past"))
    return OneTime(at=at, kind="at")


def _read_every(fields: Fields) -> Single:
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
