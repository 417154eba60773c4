"""From due to decided: gives the triggers of due timers to the command handler, as many at once as it can take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from taskscheduler.commands.handler import Answer, Ask, CommandHandler
from taskscheduler.domain.messages import Wake
from taskscheduler.domain.values import Instant
from taskscheduler.streams.handing import Handing
from taskscheduler.streams.looking import ACTOR
from taskscheduler.streams.timers import Timers

BATCH = 128
AT_ONCE = 2
"""Batches of triggers that wait for their decisions at once: one is decided while the other is on its way to disk.

More would only let more runs begin before earlier ones end, and rows be flushed that are about to change."""

LONGEST_SLEEP = 1.0
"""Seconds. Sleeps are cut, so that a clock set forward is noticed."""


class TriggerLoop:
    """Looks when a timer is due, wakes what is, and waits for the decisions before it takes more.

    It has no task for each batch: under load it comes here a thousand times a second.
    """

    def __init__(self, timers: Timers, handler: CommandHandler, handing: Handing, clock: Callable[[], Instant]) -> None:
        self._timers = timers
        self._handler = handler
        self._handing = handing
        self._clock = clock
        self._deciding = 0
        self._failed: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._looking_soon = False
        timers.changed = self._look_soon

    async def run(self) -> None:
        """Until cancelled. Raises what went wrong while looking."""
        self._failed = asyncio.get_running_loop().create_future()
        self._look()
        try:
            await self._failed
        finally:
            self._failed = None
            if self._timer is not None:
                self._timer.cancel()

    def _look_soon(self) -> None:
        # Not at once: timers change in the middle of a fold.
        if self._failed is not None and not self._looking_soon:
            self._looking_soon = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._looking_soon = False
        if self._failed is None or self._failed.done():
            return
        try:
            self._wake()
        except Exception as error:
            self._failed.set_exception(error)

    def _wake(self) -> None:
        while self._deciding < AT_ONCE:
            triggers = self._timers.due(self._clock(), BATCH)
            if not triggers:
                break
            self._deciding += 1
            wakes = [Ask(t.task_id, Wake(), actor=ACTOR, cause="timer", due_at=t.due_at) for t in triggers]
            self._handing.submit(wakes, self._claimed)
        if self._timer is not None:
            self._timer.cancel()
        if self._deciding < AT_ONCE:
            self._timer = asyncio.get_running_loop().call_later(self._sleep(), self._look)

    def _sleep(self) -> float:
        due = self._timers.next_due()
        wait = LONGEST_SLEEP if due is None else (due - self._clock()) / 1000
        return min(max(0.0, wait), LONGEST_SLEEP)

    def _claimed(self, left: list[Ask]) -> None:
        if left:
            self._handler.submit(left, self._decided)
        else:
            self._decided(())

    def _decided(self, _: Sequence[Answer]) -> None:
        # A refusal or an outage needs no answer here: the timer gives its trigger again.
        self._deciding -= 1
        self._look_soon()
