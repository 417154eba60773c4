"""Which local times a cron expression matches. Local seconds: seconds since 1970-01-01T00:00 by the wall clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from taskscheduler.domain.cron_parse import Fields

DAY = 86_400
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()

FIRST_DAY = -2
"""Days are searched from here, two before the epoch, so that every zone's 1970 is covered."""
END_DAY = date(2200, 1, 3).toordinal() - _EPOCH_ORDINAL
NEVER_BEFORE = FIRST_DAY * DAY - 1
NEVER_AFTER = END_DAY * DAY

_WHOLE_MONTH = (1 << 31) - 1
_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def _month_length(year: int, month: int) -> int:
    if month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0):
        return 29
    return _LENGTHS[month - 1]


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


def _day_masks(fields: Fields) -> tuple[int, ...]:
    """For a month that begins on weekday 0 (Monday) to 6, the days that match, day 1 being bit 0."""
    by_month = sum(1 << (day - 1) for day in fields.days_of_month)
    week = sum(1 << (day - 1) % 7 for day in fields.days_of_week)
    six_weeks = sum(week << days for days in range(0, 42, 7))
    by_week = [six_weeks >> first_weekday & _WHOLE_MONTH for first_weekday in range(7)]
    return tuple(by_month | mask if fields.either_day else by_month & mask for mask in by_week)


class LocalTimes:
    """The matching local times, to be searched in both directions and counted."""

    __slots__ = ("_days", "_every_day", "_first", "_hours", "_last", "_minutes", "_months", "_per_day", "_seconds")

    def __init__(self, fields: Fields) -> None:
        self._seconds = _Unit.of(fields.seconds, 60)
        self._minutes = _Unit.of(fields.minutes, 60)
        self._hours = _Unit.of(fields.hours, 24)
        self._months = tuple(month in fields.months for month in range(13))
        self._days = _day_masks(fields)
        self._every_day = len(fields.months) == 12 and all(mask == _WHOLE_MONTH for mask in self._days)
        self._first = self._hours.first * 3600 + self._minutes.first * 60 + self._seconds.first
        self._last = self._hours.last * 3600 + self._minutes.last * 60 + self._seconds.last
        self._per_day = len(fields.seconds) * len(fields.minutes) * len(fields.hours)

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

    def _count_days(self, first: int, end: int) -> int:
        if self._every_day or first >= end:
            return max(0, end - first)
        total = 0
        while first < end:
            year, month, passed, bits = self._month_of(first)
            length = _month_length(year, month)
            take = min(length - passed, end - first)
            total += (bits >> passed & (1 << take) - 1).bit_count()
            first += length - passed
        return total

    def _next_day(self, day: int) -> int:
        """The first matching day at or after `day`, or END_DAY."""
        if self._every_day:
            return min(day, END_DAY)
        year, month, passed, bits = self._month_of(day)
        left = bits >> passed
        while not left and day < END_DAY:
            day += _month_length(year, month) - passed
            year, month, passed = (year, month + 1, 0) if month < 12 else (year + 1, 1, 0)
            left = self._bits(year, month, day)
        return min(day + (left & -left).bit_length() - 1, END_DAY) if left else END_DAY

    def _prev_day(self, day: int) -> int:
        """The last matching day at or before `day`, or one before FIRST_DAY."""
        if self._every_day:
            return max(day, FIRST_DAY - 1)
        while day >= FIRST_DAY:
            _, _, passed, bits = self._month_of(day)
            left = bits & (2 << passed) - 1
            if left:
                return max(day - passed + left.bit_length() - 1, FIRST_DAY - 1)
            day -= passed + 1
        return FIRST_DAY - 1

    def _month_of(self, day: int) -> tuple[int, int, int, int]:
        """Year, month, the days of the month before `day`, and the mask of the month's matching days."""
        when = date.fromordinal(day + _EPOCH_ORDINAL)
        year, month, passed = when.year, when.month, when.day - 1
        return year, month, passed, self._bits(year, month, day - passed)

    def _bits(self, year: int, month: int, first: int) -> int:
        """The mask of the matching days of a month whose first day is `first`."""
        if not self._months[month]:
            return 0
        # Day 0 of the epoch was a Thursday.
        return self._days[(first + 3) % 7] & (1 << _month_length(year, month)) - 1
