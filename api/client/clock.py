"""Time as the worker sees it, so that tests can stand in for it."""

import asyncio
import time


class Clock:
    """Seconds that only ever grow."""

    def now(self) -> float:
        """Give the seconds since some fixed moment."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Wait until the event is set, but no longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass
