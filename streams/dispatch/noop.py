"""The noop target: claims in batches and completes at once, to show what the scheduler itself can do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from taskscheduler.commands.handler import Answer, Ask, CommandHandler, Done, Unavailable
from taskscheduler.domain.definition import Lane
from taskscheduler.domain.messages import Complete
from taskscheduler.streams.claimable import Claimable, WaitingRuns
from taskscheduler.streams.dispatch.dispatcher import HOLDER, claim_of, give_back_later
from taskscheduler.streams.handing import Handed, Hands
from taskscheduler.streams.limiter import Limiter
from taskscheduler.streams.looking import set_within, until

GROUP = "noop"
BATCH = 128
AT_ONCE = 4
"""Batches between claim and outcome at once: enough that the handler always has some of them before new fires."""

HANDED_AT_ONCE = 8
"""The same with those that are handed over: triggers come in few batches, and should not have to wait in lanes."""

Taken = list[tuple[Lane, Claimable]]


class NoopDispatcher:
    """The dispatcher of targets that need no call. It has no task for each batch: batches are short and many."""

    def __init__(
        self, claimables: WaitingRuns, handler: CommandHandler, limiter: Limiter, *, seed: Callable[[], int]
    ) -> None:
        self._claimables = claimables
        self._handler = handler
        self._limiter = limiter
        self._seed = seed
        self._open = False
        self._batches = 0
        self._room = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._later: set[asyncio.Task[None]] = set()
        self.active = 0

    async def run(self) -> None:
        """Until cancelled."""
        self._open = True
        try:
            while True:
                await until(lambda: self._batches < AT_ONCE, self._room)
                taken = self._claimables.take(GROUP, None, BATCH)
                if taken:
                    self._claim(taken)
                else:
                    await self._claimables.wait(GROUP)
        finally:
            self._open = False

    def hands(self, lane: Lane) -> Hands | None:
        """Takes runs over as they are made, while it works and has room."""
        if lane.group != GROUP or not self._open or self._batches >= HANDED_AT_ONCE:
            return None
        self._begin(0)
        return Hands(BATCH, self._hand, self._handed)

    async def stop(self, grace: float) -> None:
        """Let the batches end, within `grace` seconds."""
        await set_within(self._idle, grace)
        for task in self._later:
            task.cancel()

    def _claim(self, taken: Taken) -> None:
        self._begin(len(taken))
        asks = [claim_of(lane, item, self._seed()) for lane, item in taken]
        if self._limiter.concerns(taken):
            self._do_later(self._claim_under_limits(taken, asks))
        else:
            self._handler.submit(asks, partial(self._claimed, taken))

    def _hand(self, lane: Lane, item: Claimable) -> Ask:
        self.active += 1
        return claim_of(lane, item, self._seed())

    def _handed(self, given: Sequence[Handed]) -> None:
        self._claimed([(one.lane, one.item) for one in given], [one.answer for one in given])

    def _begin(self, size: int) -> None:
        self._batches += 1
        self.active += size
        self._idle.clear()

    async def _claim_under_limits(self, taken: Taken, asks: list[Ask]) -> None:
        self._claimed(taken, await self._limiter.claim(self._claimables, taken, asks))

    def _claimed(self, taken: Taken, answers: Sequence[Answer]) -> None:
        completes = []
        for (_, item), answer in zip(taken, answers, strict=True):
            if isinstance(answer, Done):
                attempt = answer.decided.task.runs[item.run_id].attempts[-1]
                complete = Complete(item.run_id, attempt.number, attempt.token_hash)
                completes.append(Ask(item.task_id, complete, actor=HOLDER))
        if any(isinstance(answer, Unavailable) for answer in answers):
            self._do_later(give_back_later(self._claimables, taken, answers))
        self._complete(len(taken), completes)

    def _complete(self, size: int, asks: list[Ask]) -> None:
        if asks:
            self._handler.submit(asks, partial(self._completed, size, asks))
            return
        self.active -= size
        self._batches -= 1
        self._room.set()
        if not self._batches:
            self._idle.set()

    def _completed(self, size: int, asks: list[Ask], answers: Sequence[Answer]) -> None:
        """Until every outcome is on the log or refused; an attempt whose lease ran out is refused."""
        left = [(ask, a.retry_after) for ask, a in zip(asks, answers, strict=True) if isinstance(a, Unavailable)]
        again = partial(self._complete, size, [ask for ask, _ in left])
        if left:
            asyncio.get_running_loop().call_later(max(wait for _, wait in left), again)
        else:
            again()

    def _do_later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)
