"""Time that passes only when a test says so."""

import asyncio
import contextlib

from taskscheduler.client.clock import Clock


class FakeClock(Clock):
    def __init__(self) -> None:
        self._now = 1000.0
        self._waits: list[tuple[float, float, asyncio.Future[None]]] = []
        self._registered = asyncio.Event()

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waits.append((self._now + seconds, seconds, future))
        self._registered.set()
        await future

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        tasks = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(self.sleep(seconds))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake whoever waited for it."""
        self._now += seconds
        for due, _, future in self._waits:
            if due <= self._now + 1e-9 and not future.done():
                future.set_result(None)
        self._waits = [wait for wait in self._waits if not wait[2].done()]

    async def pass_wait(self, seconds: float) -> None:
        """Wait until somebody waits for so many seconds, and let them pass."""
        while True:
            self._registered.clear()
            for due, waited, future in self._waits:
                if abs(waited - seconds) < 1e-6 and not future.done():
                    self.advance(due - self._now)
                    return
            await self._registered.wait()
