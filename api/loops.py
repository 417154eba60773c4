"""The loops of a process: each begins again when it fails, and says so until it runs again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

import structlog

from taskscheduler.api.health import Component, down, up

PAUSE_SECONDS = 1.0

logger = structlog.get_logger("taskscheduler")


class Loops:
    """Work that goes on until `stop`. What it does must be derived from state, so that nothing is lost by a failure."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, str] = {}

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run it, again and again should it fail."""
        self._running[name] = asyncio.create_task(self._keep_running(name, run), name=name)

    async def stop(self, but: Collection[str] = ()) -> None:
        """Cancel all loops but some, and wait for their end. Idempotent."""
        ending = [self._running.pop(name) for name in list(self._running) if name not in but]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    @property
    def running(self) -> bool:
        """Whether there is anything to stop."""
        return bool(self._running)

    def health(self, *names: str) -> Component:
        """Down while one of these has failed and not begun again."""
        failures = {name: self._failures[name] for name in names if name in self._failures}
        return down(**failures) if failures else up()

    async def _keep_running(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await run()
            except Exception as error:
                self._failures[name] = f"{type(error).__name__}: {error}"
                logger.exception("a loop failed and starts again", loop=name)
                await asyncio.sleep(PAUSE_SECONDS)
                self._failures.pop(name, None)
