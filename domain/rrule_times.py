"""The local times of a recurrence rule: searched in both directions and counted, without a walk from its start."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from math import gcd
from typing import NamedTuple

from taskscheduler.domain.local_days import (
    DAY,
    END_DAY,
    FIRST_DAY,
    NEVER_AFTER,
    NEVER_BEFORE,
    STARTS,
    DaySet,
    month_of,
    year_of,
)
from taskscheduler.domain.rrule_days import KINDS, Picked, in_step, kind_mask
from taskscheduler.domain.rrule_parse import Rule


class Clock(NamedTuple):
    """The times of a day, which is divided into units of `size` seconds: hours, for example.

    Those units fire that `allowed` has a bit for; only every `step`-th one, counted from that of the start, where that
    is not 1. In each of them the seconds `within`, in ascending order.
    """

    size: int
    allowed: int
    within: tuple[int, ...]
    step: int = 1


class Part(DaySet):
    """Times of day on some of the days."""

    __slots__ = (
        "_allowed",
        "_comb",
        "_cycle",
        "_first_unit",
        "_kept",
        "_picked",
        "_ring",
        "_rule",
        "_size",
        "_start_month",
        "_step",
        "_totals",
        "_within",
    )

    def __init__(self, rule: Rule, start: int, picked: Picked, clock: Clock) -> None:
        self._rule = rule
        self._picked = picked
        self._size, self._allowed, self._within, self._step = clock
        self._first_unit = start // self._size
        units = DAY // self._size
        self._comb = _repeated(1, self._step, units) if self._step > 1 else 0
        if self._step > 1 and units % self._step == 0:
            self._allowed &= self._comb << self._first_unit % self._step
            self._step = 1
        self._start_month = month_of(start)
        self._cycle, ring = self._days_in_step(start // DAY)
        every_day = ring == (1 << self._cycle) - 1
        self._ring = None if every_day else _repeated(ring, self._cycle, self._cycle + 366)
        by_day = rule.by_month or rule.by_week or rule.by_year_day or rule.by_month_day or rule.by_day
        self._every_day = every_day and not by_day and rule.freq not in ("YEARLY", "MONTHLY")
        self._kept: dict[int, int] = {}
        self._totals: dict[int, int] = {}

    def next_from(self, local: int) -> int:
        """The first at or after `local`, or NEVER_AFTER."""
        day, rest = divmod(local, DAY)
        found = self._next_day(day)
        if found == day:
            unit, second = divmod(rest, self._size)
            left = self._units(day) >> unit
            if left & 1:
                place = bisect_left(self._within, second)
                if place < len(self._within):
                    return day * DAY + unit * self._size + self._within[place]
                left ^= 1
            if left:
                return day * DAY + (unit + _lowest(left)) * self._size + self._within[0]
            found = self._next_day(day + 1)
        if found >= END_DAY:
            return NEVER_AFTER
        return found * DAY + _lowest(self._units(found)) * self._size + self._within[0]

    def prev_from(self, local: int) -> int:
        """The last at or before `local`, or NEVER_BEFORE."""
        day, rest = divmod(local, DAY)
        found = self._prev_day(day)
        if found == day:
            unit, second = divmod(rest, self._size)
            left = self._units(day) & (2 << unit) - 1
            if left >> unit:
                place = bisect_right(self._within, second)
                if place:
                    return day * DAY + unit * self._size + self._within[place - 1]
                left ^= 1 << unit
            if left:
                return day * DAY + (left.bit_length() - 1) * self._size + self._within[-1]
            found = self._prev_day(day - 1)
        if found < FIRST_DAY:
            return NEVER_BEFORE
        return found * DAY + (self._units(found).bit_length() - 1) * self._size + self._within[-1]

    def count(self, start: int, end: int) -> int:
        """How many lie in start <= local < end."""
        first_day, start_of_day = divmod(start, DAY)
        last_day, end_of_day = divmod(end, DAY)
        units = self._count_units(first_day, last_day)
        total = units * len(self._within)
        if start_of_day and self._count_days(first_day, first_day + 1):
            total -= self._count_in_day(first_day, start_of_day)
        if end_of_day and self._count_days(last_day, last_day + 1):
            total += self._count_in_day(last_day, end_of_day)
        return total

    def _count_in_day(self, day: int, end: int) -> int:
        unit, second = divmod(end, self._size)
        units = self._units(day)
        here = bisect_left(self._within, second) if units >> unit & 1 else 0
        return (units & (1 << unit) - 1).bit_count() * len(self._within) + here

    def _count_units(self, first: int, end: int) -> int:
        """The units of the days in first <= day < end."""
        if self._step == 1:
            return self._count_days(first, end) * self._allowed.bit_count()
        number, last = year_of(first), year_of(end)
        total = -self._units_of_year(number, first - STARTS[number])
        while number < last:
            if number not in self._totals:
                self._totals[number] = self._units_of_year(number, 366)
            total += self._totals[number]
            number += 1
        return total + self._units_of_year(last, end - STARTS[last])

    def _units_of_year(self, number: int, days: int) -> int:
        """The units of so many days from 1 January on."""
        left, total = self._year(number) & (1 << days) - 1, 0
        while left:
            day = _lowest(left)
            total += self._units(STARTS[number] + day).bit_count()
            left &= left - 1
        return total

    def _units(self, day: int) -> int:
        """Those of a day that fire."""
        if self._step == 1:
            return self._allowed
        return self._comb << (self._first_unit - day * (DAY // self._size)) % self._step & self._allowed

    def _year(self, number: int) -> int:
        mask = self._kept.get(number)
        if mask is None:
            mask = kind_mask(self._rule, self._picked, KINDS[number])
            if mask and self._rule.interval > 1 and self._rule.freq in ("YEARLY", "MONTHLY"):
                mask &= in_step(self._rule, self._start_month, number)
            if mask and self._ring is not None:
                mask &= self._ring >> STARTS[number] % self._cycle
            self._kept[number] = mask
        return mask

    def _days_in_step(self, start: int) -> tuple[int, int]:
        """After how many days the days in step come again, and which of these are: day d stands at d mod so many."""
        interval = self._rule.interval
        if self._rule.freq == "DAILY":
            return interval, 1 << start % interval
        if self._rule.freq == "WEEKLY":
            first = start - (start + 3 - self._rule.week_start) % 7
            return 7 * interval, sum(1 << (first + day) % (7 * interval) for day in range(7))
        if self._step == 1:
            return 1, int(self._allowed > 0)
        units = DAY // self._size
        folded, left = 0, self._allowed
        while left:
            folded |= left & (1 << self._step) - 1
            left >>= self._step
        fires = f"{folded:0{self._step}b}"[::-1]
        cycle = self._step // gcd(units, self._step)
        return cycle, int(
            "".join(fires[(self._first_unit - day * units) % self._step] for day in range(cycle))[::-1], 2
        )


class RuleTimes:
    """The local times of all parts, of which no two have one in common, in first <= local <= last."""

    __slots__ = ("_first", "_last", "_parts")

    def __init__(self, parts: list[Part], first: int, last: int) -> None:
        self._parts = parts
        self._first = first
        self._last = last

    def next_from(self, local: int) -> int:
        local = max(local, self._first)
        if local > self._last:
            return NEVER_AFTER
        found = min((part.next_from(local) for part in self._parts), default=NEVER_AFTER)
        return found if found <= self._last else NEVER_AFTER

    def prev_from(self, local: int) -> int:
        local = min(local, self._last)
        if local < self._first:
            return NEVER_BEFORE
        found = max(part.prev_from(local) for part in self._parts)
        return found if found >= self._first else NEVER_BEFORE

    def count(self, start: int, end: int) -> int:
        start, end = max(start, self._first), min(end, self._last + 1)
        return sum(part.count(start, end) for part in self._parts) if start < end else 0

    def until_count(self, most: int) -> RuleTimes:
        """The same, ending with so many."""
        low, high = self._first, self._first + DAY
        while high < NEVER_AFTER and self.count(self._first, high) < most:
            low, high = high, high + 2 * (high - self._first)
        high = min(high, NEVER_AFTER)
        if self.count(self._first, high) < most:
            return self
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.count(self._first, middle) < most else (low, middle)
        return RuleTimes(self._parts, self._first, high - 1)


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


def _repeated(ring: int, size: int, least: int) -> int:
    while size < least:
        ring |= ring << size
        size *= 2
    return ring
