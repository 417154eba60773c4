"""A thread that waits for the disk, so that the event loop does not."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue

Done = Callable[[Exception | None], None]


class SyncThread:
    """Runs `work` once for each `ask`, in order, and calls back on the loop that asked.

    An executor does the same with three objects and two locks more on the way; a busy scheduler comes here for every
    few decisions.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._asked: SimpleQueue[tuple[asyncio.AbstractEventLoop, Done] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def ask(self, done: Done) -> None:
        """Run `work`; `done` is called with what it raised, or None."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log-sync", daemon=True)
            self._thread.start()
        self._asked.put((asyncio.get_running_loop(), done))

    def close(self) -> None:
        """Returns when what was asked is done and the thread has ended."""
        if self._thread is not None:
            self._asked.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (asked := self._asked.get()) is not None:
            loop, done = asked
            failure: Exception | None = None
            try:
                self._work()
            except Exception as error:
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(done, failure)
