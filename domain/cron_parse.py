"""The cron language: from text to the values that each field names."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_EXPRESSION = 256

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PLANNED = re.compile(r"L|LW|L-\d+|\d{1,2}W|(\d|[A-Z]{3})L|(\d|[A-Z]{3})#\d|H(\(\d+-\d+\))?(/\d+)?|\?")


class InvalidCron(ValueError):
    """The text is no cron expression; the message names the field and what to write instead."""


class _Kind(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    @property
    def example(self) -> str:
        named = f" or {self.names[1]}" if self.names else ""
        return f"write a number {self.low}-{self.high}{named}, a range such as 1-5, a step such as */2, or a list 1,3"


_SECOND = _Kind("second", 0, 59)
_FIVE = (
    _Kind("minute", 0, 59),
    _Kind("hour", 0, 23),
    _Kind("day of month", 1, 31),
    _Kind("month", 1, 12, _MONTHS),
    _Kind("day of week", 0, 7, _DAYS),
)


class Fields(NamedTuple):
    """What each field names, in ascending order; day of week 0 (Sunday) to 6."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days_of_month: tuple[int, ...]
    months: tuple[int, ...]
    days_of_week: tuple[int, ...]
    either_day: bool
    """A day matches by day of month or by day of week; otherwise by both."""
    fixed_time: bool
    """Names a time of day: neither the minute nor the hour field begins with `*`."""


def parse(expression: str) -> Fields:
    """The fields of a cron expression: five, six with seconds first, or a macro; raises InvalidCron."""
    texts = _split(expression)
    kinds = _FIVE if len(texts) == 5 else (_SECOND, *_FIVE)
    values = [_field(kind, text) for kind, text in zip(kinds, texts, strict=True)]
    if len(values) == 5:
        values.insert(0, (0,))
    seconds, minutes, hours, days_of_month, months, days_of_week = values
    minute, hour, day_of_month, _, day_of_week = texts[-5:]
    fields = Fields(
        seconds,
        minutes,
        hours,
        days_of_month,
        months,
        days_of_week,
        either_day=len(texts) == 5 and not day_of_month.startswith("*") and not day_of_week.startswith("*"),
        fixed_time=not minute.startswith("*") and not hour.startswith("*"),
    )
    longest = max(_LONGEST_MONTHS[month - 1] for month in months)
    if not fields.either_day and days_of_month[0] > longest:
        raise InvalidCron(f"day of month: it never fires, since no month it names has a day {days_of_month[0]}")
    return fields


def _split(expression: str) -> list[str]:
    if len(expression) > MAX_EXPRESSION:
        raise InvalidCron(f"a cron expression has at most {MAX_EXPRESSION} characters; this one has {len(expression)}")
    # Crontabs separate fields by tabs as often as by spaces; any other control character is a mistake.
    if not expression.replace("\t", " ").isprintable() or not expression.isascii():
        raise InvalidCron("a cron expression holds plain ASCII text only: digits, names, spaces and * , - /")
    text = expression.strip()
    if text.startswith("@"):
        text = _macro(text)
    if "TZ=" in text.upper():
        raise InvalidCron("CRON_TZ= and TZ= are not supported yet; give the time zone in its own field")
    texts = text.upper().split()
    if len(texts) == 7:
        raise InvalidCron("a year field is not supported yet; write five fields, or six with seconds first")
    if len(texts) not in (5, 6):
        raise InvalidCron(
            f"expected five fields (minute hour day-of-month month day-of-week), or six with seconds first, "
            f"but found {len(texts)}"
        )
    return texts


def _macro(text: str) -> str:
    name = text.lower().split()[0]
    if name in ("@reboot", "@every"):
        raise InvalidCron(f"{name} is not supported yet; write five fields such as */5 * * * *")
    if text.lower() not in _MACROS:
        raise InvalidCron(f"{_short(text)} is not a macro; write one of {', '.join(_MACROS)}")
    return _MACROS[name]


def _field(kind: _Kind, text: str) -> tuple[int, ...]:
    values: set[int] = set()
    for part in text.split(","):
        values.update(_part(kind, part))
    if kind.high == 7:
        values = {value % 7 for value in values}
    return tuple(sorted(values))


def _part(kind: _Kind, part: str) -> range:
    if not part:
        raise InvalidCron(f"{kind.name}: a list has an empty place; {kind.example}")
    if _PLANNED.fullmatch(part):
        raise InvalidCron(f"{kind.name}: {part} is not supported yet; {kind.example}")
    bounds, slash, step = part.partition("/")
    low, dash, high = bounds.partition("-")
    # Sunday is both 0 and 7, so a week that is counted through to its end stops at 6.
    last = 6 if kind.high == 7 else kind.high
    if bounds == "*":
        first = kind.low
    else:
        first = _value(kind, low)
        if dash:
            last = _value(kind, high)
            if high == "SUN" and first > 0:
                last = 7
        else:
            last = max(first, last) if slash else first
    if last < first:
        raise InvalidCron(
            f"{kind.name}: the range {bounds} runs backwards, which is not supported yet; "
            f"write its two halves as a list, such as {first}-{kind.high},{kind.low}-{last}"
        )
    return range(first, last + 1, _step(kind, step) if slash else 1)


def _value(kind: _Kind, text: str) -> int:
    if text in kind.names:
        return kind.names.index(text) + (1 if kind.low == 1 else 0)
    if not text.isdigit():
        raise InvalidCron(f"{kind.name}: {_short(text) or 'a missing number'} is not understood; {kind.example}")
    value = int(text)
    if not kind.low <= value <= kind.high:
        raise InvalidCron(f"{kind.name}: {_short(text)} is outside {kind.low}-{kind.high}")
    return value


def _step(kind: _Kind, text: str) -> int:
    if not text.isdigit():
        raise InvalidCron(f"{kind.name}: the step after / is a number, not {_short(text) or 'empty'}; {kind.example}")
    if int(text) == 0:
        raise InvalidCron(f"{kind.name}: a step of 0 never moves on; write 1 or more, such as */2")
    return int(text)


def _short(text: str) -> str:
    return text if len(text) <= 20 else f"{text[:20]}…"
