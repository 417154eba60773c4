"""One field of a cron expression: from text to the values that it names."""

from __future__ import annotations

from typing import NamedTuple

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


class InvalidCron(ValueError):
    """The text is no cron expression; the message names the field and what to write instead."""


class Kind(NamedTuple):
    """What a field may hold. `last` is where a count through all of it ends: day of week takes 7 but ends at 6."""

    name: str
    low: int
    high: int
    last: int
    names: tuple[str, ...] = ()

    @property
    def example(self) -> str:
        """What to write, for messages."""
        named = f" or {self.names[1]}" if self.names else ""
        return f"write a number {self.low}-{self.high}{named}, a range such as 1-5, a step such as */2, or a list 1,3"


SECOND = Kind("second", 0, 59, 59)
MINUTE = Kind("minute", 0, 59, 59)
HOUR = Kind("hour", 0, 23, 23)
DAY_OF_MONTH = Kind("day of month", 1, 31, 31)
MONTH = Kind("month", 1, 12, 12, _MONTHS)
DAY_OF_WEEK = Kind("day of week", 0, 7, 6, _DAYS)
YEAR = Kind("year", 1970, 2199, 2199)

FIVE = (MINUTE, HOUR, DAY_OF_MONTH, MONTH, DAY_OF_WEEK)
SIX = (SECOND, *FIVE)
SEVEN = (*SIX, YEAR)


def values_of(kind: Kind, parts: list[str]) -> tuple[int, ...]:
    """What the parts of a list name, in ascending order; Sunday is 0. Raises InvalidCron."""
    values: set[int] = set()
    for part in parts:
        values.update(_part(kind, part))
    if kind is DAY_OF_WEEK:
        values = {value % 7 for value in values}
    return tuple(sorted(values))


def value_of(kind: Kind, text: str) -> int:
    """The number that a number or name stands for. Raises InvalidCron."""
    if text in kind.names:
        return kind.names.index(text) + kind.low
    if not text.isdigit():
        raise InvalidCron(f"{kind.name}: {short(text) or 'a missing number'} is not understood; {kind.example}")
    value = int(text)
    if not kind.low <= value <= kind.high:
        raise InvalidCron(f"{kind.name}: {short(text)} is outside {kind.low}-{kind.high}")
    return value


def step_of(kind: Kind, text: str) -> int:
    """The number after `/`, 1 or more. Raises InvalidCron."""
    if not text.isdigit():
        raise InvalidCron(f"{kind.name}: the step after / is a number, not {short(text) or 'empty'}; {kind.example}")
    if int(text) == 0:
        raise InvalidCron(f"{kind.name}: a step of 0 never moves on; write 1 or more, such as */2")
    return int(text)


def short(text: str) -> str:
    """The text, cut to what a message can show."""
    return text if len(text) <= 20 else f"{text[:20]}…"


def _part(kind: Kind, part: str) -> list[int]:
    if not part:
        raise InvalidCron(f"{kind.name}: a list has an empty place; {kind.example}")
    bounds, slash, step = part.partition("/")
    first, last = _bounds(kind, bounds, stepped=bool(slash))
    size = kind.last - kind.low + 1
    end = last if first <= last else last + size
    every = step_of(kind, step) if slash else 1
    return [value if value <= kind.high else value - size for value in range(first, end + 1, every)]


def _bounds(kind: Kind, text: str, *, stepped: bool) -> tuple[int, int]:
    if text == "*":
        return kind.low, kind.last
    low, dash, high = text.partition("-")
    first = value_of(kind, low)
    if not dash:
        return first, max(first, kind.last) if stepped else first
    last = value_of(kind, high)
    if last < first and kind is YEAR:
        raise InvalidCron(f"year: the range {text} runs backwards; write {last}-{first}")
    return first, last
