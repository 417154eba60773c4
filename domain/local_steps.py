"""Intervals in local time: so many days, or so many months, each counted from the anchor and so without drift."""

from __future__ import annotations

from calendar import isleap
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from taskscheduler.domain.local_days import (
    DAY,
    EPOCH_ORDINAL,
    LEAP_MONTH_LENGTHS,
    MONTH_LENGTHS,
    NEVER_AFTER,
    NEVER_BEFORE,
    month_of,
)
from taskscheduler.domain.on_clock import Fold, Gap, OnClock
from taskscheduler.domain.values import Instant
from taskscheduler.domain.zones import offsets

_LAST_MONTH = 2200 * 12
"""Months are counted from year 0; this is January 2200."""


@dataclass(frozen=True, slots=True)
class DaySteps:
    """anchor + k * days for k >= first, in local seconds."""

    anchor: int
    days: int
    first: int

    def next_from(self, local: int) -> int:
        found = self.anchor + self._rank(local) * self.days * DAY
        return min(found, NEVER_AFTER)

    def prev_from(self, local: int) -> int:
        k = self._rank(local + 1) - 1
        return self.anchor + k * self.days * DAY if k >= self.first else NEVER_BEFORE

    def count(self, start: int, end: int) -> int:
        return max(0, self._rank(end) - self._rank(start))

    def _rank(self, local: int) -> int:
        """The smallest k of those that are not before `local`."""
        return max(self.first, -((self.anchor - local) // (self.days * DAY)))


@dataclass(frozen=True, slots=True)
class MonthSteps:
    """The day and time of the anchor k * months later, k >= first; the last day of a month that has no such day."""

    month: int
    """That of the anchor, and its day and its second of the day."""
    day: int
    second: int
    months: int
    first: int

    @classmethod
    def of(cls, anchor: int, months: int, first: int) -> MonthSteps:
        """Counted from a local second."""
        day = date.fromordinal(anchor // DAY + EPOCH_ORDINAL).day
        return cls(month_of(anchor), day, anchor % DAY, months, first)

    def next_from(self, local: int) -> int:
        return self._at(self._rank(local))

    def prev_from(self, local: int) -> int:
        k = self._rank(local + 1) - 1
        return self._at(k) if k >= self.first else NEVER_BEFORE

    def count(self, start: int, end: int) -> int:
        return max(0, self._rank(end) - self._rank(start))

    def _rank(self, local: int) -> int:
        """The smallest k of those that are not before `local`."""
        k = max(self.first, (month_of(local) - self.month) // self.months)
        return k if self._at(k) >= local else k + 1

    def _at(self, k: int) -> int:
        month = self.month + k * self.months
        if month > _LAST_MONTH:
            return NEVER_AFTER
        year, number = divmod(month, 12)
        lengths = LEAP_MONTH_LENGTHS if isleap(year) else MONTH_LENGTHS
        reached = date(year, number + 1, min(self.day, lengths[number]))
        return (reached.toordinal() - EPOCH_ORDINAL) * DAY + self.second


@lru_cache(maxsize=4096)
def compile_steps(
    anchor: Instant, zone: str, *, days: int, months: int, first: int, gap: Gap | None, fold: Fold | None
) -> OnClock:
    """Every `days` days or `months` months by the clock of the zone, counted from `anchor`, a whole second."""
    local = anchor // 1000 + offsets(zone).segment(anchor // 1000)[2]
    times = MonthSteps.of(local, months, first) if months else DaySteps(local, days, first)
    return OnClock(gap or "shift", fold or "first", times)
