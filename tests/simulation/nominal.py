"""Which fire times a schedule has, without the scheduler's own arithmetic: by formula, or by watching a clock.

Only the number that jitter draws for a time is the scheduler's: nobody could know it otherwise.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import UTC, datetime
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from taskscheduler.domain.bounds import Bounds
from taskscheduler.domain.ids import mix
from taskscheduler.domain.schedule import Cron, Every, OneTime, Schedule

BLOCK = 1_800
"""Seconds. In the zones used here clocks change, and local hours begin, at multiples of this."""


class Pattern(NamedTuple):
    """What a cron expression says. `weekday` counts from Monday, 0; `fixed` names a time of day."""

    minutes: range | tuple[int, ...] = range(60)
    hours: range | tuple[int, ...] = range(24)
    weekdays: range | tuple[int, ...] = range(7)
    days: range | tuple[int, ...] = range(1, 32)
    fixed: bool = True


PATTERNS = {
    "0 * * * *": Pattern((0,), fixed=False),
    "45 */6 * * *": Pattern((45,), range(0, 24, 6), fixed=False),
    "30 1-3 * * *": Pattern((30,), range(1, 4)),
    "45 1 * * *": Pattern((45,), (1,)),
    "30 2 * * *": Pattern((30,), (2,)),
    "0 9 * * MON-FRI": Pattern((0,), (9,), range(5)),
    "15 2 * * SUN": Pattern((15,), (2,), (6,)),
    "30 */12 * * SAT,SUN": Pattern((30,), (0, 12), (5, 6), fixed=False),
    "0 6 1,15 * *": Pattern((0,), (6,), days=(1, 15)),
}
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata")


class Spaced:
    """Fire times at equal distances; the first has index 0."""

    def __init__(self, every: int, anchor: int) -> None:
        self.every, self.anchor = every, anchor

    def at(self, index: int) -> int | None:
        return self.anchor + (index + 1) * self.every

    def after(self, instant: int) -> int:
        """The index of the first fire time after `instant`."""
        return max(0, (instant - self.anchor) // self.every)

    def index(self, time: int) -> int | None:
        """Which fire time `time` is."""
        number, rest = divmod(time - self.anchor, self.every)
        return number - 1 if not rest and number > 0 else None


class Listed:
    """Fire times written down."""

    def __init__(self, times: list[int]) -> None:
        self.times = times

    def at(self, index: int) -> int | None:
        return self.times[index] if index < len(self.times) else None

    def after(self, instant: int) -> int:
        """The index of the first fire time after `instant`."""
        return bisect_right(self.times, instant)

    def index(self, time: int) -> int | None:
        """Which fire time `time` is."""
        found = bisect_left(self.times, time)
        return found if self.at(found) == time else None


class Nominal:
    """The nominal times that bounds leave of those named, numbered from 0 on, and when each is due."""

    def __init__(self, named: Spaced | Listed, bounds: Bounds) -> None:
        self._named = named
        self._jitter, self._salt, self._end = bounds.jitter, bounds.salt, bounds.end_at
        self._before = 0 if bounds.start_at is None else named.after(bounds.start_at - 1)

    def at(self, index: int) -> int | None:
        time = self._named.at(index + self._before)
        return time if time is None or self._end is None or time <= self._end else None

    def due(self, index: int) -> int | None:
        """When it fires: put off by jitter, but not to the next one."""
        time = self.at(index)
        if time is None or not self._jitter:
            return time
        following = self._named.at(index + self._before + 1)
        most = self._jitter if following is None else min(self._jitter, following - time - 1)
        return time + mix(self._salt, time) % (most + 1)

    def after(self, instant: int) -> int:
        """The index of the first nominal time after `instant`."""
        return max(0, self._named.after(instant) - self._before)

    def index(self, time: int) -> int | None:
        """Which nominal time `time` is."""
        found = self._named.index(time)
        if found is None or found < self._before or self.at(found - self._before) is None:
            return None
        return found - self._before

    def between(self, start: int, until: int) -> list[int]:
        """Those in start <= t < until."""
        found: list[int] = []
        index = self.after(start - 1)
        while (time := self.at(index)) is not None and time < until:
            found.append(time)
            index += 1
        return found


def nominal(schedule: Schedule, start: int, end: int) -> Nominal:
    """The fire times of a resolved schedule; those of a cron schedule between two instants (milliseconds)."""
    return Nominal(_named(schedule, start, end), schedule)


def _named(schedule: Schedule, start: int, end: int) -> Spaced | Listed:
    match schedule:
        case OneTime(at=at):
            return Listed([at])
        case Every(every=every, anchor=anchor):
            return Spaced(every, anchor)
        case Cron(cron=expression, timezone=timezone):
            return _cron(expression, timezone, start // 1000, end // 1000)


@cache
def _cron(expression: str, timezone: str, start: int, end: int) -> Listed:
    pattern = PATTERNS[expression]
    found: list[int] = []
    before, repeated_until = None, 0
    for block in _blocks(timezone, start // BLOCK * BLOCK, end):
        if pattern.fixed and before is not None and block.offset != before:
            if block.offset > before and any(
                _matches(pattern, _block(shown, 0))
                for shown in range(block.at + before, block.at + block.offset, BLOCK)
            ):
                # The clock jumps over a time of day that is named: it fires when the gap is over.
                found.append(block.at)
            repeated_until = block.at + before
        for at in _matches(pattern, block):
            if at + block.offset >= repeated_until and at not in found[-1:]:
                found.append(at)
        before = block.offset
    return Listed([at * 1000 for at in found])


class _Block(NamedTuple):
    """Half an hour from `at` (seconds): how far local time is ahead, and what a clock shows when it begins."""

    at: int
    offset: int
    minute: int
    hour: int
    weekday: int
    day: int


def _block(at: int, offset: int) -> _Block:
    shown = datetime.fromtimestamp(at + offset, UTC)
    return _Block(at, offset, shown.minute, shown.hour, shown.weekday(), shown.day)


@cache
def _blocks(timezone: str, begin: int, end: int) -> list[_Block]:
    zone, blocks = ZoneInfo(timezone), []
    for at in range(begin, end, BLOCK):
        offset = datetime.fromtimestamp(at, zone).utcoffset()
        assert offset is not None
        blocks.append(_block(at, int(offset.total_seconds())))
    return blocks


def _matches(pattern: Pattern, block: _Block) -> list[int]:
    """The instants (seconds) in the block at which the clock shows what the pattern names."""
    if block.hour not in pattern.hours or block.weekday not in pattern.weekdays or block.day not in pattern.days:
        return []
    minutes = range(block.minute, block.minute + BLOCK // 60)
    return [block.at + 60 * (minute - block.minute) for minute in pattern.minutes if minute in minutes]
