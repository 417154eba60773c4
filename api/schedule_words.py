"""A schedule as a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import assert_never

from cron_descriptor import ExpressionDescriptor, Options

from taskscheduler.api.rrule_words import describe_rule
from taskscheduler.api.values import format_instant, format_local, offset_of
from taskscheduler.domain.cron_parse import DayRule, parse
from taskscheduler.domain.excluded import ExceptCalendar, ExceptCron, ExceptDays, ExceptTime, Exclusion
from taskscheduler.domain.rrule_parse import parse_rule
from taskscheduler.domain.schedule import AnyOf, Cron, Every, LocalEvery, Manual, OneTime, Recurrence, Schedule
from taskscheduler.domain.values import DAY, HOUR, MINUTE, SECOND, Millis

_OPTIONS = Options(use_24hour_time_format=True, locale_code="en_US")
_UNITS = (("day", DAY), ("hour", HOUR), ("minute", MINUTE))
_LOST = re.compile(r"(?=.*,).*(#|[LW](,|-|$))")
"""A list with such a word in it, of which the library tells only a part."""

_MOST_EXCLUSIONS = 5
"""More are counted, not said."""

_MACROS = {
    "@yearly": "At 00:00, on day 1 of January",
    "@annually": "At 00:00, on day 1 of January",
    "@monthly": "At 00:00, on day 1 of the month",
    "@weekly": "At 00:00, only on Sunday",
    "@daily": "At 00:00",
    "@midnight": "At 00:00",
    "@hourly": "Every hour",
}


def describe(schedule: Schedule) -> str:
    """When it fires, in English. What `resolve` fills in is not needed."""
    return f"{_form(schedule)}{''.join(_bounds(schedule))}."


def _form(schedule: Schedule) -> str:
    match schedule:
        case OneTime(kind="at", at=at):
            return f"Once, at {_instant(at)}"
        case OneTime(kind="delay", delay=delay):
            return f"Once, {_length(delay or 0)} after the task is made"
        case Manual():
            return "Never by itself: when a task that it follows has ended, or when it is triggered"
        case OneTime():
            return "Once, as soon as the task is made"
        case Every(every=every, anchored=True, anchor=anchor):
            return f"Every {_step(every)}, counted from {_instant(anchor)}"
        case Every(every=every, start_at=None):
            return f"Every {_step(every)}, counted from when the task is made"
        case Every(every=every):
            return f"Every {_step(every)}"
        case LocalEvery(anchored=True, anchor=anchor, timezone=zone):
            date, _, time = format_local(anchor, offset_of(zone, anchor))[:19].partition("T")
            return f"Every {_steps(schedule)}, counted from {time.removesuffix(':00')} on {date}, in {zone}"
        case LocalEvery(start_at=None, timezone=zone):
            return f"Every {_steps(schedule)}, counted from when the task is made, in {zone}"
        case LocalEvery(timezone=zone):
            return f"Every {_steps(schedule)}, in {zone}"
        case AnyOf(members=members):
            return "Each of these: " + "; or ".join(_of_member(each) for each in members)
        case Recurrence(rrule=rule, dtstart=start, timezone=zone):
            return f"{describe_rule(parse_rule(rule), datetime.fromisoformat(start))}, in {zone}"
        case Cron():
            return f"{_cron(schedule.cron, schedule.days)}, in {schedule.timezone}"
        case _:
            assert_never(schedule)


def _bounds(schedule: Schedule) -> Iterator[str]:
    if schedule.start_at is not None:
        yield f", from {_instant(schedule.start_at)}"
    if schedule.end_at is not None:
        yield f", until {_instant(schedule.end_at)}"
    if schedule.excluded:
        yield f", except {_listed([_exclusion(one) for one in schedule.excluded])}"
    if schedule.max_runs is not None:
        yield f", {_counted(str(schedule.max_runs), 'run')} at most"
    if schedule.jitter:
        yield f", put off by up to {_length(schedule.jitter)}"


def _of_member(member: Schedule) -> str:
    said = f"{_form(member)}{''.join(_bounds(member))}"
    return said[0].lower() + said[1:]


def _exclusion(exclusion: Exclusion) -> str:
    match exclusion:
        case ExceptDays(first=first, last=last):
            return f"on {first}" if first == last else f"from {first} to {last}"
        case ExceptTime(start=start, end=end):
            return f"from {_instant(start)} until before {_instant(end)}"
        case ExceptCron(cron=expression, timezone=zone):
            said = _cron(expression, None)
            named = said.removeprefix("By ") if said.startswith("By ") else f"“{said}”"
            return f"what {named} names{'' if zone is None else f' in {zone}'}"
        case ExceptCalendar(calendar=name):
            return f"on the days of the calendar {name}"
        case _:
            assert_never(exclusion)


def _listed(items: list[str]) -> str:
    if len(items) > _MOST_EXCLUSIONS:
        items = [*items[:_MOST_EXCLUSIONS], f"{len(items) - _MOST_EXCLUSIONS} more"]
    return " and ".join(filter(None, (", ".join(items[:-1]), items[-1])))


def _cron(expression: str, days: DayRule | None) -> str:
    text = expression.strip()
    if (said := _MACROS.get(text.lower())) is not None:
        return said
    fields = text.upper().split()
    first = len(fields) - 5 if len(fields) < 7 else 1
    for place, size in zip(range(first + 1, -1, -1), (24, 60, 60), strict=False):
        # A step that is longer than the field names its first value alone, and the library says otherwise.
        if (step := fields[place].removeprefix("*/")).isdecimal() and int(step) >= size:
            fields[place] = "0"
    day, weekday = fields[first + 2], fields[first + 4]
    if _LOST.match(day) or _LOST.match(weekday):
        return f"By the cron expression {text}"
    descriptor = ExpressionDescriptor(" ".join(fields), _OPTIONS)
    try:
        sentence = str(descriptor.get_full_description())
        day_of_week = str(descriptor.get_day_of_week_description())
        either = parse(text, days).days.either
    except Exception:  # it raises whatever comes up, for words that it does not know
        return f"By the cron expression {text}"
    if day in ("*", "?") or weekday in ("*", "?") or not day_of_week:
        return sentence
    # The library takes it for granted that either day will do.
    bare = day_of_week.removeprefix(", or on ").removeprefix(", only on ").removeprefix(", ")
    return sentence.replace(day_of_week, f", or on {bare}" if either else f", but only on {bare}")


def _instant(instant: int) -> str:
    date, _, time = format_instant(instant).removesuffix("Z").partition("T")
    return f"{time.removesuffix('.000')} UTC on {date}"


def _step(every: Millis) -> str:
    length = _length(every)
    return length.removeprefix("1 ") if length.count(" ") == 1 else length


def _steps(schedule: LocalEvery) -> str:
    if not schedule.months:
        return _step(schedule.days * DAY)
    years, months = divmod(schedule.months, 12)
    number, name = (schedule.months, "month") if months else (years, "year")
    return name if number == 1 else _counted(str(number), name)


def _length(millis: Millis) -> str:
    parts = []
    for name, size in _UNITS:
        number, millis = divmod(millis, size)
        if number:
            parts.append(_counted(str(number), name))
    if millis or not parts:
        parts.append(_counted(f"{millis / SECOND:.3f}".rstrip("0").rstrip("."), "second"))
    return " ".join(parts)


def _counted(number: str, name: str) -> str:
    return f"{number} {name}" if number == "1" else f"{number} {name}s"
