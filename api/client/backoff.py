"""When to try again: growing waits with jitter, and one bounded time for all tries of a call."""

import math
import random
import time
from collections.abc import Callable, Mapping

import msgspec

RETRYABLE = frozenset({429, 502, 503, 504})


class Reply(msgspec.Struct, frozen=True):
    """An HTTP reply; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def retry_after(self) -> float | None:
        """Give the seconds that the server asks to wait, or None; a date there is not understood."""
        try:
            seconds = float(self.headers.get("retry-after", ""))
        except ValueError:
            return None
        return max(seconds, 0.0) if math.isfinite(seconds) else None


class Backoff:
    """Waits in seconds that double from `initial` up to `most`, each shortened by up to half at random."""

    def __init__(self, initial: float = 0.1, most: float = 10.0, chance: Callable[[], float] = random.random) -> None:
        self._initial = initial
        self._most = most
        self._chance = chance
        self._next = initial

    def next(self, at_least: float | None = None) -> float:
        """Give the next wait, never under `at_least`."""
        wait = self._next * (1 - self._chance() / 2)
        self._next = min(self._next * 2, self._most)
        return max(wait, at_least or 0.0)

    def reset(self) -> None:
        """Start again from the first wait, after a success."""
        self._next = self._initial


class Tries:
    """All tries of one call, within `total` seconds; one that hangs leaves time for another."""

    def __init__(self, total: float, backoff: Backoff, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._backoff = backoff
        self._clock = clock
        self._end = clock() + total

    def time_limit(self) -> float:
        """Give the seconds that the next try may take."""
        return max(min(self._end - self._clock(), self._total / 2), 0.001)

    def wait_before_next(self, at_least: float | None = None) -> float | None:
        """Give the seconds to wait before the next try, or None when there is no time for one."""
        wait = self._backoff.next(at_least)
        return wait if self._clock() + wait < self._end else None
