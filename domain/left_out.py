"""The fire times of a schedule without those that it leaves out, and those of several schedules together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from taskscheduler.domain.bounds import Nominal
from taskscheduler.domain.local_days import DAY
from taskscheduler.domain.on_clock import END
from taskscheduler.domain.stretches import Stretches
from taskscheduler.domain.values import Instant
from taskscheduler.domain.zones import Segment, offsets

MOST_IN_A_ROW = 50_000
"""After so many fire times, or stretches of them, in a row that are left out, and a year of them, the schedule ends."""

MOST_IN_A_YEAR = 3 * MOST_IN_A_ROW
"""After so many it ends however soon they come: more than a schedule may name in a year when it is given."""

_YEAR = 400 * DAY * 1000


class LeftOut(Protocol):
    """Instants that do not fire."""

    def end_of(self, instant: Instant) -> Instant | None:
        """Up to where all is left out from `instant` on, or None where it is not left out itself."""
        ...

    def start_of(self, instant: Instant) -> Instant | None:
        """From where on all is left out up to `instant`, or None where it is not left out itself."""
        ...

    def next_start(self, instant: Instant, stop: Instant) -> Instant:
        """The first instant that is left out after `instant`, which is not; or `stop` if there is none before it."""
        ...

    def number(self, start: Instant, end: Instant) -> int:
        """About how many stretches are left out in start <= t < end."""
        ...


@dataclass(frozen=True, slots=True)
class Between:
    """Every instant in start <= t < end."""

    start: Instant
    end: Instant

    def end_of(self, instant: Instant) -> Instant | None:
        return self.end if self.start <= instant < self.end else None

    def start_of(self, instant: Instant) -> Instant | None:
        return self.start if self.start <= instant < self.end else None

    def next_start(self, instant: Instant, stop: Instant) -> Instant:
        return min(self.start, stop) if self.start > instant else stop

    def number(self, start: Instant, end: Instant) -> int:
        return int(start < self.end and self.start < end)


@dataclass(frozen=True, slots=True)
class ByClock:
    """Instants at which the clock of a zone shows what is left out, and what a gap put off from there."""

    stretches: Stretches
    zone: str

    def end_of(self, instant: Instant) -> Instant | None:
        at = instant // 1000
        segment = offsets(self.zone).segment(at)
        start, end, offset, _ = segment
        found = self.stretches.around(at + offset)
        if found is None:
            width = self.stretches.width
            return (start + width) * 1000 if at - start < width and self._puts_off(segment) else None
        first, last = found
        if last - offset <= end:
            return (last - offset) * 1000
        # No clock is ever set by more than a day: what is further inside stays inside.
        inside = last - offset - 2 * DAY if at + offset - first >= DAY else 0
        return max(end, inside) * 1000

    def start_of(self, instant: Instant) -> Instant | None:
        at = instant // 1000
        segment = offsets(self.zone).segment(at)
        start, _, offset, _ = segment
        found = self.stretches.around(at + offset)
        if found is None:
            return start * 1000 if at - start < self.stretches.width and self._puts_off(segment) else None
        first, last = found
        if first - offset >= start:
            return (first - offset) * 1000
        inside = first - offset + 2 * DAY if last - at - offset >= DAY else at
        return min(start, inside) * 1000

    def next_start(self, instant: Instant, stop: Instant) -> Instant:
        at = -(-instant // 1000)
        while at * 1000 < stop:
            segment = offsets(self.zone).segment(at)
            start, end, offset, _ = segment
            if at == start and (self.stretches.around(at + offset) is not None or self._puts_off(segment)):
                return at * 1000
            found = self.stretches.next_start(at + offset) - offset
            if found < end:
                return min(found * 1000, stop)
            at = end
        return stop

    def number(self, start: Instant, end: Instant) -> int:
        return self.stretches.number(start // 1000, end // 1000)

    def _puts_off(self, segment: Segment) -> bool:
        """Whether the segment begins with a gap that swallowed what is left out."""
        start, _, offset, before = segment
        return before < offset and self.stretches.swallowed(start + before, start + offset)


class Excluding:
    """Fire times without those that are left out."""

    __slots__ = ("_begins", "_ends", "_left_out", "_nominal")

    def __init__(self, nominal: Nominal, left_out: Sequence[LeftOut]) -> None:
        self._nominal = nominal
        self._left_out = left_out
        # From where on a search found nothing, forwards and backwards: it went far, so it is not made again.
        self._ends: Instant | None = None
        self._begins: Instant | None = None

    def next_after(self, instant: Instant) -> Instant | None:
        """The first fire time strictly after `instant`, or None."""
        first = fire = self._nominal.next_after(instant)
        if first is None or (self._ends is not None and first >= self._ends):
            return None
        for number in range(MOST_IN_A_YEAR):
            if fire is None or fire >= END * 1000 or (number >= MOST_IN_A_ROW and fire - first > _YEAR):
                break
            end = self._end(fire)
            if end is None:
                return fire
            fire = self._nominal.next_after(end - 1)
        self._ends = first
        return None

    def prev_before(self, instant: Instant) -> Instant | None:
        """The last fire time strictly before `instant`, or None."""
        last = fire = self._nominal.prev_before(min(instant, END * 1000))
        if last is None or (self._begins is not None and last <= self._begins):
            return None
        for number in range(MOST_IN_A_YEAR):
            if fire is None or (number >= MOST_IN_A_ROW and last - fire > _YEAR):
                break
            starts = [start for out in self._left_out if (start := out.start_of(fire)) is not None]
            if not starts:
                return fire
            fire = self._nominal.prev_before(min(starts))
        self._begins = last
        return None

    def count(self, start: Instant, end: Instant) -> int:
        """How many fire times lie in start <= t < end: by stretches in which nothing is left out."""
        end = min(end, END * 1000)
        total, in_a_row, since = 0, 0, start
        while in_a_row < MOST_IN_A_YEAR:
            fire = self._nominal.next_after(start - 1)
            if fire is None or fire >= end or (in_a_row >= MOST_IN_A_ROW and fire - since > _YEAR):
                break
            left_out_until = self._end(fire)
            if left_out_until is not None:
                start = left_out_until
                in_a_row += 1
                continue
            # Nothing may be left out at all: a calendar may have no days.
            start, in_a_row = min((out.next_start(fire, end) for out in self._left_out), default=end), 0
            total += self._nominal.count(fire, start)
            since = start
        return total

    def _end(self, fire: Instant) -> Instant | None:
        ends = [end for out in self._left_out if (end := out.end_of(fire)) is not None]
        return max(ends) if ends else None

    def stretches(self, start: Instant, end: Instant) -> int:
        """By how many stretches counting goes, at most."""
        return min(self._nominal.count(start, end), sum(out.number(start, end) for out in self._left_out))


class Union:
    """Fire times of several schedules: those at the same instant are one."""

    __slots__ = ("_known", "_members")

    def __init__(self, members: Sequence[Nominal]) -> None:
        self._members = members
        # From when to when the next fire time of each member is known: walking asks again and again.
        self._known: list[tuple[Instant, Instant | None]] = [(0, 0)] * len(members)

    def next_after(self, instant: Instant) -> Instant | None:
        """The first fire time strictly after `instant`, or None."""
        found: Instant | None = None
        for place, (since, fire) in enumerate(self._known):
            if instant < since or (fire is not None and fire <= instant):
                fire = self._members[place].next_after(instant)
                self._known[place] = instant, fire
            if fire is not None and (found is None or fire < found):
                found = fire
        return found

    def prev_before(self, instant: Instant) -> Instant | None:
        """The last fire time strictly before `instant`, or None."""
        return max((fire for each in self._members if (fire := each.prev_before(instant)) is not None), default=None)

    def count(self, start: Instant, end: Instant) -> int:
        """How many fire times lie in start <= t < end. The densest member is counted, the others are walked through."""
        counts = [(each.count(start, end), each) for each in self._members]
        counts.sort(key=lambda counted: -counted[0])
        total = 0
        for place, (number, each) in enumerate(counts):
            total += number
            if not place or not number:
                continue
            before = [other for _, other in counts[:place]]
            fire = each.next_after(start - 1)
            while fire is not None and fire < end:
                total -= any(other.next_after(fire - 1) == fire for other in before)
                fire = each.next_after(fire)
        return total

    def walked(self, start: Instant, end: Instant) -> int:
        """Through how many fire times counting walks."""
        counts = [each.count(start, end) for each in self._members]
        return sum(counts) - max(counts)
