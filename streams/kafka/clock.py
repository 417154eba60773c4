"""How far the clock of this instance is from the brokers', by what they stamp on what it appends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from taskscheduler.domain.values import Instant, Millis
from taskscheduler.streams.looking import until

TOLERATED: Millis = 500
"""An instance that is further off is not ready: what it decides would be judged by another time than it was made."""

CLOCK_IS_OFF = f"this machine's clock is more than {TOLERATED} ms off the brokers'"


class ClockCheck:
    """The newest reading for each partition, since each is stamped by the broker that leads it."""

    def __init__(self) -> None:
        self._readings: dict[int, Millis] = {}
        self._turned = asyncio.Event()

    def observe(self, partition: int, before: Instant, after: Instant, stamped: Instant) -> None:
        """A record was stamped between two readings of the own clock."""
        if before > after:
            return  # the own clock was set meanwhile
        was = self.ready
        self._readings[partition] = min(0, stamped - before) or max(0, stamped - after)
        if self.ready is not was:
            self._turned.set()

    @property
    def offset(self) -> Millis | None:
        """What the brokers' clocks are ahead of the own at least, the largest of all; None before a reading."""
        return max(self._readings.values(), key=abs, default=None)

    @property
    def ready(self) -> bool:
        """Whether there is a reading and none is further off than tolerated."""
        offset = self.offset
        return offset is not None and abs(offset) <= TOLERATED

    async def while_ready(self, run: Callable[[], Awaitable[None]]) -> None:
        """Run it as long as the clock is right, and again once it is right again. Ends when it does, or raises."""
        while True:
            await self._until(True)
            running, wrong = asyncio.ensure_future(run()), asyncio.ensure_future(self._until(False))
            try:
                await asyncio.wait((running, wrong), return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    running.result()
                    return
            finally:
                running.cancel()
                wrong.cancel()
                await asyncio.gather(running, wrong, return_exceptions=True)

    async def _until(self, ready: bool) -> None:
        await until(lambda: self.ready is ready, self._turned)
