"""Circuits of the hosts that http targets call: one that fails again and again is left alone for a while.

Its runs wait meanwhile and no attempt is spent on them. Then a single one tries it (in a cluster, one of each partition
of the log): when that succeeds the others follow, else the pause doubles. Each process learns by its own calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

import structlog

from taskscheduler.domain.definition import lane_of
from taskscheduler.domain.values import MINUTE, Instant, Millis
from taskscheduler.streams.dispatch.dispatcher import Attempted, Caller, Outcome
from taskscheduler.streams.gates import Room

MOST_HOSTS = 10_000
"""Hosts that are remembered; beyond it those that failed longest ago are forgotten."""

TRIAL: Millis = MINUTE
"""For so long one call on trial keeps others back, should nothing be heard of it."""

PREFIX = "host:"
_NO_ANSWER = frozenset(("connection_failed", "timed_out", "unresolved"))
_TOO_MANY = "http_429"

logger = structlog.get_logger("taskscheduler")


class CircuitSettings(Protocol):
    """Times are milliseconds."""

    @property
    def circuit_failures(self) -> int: ...
    @property
    def circuit_window(self) -> Millis: ...
    @property
    def circuit_pause(self) -> Millis: ...
    @property
    def circuit_longest_pause(self) -> Millis: ...


class Open(NamedTuple):
    """A host that is left alone until an instant, for the `pauses`-th time in a row, and on trial from then on."""

    since: Instant
    until: Instant
    pauses: int
    error: str
    trial_until: Instant | None = None


class Circuits:
    """A gate over `host:<host>`. It is told what came of each call; `observe` of each that opens, with the error."""

    def __init__(
        self, settings: CircuitSettings, clock: Callable[[], Instant], observe: Callable[[str], None] | None = None
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._observe = observe
        self._failures: dict[str, deque[Instant]] = {}
        self._open: dict[str, Open] = {}
        self._told: list[Callable[[str], None]] = []

    @property
    def open(self) -> dict[str, Open]:
        """Hosts that are left alone or on trial."""
        return self._open

    def begin(self, host: str) -> None:
        """A call begins: on trial it is the only one for now."""
        known = self._open.get(host)
        if known is not None and (now := self._clock()) >= known.until:
            self._open[host] = known._replace(trial_until=now + TRIAL)

    def record(self, host: str, outcome: Outcome) -> None:
        """What came of a call. What counts is no answer, 5xx, and 429, whose Retry-After holds for the host."""
        if not self._settings.circuit_failures:
            return
        now, error = self._clock(), outcome.error
        if error is None or not _tells_of_the_host(error.type):
            # Any other answer shows that the host is well; what was not even sent shows nothing.
            if error is None or error.type.startswith("http_"):
                self._close(host)
            return
        asked = outcome.retry_after if error.type == _TOO_MANY else None
        known = self._open.get(host)
        if known is not None:
            if now >= known.until:
                self._pause(host, now, error.type, asked, known)
        elif self._too_many(host, now) or asked:
            self._pause(host, now, error.type, asked, None)

    def room(self, name: str, now: Instant) -> Room | None:
        """None but for a host whose circuit is open: no run until the pause is over, then one."""
        known = self._open.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
        if known is None:
            return None
        reason = f"calls to the host fail ({known.error}): it is left alone for a while"
        if now < known.until:
            return Room(0, known.until, reason)
        if known.trial_until is not None and now < known.trial_until:
            return Room(0, known.trial_until, f"{reason}, and one run tries it now")
        return Room(1, now + TRIAL, reason)

    def watch(self, told: Callable[[str], None]) -> None:
        """`told` hears of every host whose circuit opens or closes."""
        self._told.append(told)

    def _too_many(self, host: str, now: Instant) -> bool:
        most = self._settings.circuit_failures
        failures = self._failures.pop(host, None) or deque(maxlen=most)
        failures.append(now)
        self._failures[host] = failures
        if len(self._failures) > MOST_HOSTS:
            del self._failures[next(iter(self._failures))]
        return len(failures) == most and now - failures[0] <= self._settings.circuit_window

    def _pause(self, host: str, now: Instant, error: str, asked: Millis | None, known: Open | None) -> None:
        longest = self._settings.circuit_longest_pause
        pauses = 1 if known is None else known.pauses + 1
        grown = self._settings.circuit_pause * 2 ** min(pauses - 1, 30)
        pause = min(longest, (asked or grown) if known is None else max(asked or 0, grown))
        since = now if known is None else known.since
        self._open[host] = Open(since, now + pause, pauses, error)
        self._failures.pop(host, None)
        if len(self._open) > MOST_HOSTS:
            del self._open[next(iter(self._open))]
        if known is None and self._observe is not None:
            self._observe(error)
        logger.warning("a circuit is open", host=host, error=error, pauses=pauses, pause_ms=pause)
        self._tell(host)

    def _close(self, host: str) -> None:
        self._failures.pop(host, None)
        if self._open.pop(host, None) is not None:
            logger.info("a circuit is closed", host=host)
            self._tell(host)

    def _tell(self, host: str) -> None:
        for told in self._told:
            told(PREFIX + host)


class Guarded:
    """Implements Caller for http: calls whose outcomes the circuits learn from."""

    def __init__(self, inner: Caller, circuits: Circuits) -> None:
        self.group = inner.group
        self.at_once = inner.at_once
        self._inner = inner
        self._circuits = circuits

    async def call(self, attempt: Attempted) -> Outcome:
        """Carry out the attempt."""
        host = lane_of(attempt.definition).kind
        self._circuits.begin(host)
        outcome = await self._inner.call(attempt)
        self._circuits.record(host, outcome)
        return outcome

    async def close(self) -> None:
        """End its connections."""
        await self._inner.close()


def _tells_of_the_host(error: str) -> bool:
    return error in _NO_ANSWER or error == _TOO_MANY or error.startswith("http_5")
