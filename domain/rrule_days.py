"""The days that a recurrence rule names, as masks of a year: bit 0 is 1 January.

What years have in common is worked out once: the mask of a year follows from its kind, and from which of its months,
weeks or days its INTERVAL leaves.
"""

from __future__ import annotations

from calendar import isleap
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from taskscheduler.domain.local_days import FIRST_YEAR, LEAP_MONTH_LENGTHS, MONTH_LENGTHS, STARTS, YEARS
from taskscheduler.domain.rrule_parse import Rule


class Kind(NamedTuple):
    """What the days of a year depend on: the weekday of 1 January, from Monday 0, and which years are leap years."""

    weekday: int
    leap: bool
    leap_before: bool
    leap_after: bool

    @property
    def months(self) -> tuple[int, ...]:
        """The length of each month."""
        return LEAP_MONTH_LENGTHS if self.leap else MONTH_LENGTHS

    @property
    def length(self) -> int:
        """The days of the year."""
        return 365 + self.leap


# Day 0 of the epoch was a Thursday.
KINDS = tuple(
    Kind((start + 3) % 7, isleap(year), isleap(year - 1), isleap(year + 1))
    for year, start in zip(YEARS, STARTS, strict=True)
)


class Picked(NamedTuple):
    """Places within the days of a period, from 0 on, or from -1 back. None is all of them."""

    places: tuple[int, ...] | None

    def of(self, days: int) -> int:
        """The days that are left of those of one period."""
        if self.places is None or not days:
            return days
        bits = [place for place in range(days.bit_length()) if days >> place & 1]
        return sum({1 << bits[place] for place in self.places if -len(bits) <= place < len(bits)})


@lru_cache(maxsize=16_384)
def kind_mask(rule: Rule, picked: Picked, kind: Kind) -> int:
    """The days of a year of that kind, before INTERVAL."""
    days = _months(rule, kind) & _numbered(rule, kind) & _weeks(rule, kind) & _weekdays(rule, kind)
    if picked.places is None:
        return days
    if rule.freq == "YEARLY":
        return picked.of(days)
    if rule.freq == "MONTHLY":
        return sum(picked.of(days & month) for month in month_masks(kind.leap))
    return _picked_of_weeks(rule, picked, kind)


@lru_cache(maxsize=2)
def month_masks(leap: bool) -> tuple[int, ...]:
    """The days of each month."""
    masks, passed = [], 0
    for length in LEAP_MONTH_LENGTHS if leap else MONTH_LENGTHS:
        masks.append((1 << length) - 1 << passed)
        passed += length
    return tuple(masks)


def in_step(rule: Rule, start_month: int, number: int) -> int:
    """The days of a year that INTERVAL of years or months leaves, counted from the month of the start."""
    if rule.freq == "YEARLY":
        return 0 if (number + FIRST_YEAR - start_month // 12) % rule.interval else (1 << 366) - 1
    masks = month_masks(KINDS[number].leap)
    first = (number + FIRST_YEAR) * 12 - start_month
    return sum(mask for month, mask in enumerate(masks) if (first + month) % rule.interval == 0)


def _months(rule: Rule, kind: Kind) -> int:
    if not rule.by_month:
        return (1 << kind.length) - 1
    masks = month_masks(kind.leap)
    return sum(masks[month - 1] for month in rule.by_month)


def _numbered(rule: Rule, kind: Kind) -> int:
    """By BYMONTHDAY and BYYEARDAY."""
    found = (1 << kind.length) - 1
    if rule.by_month_day:
        days, passed = 0, 0
        for length in kind.months:
            days |= _counted(rule.by_month_day, length) << passed
            passed += length
        found &= days
    if rule.by_year_day:
        found &= _counted(rule.by_year_day, kind.length)
    return found


def _counted(numbers: Iterable[int], length: int) -> int:
    mask = 0
    for number in numbers:
        day = number - 1 if number > 0 else length + number
        if 0 <= day < length:
            mask |= 1 << day
    return mask


def _weekdays(rule: Rule, kind: Kind) -> int:
    """By BYDAY; what counts, counts within each month, or within the year where no month is named."""
    if not rule.by_day:
        return (1 << kind.length) - 1
    periods = [(0, kind.length)]
    if any(number for number, _ in rule.by_day) and (rule.freq == "MONTHLY" or rule.by_month):
        periods, passed = [], 0
        for length in kind.months:
            periods.append((passed, length))
            passed += length
    found = 0
    for start, length in periods:
        first = (kind.weekday + start) % 7
        for number, weekday in rule.by_day:
            days = _each(weekday, first, length)
            place = number - 1 if number > 0 else number
            found |= (Picked((place,)).of(days) if number else days) << start
    return found


def _each(weekday: int, first: int, length: int) -> int:
    """Every such day of the week in a period that begins on the weekday `first`."""
    return sum(1 << day for day in range((weekday - first) % 7, length, 7))


def _weeks(rule: Rule, kind: Kind) -> int:
    """By BYWEEKNO: week 1 is the first with four days or more in the year."""
    if not rule.by_week:
        return (1 << kind.length) - 1
    start = _first_week(kind.weekday, rule.week_start)
    before = -(365 + kind.leap_before)
    starts = [before + _first_week((kind.weekday + before) % 7, rule.week_start), start]
    after = kind.length
    for length in (365 + kind.leap_after, 0):
        starts.append(after + _first_week((kind.weekday + after) % 7, rule.week_start))
        after += length
    found = 0
    for first, end in pairwise(starts):
        weeks = (end - first) // 7
        for number in rule.by_week:
            week = number - 1 if number > 0 else weeks + number
            if 0 <= week < weeks:
                day = first + 7 * week
                found |= 0b1111111 << day if day >= 0 else 0b1111111 >> -day
    return found & (1 << kind.length) - 1


def _first_week(weekday: int, week_start: int) -> int:
    """Where week 1 begins, counted from a 1 January that is such a day of the week."""
    into = (weekday - week_start) % 7
    return -into if into <= 3 else 7 - into


def _picked_of_weeks(rule: Rule, picked: Picked, kind: Kind) -> int:
    """Weeks reach over the ends of a year: of December before and January after, the same days count."""
    weekdays = 0
    for _, weekday in rule.by_day:
        weekdays |= 1 << (weekday - rule.week_start) % 7
    months = month_masks(kind.leap)
    named = [1 if not rule.by_month or month in rule.by_month else 0 for month in (12, *range(1, 13), 1)]
    # Seven days before the year and after it, bit 0 being the first of those before.
    allowed = named[0] * 0b1111111 | named[13] * 0b1111111 << 7 + kind.length
    for month, mask in enumerate(months, 1):
        allowed |= named[month] * mask << 7
    found, start = 0, 7 - (kind.weekday - rule.week_start) % 7
    for week in range(start, kind.length + 7, 7):
        found |= picked.of(allowed >> week & weekdays) << week
    return found >> 7 & (1 << kind.length) - 1
