"""Days by the calendar, from 1970 to 2199: which years begin when, and sets of days to be searched and counted.

Local seconds: seconds since 1970-01-01T00:00 by the wall clock. A day is their whole days.
"""

from __future__ import annotations

from datetime import date

DAY = 86_400
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()

FIRST_DAY = -2
"""Days are searched from here, two before the epoch, so that every zone's 1970 is covered."""
END_DAY = date(2200, 1, 3).toordinal() - EPOCH_ORDINAL
NEVER_BEFORE = FIRST_DAY * DAY - 1
NEVER_AFTER = END_DAY * DAY

FIRST_YEAR = 1969
YEARS = range(FIRST_YEAR, 2201)
STARTS = tuple(date(year, 1, 1).toordinal() - EPOCH_ORDINAL for year in YEARS)
"""The first day of each year."""
MONTH_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
LEAP_MONTH_LENGTHS = (31, 29, *MONTH_LENGTHS[2:])


def year_of(day: int) -> int:
    """The number of the day's year, counted from FIRST_YEAR."""
    return date.fromordinal(day + EPOCH_ORDINAL).year - FIRST_YEAR


def month_of(local: int) -> int:
    """The month of a local second, counted from January of year 0."""
    day = date.fromordinal(local // DAY + EPOCH_ORDINAL)
    return day.year * 12 + day.month - 1


class DaySet:
    """A set of days, given a year at a time."""

    __slots__ = ("_every_day",)

    _every_day: bool
    """Whether all days are in it."""

    def _year(self, number: int) -> int:
        """The days of a year counted from FIRST_YEAR that are in it, 1 January being bit 0."""
        raise NotImplementedError

    def _count_days(self, first: int, end: int) -> int:
        if self._every_day or first >= end:
            return max(0, end - first)
        number, last = year_of(first), year_of(end)
        total = -(self._year(number) & (1 << first - STARTS[number]) - 1).bit_count()
        while number < last:
            total += self._year(number).bit_count()
            number += 1
        return total + (self._year(last) & (1 << end - STARTS[last]) - 1).bit_count()

    def _next_day(self, day: int) -> int:
        """The first matching day at or after `day`, or END_DAY."""
        if self._every_day or day >= END_DAY:
            return min(day, END_DAY)
        number = year_of(day)
        left = self._year(number) >> day - STARTS[number]
        if left & 1:
            return day
        while not left:
            number += 1
            if number == len(YEARS):
                return END_DAY
            day = STARTS[number]
            left = self._year(number)
        return min(day + (left & -left).bit_length() - 1, END_DAY)

    def _prev_day(self, day: int) -> int:
        """The last matching day at or before `day`, or one before FIRST_DAY."""
        if self._every_day or day < FIRST_DAY:
            return max(day, FIRST_DAY - 1)
        number = year_of(day)
        left = self._year(number) & (2 << day - STARTS[number]) - 1
        while not left:
            number -= 1
            if number < 0:
                return FIRST_DAY - 1
            left = self._year(number)
        return max(STARTS[number] + left.bit_length() - 1, FIRST_DAY - 1)
