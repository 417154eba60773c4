"""Day fields of a cron expression: which days of a month they name."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from taskscheduler.domain.cron_field import DAY_OF_MONTH, DAY_OF_WEEK, InvalidCron, value_of, values_of

_LAST = re.compile(r"L(?:-(\d+))?")
_NEAR = re.compile(r"(L|\d+)W")
_LAST_OF_WEEKDAY = re.compile(r"(\d+|[A-Z]{3})L")
_NTH_OF_WEEKDAY = re.compile(r"(\d+|[A-Z]{3})#(\d+)")
_MOST_BEFORE_LAST = 30


class Days(NamedTuple):
    """What the two day fields name, days of the week from 0 (Sunday) to 6."""

    of_month: tuple[int, ...] = ()
    before_last: tuple[int, ...] = ()
    """So many days before the last one of the month: `L` is 0, `L-3` is 3."""
    near: tuple[int, ...] = ()
    """The weekday, Monday to Friday, nearest to that day and in the same month; 0 is the last weekday, `LW`."""
    of_week: tuple[int, ...] = ()
    last_of_week: tuple[int, ...] = ()
    nth_of_week: tuple[tuple[int, int], ...] = ()
    """Day of the week and which one of the month: `MON#2` is (1, 2)."""
    either: bool = False
    """A day matches by one of the fields; otherwise by both."""


def read_days(month_text: str, week_text: str, *, either: bool) -> Days:
    """The days that two fields name, in capitals; `?` is `*`. Raises InvalidCron."""
    before_last: list[int] = []
    near: list[int] = []
    plain: list[str] = []
    for part in _parts(month_text):
        if found := _LAST.fullmatch(part):
            before_last.append(_days_before_last(found[1] or "0"))
        elif found := _NEAR.fullmatch(part):
            near.append(0 if found[1] == "L" else value_of(DAY_OF_MONTH, found[1]))
        elif part.startswith("L"):
            raise InvalidCron(f"day of month: {part[:20]} is not understood; write L, L-3 or LW")
        else:
            plain.append(part)
    of_month = values_of(DAY_OF_MONTH, plain)
    last_of_week: list[int] = []
    nth_of_week: list[tuple[int, int]] = []
    plain = []
    for part in _parts(week_text):
        if part == "L":
            raise InvalidCron("day of week: L alone means Saturday here and Sunday there; write SAT, SUN or 5L")
        if found := _LAST_OF_WEEKDAY.fullmatch(part):
            last_of_week.append(value_of(DAY_OF_WEEK, found[1]) % 7)
        elif found := _NTH_OF_WEEKDAY.fullmatch(part):
            if not 1 <= int(found[2]) <= 5:
                raise InvalidCron(f"day of week: {part[:20]} counts from 1 to 5; write MON#1 or, for the last one, 1L")
            nth_of_week.append((value_of(DAY_OF_WEEK, found[1]) % 7, int(found[2])))
        else:
            plain.append(part)
    return Days(
        of_month,
        tuple(before_last),
        tuple(near),
        values_of(DAY_OF_WEEK, plain),
        tuple(last_of_week),
        tuple(nth_of_week),
        either,
    )


def _parts(text: str) -> list[str]:
    return ["*"] if text == "?" else text.split(",")


def _days_before_last(text: str) -> int:
    if int(text) > _MOST_BEFORE_LAST:
        raise InvalidCron(f"day of month: L-{text[:20]} is outside L-0 to L-{_MOST_BEFORE_LAST}")
    return int(text)


@lru_cache(maxsize=4096)
def month_mask(days: Days, first_weekday: int, length: int) -> int:
    """The matching days of a month that begins on weekday 0 (Monday) to 6 and has `length` days; day 1 is bit 0."""
    by_month = 0
    for day in days.of_month:
        by_month |= 1 << (day - 1)
    for before in days.before_last:
        if before < length:
            by_month |= 1 << (length - 1 - before)
    for day in days.near:
        if day <= length:
            by_month |= 1 << (_near(day or length, first_weekday, length) - 1)
    by_week = 0
    for weekday in days.of_week:
        by_week |= _each(weekday, first_weekday)
    for weekday in days.last_of_week:
        first = (weekday - 1 - first_weekday) % 7
        by_week |= 1 << (first + (length - 1 - first) // 7 * 7)
    for weekday, number in days.nth_of_week:
        by_week |= 1 << ((weekday - 1 - first_weekday) % 7 + 7 * (number - 1))
    matching = by_month | by_week if days.either else by_month & by_week
    return matching & (1 << length) - 1


def _each(weekday: int, first_weekday: int) -> int:
    """Every such day of the week, in a month of any length."""
    first = (weekday - 1 - first_weekday) % 7
    return sum(1 << day for day in range(first, 31, 7))


def _near(day: int, first_weekday: int, length: int) -> int:
    """The day of the weekday nearest to `day`, without leaving the month."""
    weekday = (first_weekday + day - 1) % 7
    if weekday == 5:
        return day - 1 if day > 1 else day + 2
    if weekday == 6:
        return day + 1 if day < length else day - 2
    return day
