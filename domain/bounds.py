"""What may bound any schedule: from when to when, how often, and how far each fire time is put off."""

from __future__ import annotations

from typing import Protocol

import msgspec

from taskscheduler.domain.excluded import Exclusion
from taskscheduler.domain.ids import mix
from taskscheduler.domain.values import Instant, Millis


class Bounds(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """Nominal times lie in start_at <= t <= end_at; after `max_runs` runs for them the schedule has ended.

    `jitter` puts each fire time off by up to so much, the same whenever it is asked for: `salt` is the task's own.
    Nominal times that `excluded` names are left out.
    """

    start_at: Instant | None = None
    end_at: Instant | None = None
    max_runs: int | None = None
    jitter: Millis = 0
    salt: int = 0
    excluded: tuple[Exclusion, ...] = ()


class Nominal(Protocol):
    """The fire times of a schedule before anything bounds them; ranges are as those of `Bounded`."""

    def next_after(self, instant: Instant) -> Instant | None: ...
    def prev_before(self, instant: Instant) -> Instant | None: ...
    def count(self, start: Instant, end: Instant) -> int: ...


class Bounded:
    """The fire times that are left, each put off by its jitter: never past the next nominal time, so in their order."""

    __slots__ = ("_bounds", "_nominal")

    def __init__(self, nominal: Nominal, bounds: Bounds) -> None:
        self._nominal = nominal
        self._bounds = bounds

    def next_after(self, instant: Instant) -> Instant | None:
        """The first fire time strictly after `instant`, or None."""
        if (
            self._bounds.jitter
            and (last := self._prev(instant + 1)) is not None
            and (fire := self._off(last)) > instant
        ):
            return fire
        return self.first_after(instant)

    def first_after(self, instant: Instant) -> Instant | None:
        """The fire time of the first nominal time strictly after `instant`, or None."""
        following = self._next(instant)
        return None if following is None else self._off(following)

    def prev_before(self, instant: Instant) -> Instant | None:
        """The last fire time strictly before `instant`, or None."""
        last = self._prev(instant)
        if last is not None and self._off(last) >= instant:
            last = self._prev(last)
        return None if last is None else self._off(last)

    def count(self, start: Instant, end: Instant) -> int:
        """How many fire times lie in start <= t < end, where start < end."""
        bounds = self._bounds
        low = start if bounds.start_at is None else max(start, bounds.start_at)
        high = end if bounds.end_at is None else min(end, bounds.end_at + 1)
        total = self._nominal.count(low, high) if low < high else 0
        # One that is named before an edge may be put off beyond it.
        return total - self._put_beyond(end) + self._put_beyond(start)

    def nominal_of(self, fire: Instant) -> Instant:
        """The nominal time of one of the fire times."""
        last = self._prev(fire + 1) if self._bounds.jitter else None
        return fire if last is None else last

    def _put_beyond(self, edge: Instant) -> int:
        last = self._prev(edge) if self._bounds.jitter else None
        return int(last is not None and self._off(last) >= edge)

    def _off(self, nominal: Instant) -> Instant:
        most = self._bounds.jitter
        if not most:
            return nominal
        following = self._nominal.next_after(nominal)
        if following is not None:
            most = min(most, following - nominal - 1)
        return nominal + mix(self._bounds.salt, nominal) % (most + 1)

    def _next(self, instant: Instant) -> Instant | None:
        start, end = self._bounds.start_at, self._bounds.end_at
        following = self._nominal.next_after(instant if start is None else max(instant, start - 1))
        return None if following is None or (end is not None and following > end) else following

    def _prev(self, instant: Instant) -> Instant | None:
        start, end = self._bounds.start_at, self._bounds.end_at
        last = self._nominal.prev_before(instant if end is None else min(instant, end + 1))
        return None if last is None or (start is not None and last < start) else last
