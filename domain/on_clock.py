"""Local times in any zone: the next and the last fire time, and how many there are between two instants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from taskscheduler.domain.local_days import DAY
from taskscheduler.domain.zones import Segment, offsets

Gap: TypeAlias = Literal["skip", "shift"]
Fold: TypeAlias = Literal["first", "last", "both"]


class Times(Protocol):
    """Local times in ascending order, in seconds since 1970-01-01T00:00 by the wall clock."""

    def next_from(self, local: int) -> int:
        """The first at or after `local`, or NEVER_AFTER."""
        ...

    def prev_from(self, local: int) -> int:
        """The last at or before `local`, or NEVER_BEFORE."""
        ...

    def count(self, start: int, end: int) -> int:
        """How many lie in start <= local < end."""
        ...


END = 7_258_118_400
"""2200-01-01T00:00Z in epoch seconds: no fire time lies at or after it."""

# No clock is ever set by more than a day and no offset is larger, so beyond this nothing is near a change.
_FAR = 2 * DAY


@dataclass(frozen=True, slots=True)
class OnClock:
    """Local times as the clock of a zone shows them. Every instant is in epoch milliseconds; fires are whole seconds.

    `gap`: what becomes of local times that the clock jumps over; `shift` fires once, at the first instant after.
    `fold`: whether a local time that comes twice fires at its first coming, at its last or at both.
    """

    gap: Gap
    fold: Fold
    times: Times

    def next_after(self, instant: int, zone: str) -> int | None:
        """The first fire time strictly after `instant`, or None if there is none before the year 2200."""
        times, segment_at = self.times, offsets(zone).segment
        at = max(instant // 1000 + 1, 0)
        searched, match = 0, -1  # nothing matches from the one up to the other
        while at < END:
            segment = segment_at(at)
            start, end, offset, before = segment
            if at == start and before < offset and self._shifts(segment):
                return start * 1000
            local = max(at + offset, self._floor(segment))
            if not searched <= local <= match:
                searched, match = local, times.next_from(local)
            fire = match - offset
            if fire < self._stop(segment, fire, zone):
                return fire * 1000 if fire < END else None
            # Nothing matches up to `match`: a far one is reached without walking through the changes before it.
            at = end if end - at <= _FAR else max(end, match - _FAR)
        return None

    def prev_before(self, instant: int, zone: str) -> int | None:
        """The last fire time strictly before `instant`, or None if there is none since 1970."""
        times, segment_at = self.times, offsets(zone).segment
        at = min((instant - 1) // 1000, END - 1)
        while at >= 0:
            segment = segment_at(at)
            start, _, offset, before = segment
            match = times.prev_from(min(at, self._stop(segment, at, zone) - 1) + offset)
            if match >= self._floor(segment):
                return (match - offset) * 1000
            if before < offset and self._shifts(segment):
                return start * 1000
            at = start - 1 if at - start <= _FAR else min(start - 1, match + _FAR)
        return None

    def count(self, start: int, end: int, zone: str) -> int:
        """How many fire times lie in start <= t < end."""
        times, segment_at = self.times, offsets(zone).segment
        at, stop = max(-(-start // 1000), 0), min(-(-end // 1000), END)
        total = 0
        while at < stop:
            segment = segment_at(at)
            first, last, offset, before = segment
            local = at + offset
            if at == first and before < offset and self._shifts(segment) and not times.count(local, local + 1):
                total += 1
            end_here = min(stop, self._stop(segment, last - 1, zone))
            total += times.count(max(local, self._floor(segment)), end_here + offset)
            at = last
        return total

    def _shifts(self, segment: Segment) -> bool:
        """Whether a segment that begins with a gap fires at its start for what the gap swallowed."""
        start, _, offset, before = segment
        return self.gap == "shift" and self.times.count(start + before, start + offset) > 0

    def _floor(self, segment: Segment) -> int:
        """The first local second of the segment that counts: after a fold, what came before may not fire again."""
        start, _, offset, before = segment
        return start + (before if self.fold == "first" and before > offset else offset)

    def _stop(self, segment: Segment, at: int, zone: str) -> int:
        """Where the segment ends for a search near `at`: before a fold, what comes again may not fire yet."""
        _, end, offset, _ = segment
        if self.fold != "last" or at < end - DAY:
            return end
        return end - max(0, offset - offsets(zone).segment(end)[2])
