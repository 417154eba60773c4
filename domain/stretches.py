"""Stretches of local time that are left out: days, and what cron expressions name."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Protocol

from taskscheduler.domain.cron_match import LocalTimes
from taskscheduler.domain.cron_parse import Fields
from taskscheduler.domain.local_days import DAY, END_DAY, FIRST_DAY, NEVER_AFTER, STARTS, YEARS, year_of


class Stretches(Protocol):
    """Stretches of local seconds, start <= local < end, apart from each other."""

    width: int
    """How long a fire time that a gap of the clock swallowed leaves out what follows the gap; 0 where none does."""

    def around(self, local: int) -> tuple[int, int] | None:
        """The stretch in which `local` lies."""
        ...

    def next_start(self, local: int) -> int:
        """The first time at or after `local`, which is not inside a stretch, that is left out; or NEVER_AFTER."""
        ...

    def number(self, start: int, end: int) -> int:
        """About how many there are in start <= local < end; never too few by more than one day's."""
        ...

    def swallowed(self, start: int, end: int) -> bool:
        """Whether something in start <= local < end would have to be left out at the end of a gap."""
        ...


class DayStretches:
    """Whole days."""

    __slots__ = ("_ends", "_starts", "width")

    def __init__(self, days: Iterable[tuple[int, int]]) -> None:
        """Each from its first to its last day, counted from 1970-01-01, in any order."""
        self.width = 0
        self._starts: list[int] = []
        self._ends: list[int] = []
        for first, last in sorted(days):
            if self._ends and first * DAY <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], (last + 1) * DAY)
            else:
                self._starts.append(first * DAY)
                self._ends.append((last + 1) * DAY)

    def around(self, local: int) -> tuple[int, int] | None:
        place = bisect_right(self._starts, local) - 1
        if place < 0 or local >= self._ends[place]:
            return None
        return self._starts[place], self._ends[place]

    def next_start(self, local: int) -> int:
        place = bisect_left(self._starts, local)
        return self._starts[place] if place < len(self._starts) else NEVER_AFTER

    def number(self, start: int, end: int) -> int:
        return bisect_left(self._starts, end) - bisect_right(self._ends, start)

    def swallowed(self, start: int, end: int) -> bool:
        return False


class CronStretches(LocalTimes):
    """The minutes or seconds that a cron expression matches, those that follow on each other taken together."""

    __slots__ = ("_fixed_time", "_run_ends", "_run_starts", "width")

    def __init__(self, fields: Fields, width: int) -> None:
        """`width` is what a match stands for: 60 seconds, or one."""
        super().__init__(fields)
        self._fixed_time = fields.fixed_time
        self.width = width
        self._run_starts: list[int] = []
        self._run_ends: list[int] = []
        whole_minute = width == 60 or len(fields.seconds) == 60
        for hour in fields.hours:
            for minute in fields.minutes:
                at = hour * 3600 + minute * 60
                if whole_minute:
                    self._add(at, at + 60)
                else:
                    for second in fields.seconds:
                        self._add(at + second, at + second + 1)

    def around(self, local: int) -> tuple[int, int] | None:
        day, rest = divmod(local, DAY)
        place = bisect_right(self._run_starts, rest) - 1
        if place < 0 or rest >= self._run_ends[place] or not self._has(day):
            return None
        start, end = day * DAY + self._run_starts[place], day * DAY + self._run_ends[place]
        if end == (day + 1) * DAY and self._run_starts[0] == 0:
            if self._run_ends[0] == DAY:
                return self._first_day(day) * DAY, self._day_off(day + 1) * DAY
            if self._has(day + 1):
                end += self._run_ends[0]
        if start == day * DAY and self._run_ends[-1] == DAY and self._has(day - 1):
            start += self._run_starts[-1] - DAY
        return start, end

    def next_start(self, local: int) -> int:
        return self.next_from(local)

    def number(self, start: int, end: int) -> int:
        first, last = max(start // DAY, FIRST_DAY), min(end // DAY + 1, END_DAY)
        return self._count_days(first, last) * len(self._run_starts)

    def swallowed(self, start: int, end: int) -> bool:
        return self._fixed_time and self.count(start, end) > 0

    def _add(self, start: int, end: int) -> None:
        if self._run_ends and self._run_ends[-1] == start:
            self._run_ends[-1] = end
        else:
            self._run_starts.append(start)
            self._run_ends.append(end)

    def _has(self, day: int) -> bool:
        if not FIRST_DAY <= day < END_DAY:
            return False
        number = year_of(day)
        return bool(self._year(number) >> day - STARTS[number] & 1)

    def _day_off(self, day: int) -> int:
        """The first day at or after `day` that does not match, or END_DAY."""
        if self._every_day:
            return END_DAY
        number = year_of(day)
        while number + 1 < len(YEARS):
            off = ~(self._year(number) >> day - STARTS[number])
            day += (off & -off).bit_length() - 1
            number += 1
            if day < STARTS[number]:
                break
            day = STARTS[number]
        return min(day, END_DAY)

    def _first_day(self, day: int) -> int:
        """The first of the days that match one after another up to `day`."""
        if self._every_day:
            return FIRST_DAY
        while self._has(day - 1):
            day -= 1
        return day
