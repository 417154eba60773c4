"""Which local times a cron expression matches. Local seconds: seconds since 1970-01-01T00:00 by the wall clock."""

from __future__ import annotations

from calendar import isleap
from dataclasses import dataclass
from functools import lru_cache

from taskscheduler.domain.cron_days import month_mask
from taskscheduler.domain.cron_parse import Fields
from taskscheduler.domain.local_days import (
    DAY,
    END_DAY,
    FIRST_DAY,
    FIRST_YEAR,
    LEAP_MONTH_LENGTHS,
    MONTH_LENGTHS,
    NEVER_AFTER,
    NEVER_BEFORE,
    STARTS,
    YEARS,
    DaySet,
)

# Day 0 of the epoch was a Thursday.
_KINDS = tuple((start + 3) % 7 << 1 | isleap(year) for year, start in zip(YEARS, STARTS, strict=True))
"""Years with the same number have the same calendar: the weekday of 1 January, from Monday 0, twice, plus 1 if leap."""


@dataclass(frozen=True, slots=True)
class _Unit:
    """The values of one field, ready to be looked up without a search."""

    first: int
    last: int
    size: int
    after: tuple[int, ...]
    """after[v]: the smallest value >= v, or `size`; for v = 0 to size."""
    before: tuple[int, ...]
    """before[v]: the largest value <= v, or -1; one more -1 at the end, so that before[-1] is -1 too."""
    rank: tuple[int, ...]
    """rank[v]: how many values are < v; for v = 0 to size."""

    @classmethod
    @lru_cache(maxsize=512)
    def of(cls, values: tuple[int, ...], size: int) -> _Unit:
        after, before, rank = [], [], []
        previous = -1
        for passed, value in enumerate((*values, size)):
            after += [value] * (value - previous)
            before += [previous] * (value - max(previous, 0))
            rank += [passed] * (value - previous)
            previous = value
        return cls(values[0], values[-1], size, tuple(after), (*before, -1), tuple(rank))


class LocalTimes(DaySet):
    """The matching local times, to be searched in both directions and counted."""

    __slots__ = (
        "_by_kind",
        "_fields",
        "_first",
        "_hours",
        "_last",
        "_minutes",
        "_per_day",
        "_seconds",
        "_years",
    )

    def __init__(self, fields: Fields) -> None:
        self._seconds = _Unit.of(fields.seconds, 60)
        self._minutes = _Unit.of(fields.minutes, 60)
        self._hours = _Unit.of(fields.hours, 24)
        self._fields = fields
        self._years = None if fields.years is None else frozenset(fields.years)
        self._by_kind: dict[int, int] = {}
        days = fields.days
        by_one = len(days.of_month) == 31 and len(days.of_week) == 7
        self._every_day = by_one and fields.years is None and len(fields.months) == 12
        self._first = self._hours.first * 3600 + self._minutes.first * 60 + self._seconds.first
        self._last = self._hours.last * 3600 + self._minutes.last * 60 + self._seconds.last
        self._per_day = len(fields.seconds) * len(fields.minutes) * len(fields.hours)

    def ever(self) -> bool:
        """Whether any date matches."""
        return self._every_day or any(self._year(number) for number in range(len(YEARS)))

    def next_from(self, local: int) -> int:
        """The first match at or after `local`; NEVER_AFTER when there is none before the year 2200."""
        day, rest = divmod(local, DAY)
        found = self._next_day(day)
        if found == day:
            hour, rest = divmod(rest, 3600)
            minute, second = divmod(rest, 60)
            hours, minutes = self._hours, self._minutes
            next_hour = hours.after[hour]
            if next_hour == hour:
                next_minute = minutes.after[minute]
                if next_minute == minute:
                    next_second = self._seconds.after[second]
                    if next_second < 60:
                        return day * DAY + hour * 3600 + minute * 60 + next_second
                    next_minute = minutes.after[minute + 1]
                if next_minute < 60:
                    return day * DAY + hour * 3600 + next_minute * 60 + self._seconds.first
                next_hour = hours.after[hour + 1]
            if next_hour < 24:
                return day * DAY + next_hour * 3600 + minutes.first * 60 + self._seconds.first
            found = self._next_day(day + 1)
        return found * DAY + self._first if found < END_DAY else NEVER_AFTER

    def prev_from(self, local: int) -> int:
        """The last match at or before `local`; NEVER_BEFORE when there is none since 1970."""
        day, rest = divmod(local, DAY)
        found = self._prev_day(day)
        if found == day:
            hour, rest = divmod(rest, 3600)
            minute, second = divmod(rest, 60)
            hours, minutes = self._hours, self._minutes
            prev_hour = hours.before[hour]
            if prev_hour == hour:
                prev_minute = minutes.before[minute]
                if prev_minute == minute:
                    prev_second = self._seconds.before[second]
                    if prev_second >= 0:
                        return day * DAY + hour * 3600 + minute * 60 + prev_second
                    prev_minute = minutes.before[minute - 1]
                if prev_minute >= 0:
                    return day * DAY + hour * 3600 + prev_minute * 60 + self._seconds.last
                prev_hour = hours.before[hour - 1]
            if prev_hour >= 0:
                return day * DAY + prev_hour * 3600 + minutes.last * 60 + self._seconds.last
            found = self._prev_day(day - 1)
        return found * DAY + self._last if found >= FIRST_DAY else NEVER_BEFORE

    def count(self, start: int, end: int) -> int:
        """How many matches lie in start <= local < end."""
        if end <= start:
            return 0
        first_day, start_of_day = divmod(start, DAY)
        last_day, end_of_day = divmod(end, DAY)
        total = self._count_days(first_day, last_day) * self._per_day
        if start_of_day and self._count_days(first_day, first_day + 1):
            total -= self._count_in_day(start_of_day)
        if end_of_day and self._count_days(last_day, last_day + 1):
            total += self._count_in_day(end_of_day)
        return total

    def _count_in_day(self, end: int) -> int:
        hour, rest = divmod(end, 3600)
        minute, second = divmod(rest, 60)
        hours, minutes, seconds = self._hours.rank, self._minutes.rank, self._seconds.rank
        total = hours[hour] * minutes[60] * seconds[60]
        if hours[hour + 1] > hours[hour]:
            total += minutes[minute] * seconds[60]
            if minutes[minute + 1] > minutes[minute]:
                total += seconds[second]
        return total

    def _year(self, number: int) -> int:
        """The matching days of a year counted from FIRST_YEAR, 1 January being bit 0."""
        if self._years is not None and number + FIRST_YEAR not in self._years:
            return 0
        kind = _KINDS[number]
        mask = self._by_kind.get(kind)
        if mask is None:
            mask = self._by_kind[kind] = self._mask(kind >> 1, LEAP_MONTH_LENGTHS if kind & 1 else MONTH_LENGTHS)
        return mask

    def _mask(self, weekday: int, lengths: tuple[int, ...]) -> int:
        mask, passed = 0, 0
        for month, length in enumerate(lengths, 1):
            if month in self._fields.months:
                mask |= month_mask(self._fields.days, (weekday + passed) % 7, length) << passed
            passed += length
        return mask
