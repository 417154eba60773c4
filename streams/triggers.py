"""From due to decided: gives the triggers of due timers to the command handler, as many at once as it can take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from taskscheduler.commands.handler import Ask, CommandHandler
from taskscheduler.domain.messages import Wake
from taskscheduler.domain.values import Instant
from taskscheduler.streams.timers import Timers, Trigger

ACTOR = "scheduler"
BATCH = 256
AT_ONCE = 2
"""Batches of triggers that wait for their decisions at once: one is decided while the other is on its way to disk.

More would only let more runs begin before earlier ones end, and rows be flushed that are about to change."""

LONGEST_SLEEP = 1.0
"""Seconds. Sleeps are cut, so that a clock set forward is noticed."""


class TriggerLoop:
    """Sleeps until the next timer, wakes what is due, and waits for the decisions before it takes more."""

    def __init__(self, timers: Timers, handler: CommandHandler, clock: Callable[[], Instant]) -> None:
        self._timers = timers
        self._handler = handler
        self._clock = clock
        self._sooner = asyncio.Event()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._deciding: set[asyncio.Task[None]] = set()
        timers.changed = self._sooner.set

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._sooner.clear()
            await self._slots.acquire()
            triggers = self._timers.due(self._clock(), BATCH)
            if triggers:
                deciding = asyncio.create_task(self._wake(triggers))
                self._deciding.add(deciding)
                deciding.add_done_callback(self._deciding.discard)
                continue
            self._slots.release()
            await self._sleep(self._timers.next_due())

    async def _wake(self, triggers: list[Trigger]) -> None:
        try:
            # A refusal or an outage needs no answer here: the timer gives its trigger again.
            await self._handler.handle_many(
                [Ask(t.task_id, Wake(), actor=ACTOR, cause="timer", due_at=t.due_at) for t in triggers]
            )
        finally:
            self._slots.release()

    async def _sleep(self, until: Instant | None) -> None:
        wait = LONGEST_SLEEP if until is None else max(0.0, (until - self._clock()) / 1000)
        try:
            async with asyncio.timeout(min(wait, LONGEST_SLEEP)):
                await self._sooner.wait()
        except TimeoutError:
            pass
