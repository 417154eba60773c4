"""How far the clock of this instance is from the brokers', by what they stamp on what it appends."""

from __future__ import annotations

from taskscheduler.domain.values import Instant, Millis

TOLERATED: Millis = 500
"""An instance that is further off is not ready: what it decides would be judged by another time than it was made."""


class ClockCheck:
    """The newest reading for each partition, since each is stamped by the broker that leads it."""

    def __init__(self) -> None:
        self._readings: dict[int, Millis] = {}

    def observe(self, partition: int, before: Instant, after: Instant, stamped: Instant) -> None:
        """A record was stamped between two readings of the own clock."""
        if before > after:
            return  # the own clock was set meanwhile
        self._readings[partition] = min(0, stamped - before) or max(0, stamped - after)

    @property
    def offset(self) -> Millis | None:
        """What the brokers' clocks are ahead of the own at least, the largest of all; None before a reading."""
        return max(self._readings.values(), key=abs, default=None)

    @property
    def ready(self) -> bool:
        """Whether there is a reading and none is further off than tolerated."""
        offset = self.offset
        return offset is not None and abs(offset) <= TOLERATED
