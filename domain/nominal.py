"""The fire times of each form of schedule, before anything bounds them."""

from __future__ import annotations

from dataclasses import dataclass

from taskscheduler.domain.on_clock import OnClock
from taskscheduler.domain.values import Instant, Millis


class Never:
    """None at all."""

    __slots__ = ()

    def next_after(self, instant: Instant) -> Instant | None:
        return None

    def prev_before(self, instant: Instant) -> Instant | None:
        return None

    def count(self, start: Instant, end: Instant) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class Once:
    """One instant."""

    at: Instant

    def next_after(self, instant: Instant) -> Instant | None:
        return self.at if self.at > instant else None

    def prev_before(self, instant: Instant) -> Instant | None:
        return self.at if self.at < instant else None

    def count(self, start: Instant, end: Instant) -> int:
        return int(start <= self.at < end)


@dataclass(frozen=True, slots=True)
class Steps:
    """anchor + k * every, k >= 1."""

    every: Millis
    anchor: Instant

    def next_after(self, instant: Instant) -> Instant | None:
        return self.anchor + max(1, (instant - self.anchor) // self.every + 1) * self.every

    def prev_before(self, instant: Instant) -> Instant | None:
        k = (instant - self.anchor - 1) // self.every
        return self.anchor + k * self.every if k >= 1 else None

    def count(self, start: Instant, end: Instant) -> int:
        return max(0, (end - self.anchor - 1) // self.every) - max(0, (start - self.anchor - 1) // self.every)


@dataclass(frozen=True, slots=True)
class Local:
    """Local times in a zone."""

    clocked: OnClock
    timezone: str

    def next_after(self, instant: Instant) -> Instant | None:
        return self.clocked.next_after(instant, self.timezone)

    def prev_before(self, instant: Instant) -> Instant | None:
        return self.clocked.prev_before(instant, self.timezone)

    def count(self, start: Instant, end: Instant) -> int:
        return self.clocked.count(start, end, self.timezone)
