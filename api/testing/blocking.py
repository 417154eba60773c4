"""The same for tests that are not async: the scheduler runs in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from taskscheduler.client import Client, Worker
from taskscheduler.client.duration import Duration
from taskscheduler.testing.scheduler import START, Answer, Message, Request, TestScheduler

T = TypeVar("T")


class BlockingTestScheduler:
    """As TestScheduler, in a thread of its own: `with` starts it, and `advance` returns when all has happened.

    Async handlers run in that thread's event loop, others in a thread.
    """

    def __init__(self, start: datetime | str = START, *, http: Answer | None = None, seed: int = 1) -> None:
        self._scheduler = TestScheduler(start, http=http, seed=seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="taskscheduler-test", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._do(self._scheduler.__aenter__())
        except BaseException:
            self._end()
            raise
        self.url = self._scheduler.url
        self.client = Client(self.url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.client.close()
            self._do(self._scheduler.__aexit__(None, None, None))
        finally:
            self._end()

    @property
    def now(self) -> datetime:
        """What time it is."""
        return self._scheduler.now

    @property
    def requests(self) -> list[Request]:
        """What http targets were sent."""
        return self._scheduler.requests

    @property
    def messages(self) -> list[Message]:
        """What kafka targets were sent."""
        return self._scheduler.messages

    def add(self, *workers: Worker) -> None:
        """Let these workers take part: their handlers run here, whatever server they were made for."""
        self._scheduler.add(*workers)

    def advance(self, by: Duration) -> int:
        """Move time on and let all happen that is due by then; how many handlers have ended."""
        self._scheduler.advance(by)
        return self.run_until_idle()

    def advance_to(self, when: datetime | str) -> int:
        """Move time on to an instant. Raises ValueError for one that is over."""
        self._scheduler.advance_to(when)
        return self.run_until_idle()

    def outage(self, of: Duration) -> int:
        """Let time pass in which the scheduler does not run; then what was due is late."""
        self._scheduler.outage(of)
        return self.run_until_idle()

    def run_until_idle(self) -> int:
        """Let everything happen that is due up to now; how many handlers have ended."""
        return self._do(self._scheduler.run_until_idle())

    async def sleep(self, duration: Duration) -> None:
        """For async handlers: take so long, by the time that the test moves."""
        await self._scheduler.sleep(duration)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        if not self._thread.is_alive():
            work.close()
            raise RuntimeError("the scheduler is not running: use it in a `with`")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
