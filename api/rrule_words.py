"""A recurrence rule as a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from taskscheduler.domain.rrule_parse import Rule

_UNITS = {
    "YEARLY": "year",
    "MONTHLY": "month",
    "WEEKLY": "week",
    "DAILY": "day",
    "HOURLY": "hour",
    "MINUTELY": "minute",
    "SECONDLY": "second",
}
_MONTHS = "January February March April May June July August September October November December".split()
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_SHOWN_TIMES = 6


def describe_rule(rule: Rule, start: datetime) -> str:
    """When it fires, in English, without the zone; `start` is its dtstart."""
    unit = _UNITS[rule.freq]
    head = f"Every {unit}" if rule.interval == 1 else f"Every {rule.interval} {unit}s"
    return f"{head}{''.join(_dates(rule, start))}{''.join(_times(rule, start))}{''.join(_edges(rule, start))}"


def _dates(rule: Rule, start: datetime) -> Iterator[str]:
    by_date = rule.by_week or rule.by_year_day or rule.by_month_day or rule.by_day
    if rule.by_month:
        yield f" in {_listed([_MONTHS[month - 1] for month in rule.by_month])}"
    if rule.by_week:
        yield f" in {_listed([_ordinal(week) for week in rule.by_week])} week"
    if rule.by_year_day:
        yield f" on {_listed([_ordinal(day) for day in rule.by_year_day])} day of the year"
    if rule.by_month_day:
        yield f" on {_listed([_ordinal(day) for day in rule.by_month_day])} day of the month"
    if rule.by_day:
        days = rule.by_day
        if days == tuple((0, weekday) for weekday in range(5)):
            yield " on Monday to Friday"
        else:
            yield f" on {_listed([f'{_ordinal(at)} {_DAYS[day]}' if at else _DAYS[day] for at, day in days])}"
    if rule.freq == "YEARLY" and not by_date:
        yield f" on day {start.day}" if rule.by_month else f" on {start.day} {_MONTHS[start.month - 1]}"
    elif rule.freq == "MONTHLY" and not by_date:
        yield f" on day {start.day}"
    elif not rule.by_day and (rule.freq == "WEEKLY" or (rule.by_week and not (rule.by_month_day or rule.by_year_day))):
        yield f" on {_DAYS[start.weekday()]}"


def _times(rule: Rule, start: datetime) -> Iterator[str]:
    if rule.names_time_of_day:
        hours, minutes = rule.by_hour or (start.hour,), rule.by_minute or (start.minute,)
        seconds = rule.by_second or (start.second,)
        times = [(hour, minute, second) for hour in hours for minute in minutes for second in seconds]
        if len(times) > _SHOWN_TIMES:
            yield f" at {len(times)} times of day"
        else:
            yield f" at {_listed([_clock(*time) for time in times])}"
    else:
        for name, values in (("hour", rule.by_hour), ("minute", rule.by_minute), ("second", rule.by_second)):
            if values:
                yield f", at {name} {_listed([str(value) for value in values])}"
    if rule.by_place:
        yield f", {_listed([_ordinal(place) for place in rule.by_place])} of these"


def _edges(rule: Rule, start: datetime) -> Iterator[str]:
    time = "" if rule.names_time_of_day else f"{_clock(start.hour, start.minute, start.second)} on "
    yield f", from {time}{start:%Y-%m-%d} on"
    if rule.runs is not None:
        yield f", {rule.runs} time{'s' * (rule.runs > 1)}"
    if rule.until is not None:
        until = datetime.fromtimestamp(rule.until.seconds, UTC)
        yield f", until {until:%H:%M:%S} {'UTC ' * rule.until.utc}on {until:%Y-%m-%d}"


def _clock(hour: int, minute: int, second: int) -> str:
    return f"{hour:02}:{minute:02}" + (f":{second:02}" if second else "")


def _ordinal(number: int) -> str:
    size = abs(number)
    ending = "th" if 10 < size % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(size % 10, "th")
    if number == -1:
        return "the last"
    return f"the {size}{ending}" if number > 0 else f"the {size}{ending} last"


def _listed(items: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(items[:-1]), items[-1])))
