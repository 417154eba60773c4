"""The noop target: claims in batches and completes at once, to show what the scheduler itself can do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from taskscheduler.commands.handler import Ask, CommandHandler, Done, Unavailable
from taskscheduler.domain.messages import Claim, Complete
from taskscheduler.streams.claimable import Claimable, Claimables, Lane
from taskscheduler.streams.dispatch.dispatcher import HOLDER, LEASE, give_back_later

GROUP = "noop"
BATCH = 256
AT_ONCE = 8
"""Batches between claim and outcome at once: enough that the handler always has some of them before new fires."""


class NoopDispatcher:
    """The dispatcher of targets that need no call."""

    def __init__(
        self,
        claimables: Claimables,
        handler: CommandHandler,
        *,
        seed: Callable[[], int],
    ) -> None:
        self._claimables = claimables
        self._handler = handler
        self._seed = seed
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._batches: set[asyncio.Task[None]] = set()
        self.active = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._slots.acquire()
            taken = self._claimables.take(GROUP, None, BATCH)
            if not taken:
                self._slots.release()
                await self._claimables.wait(GROUP)
                continue
            batch = asyncio.create_task(self._run_batch(taken))
            self._batches.add(batch)
            batch.add_done_callback(self._batches.discard)

    async def _run_batch(self, taken: list[tuple[Lane, Claimable]]) -> None:
        self.active += len(taken)
        try:
            claims = [Claim(item.run_id, HOLDER, f"{self._seed():016x}", LEASE) for _, item in taken]
            answers = await self._handler.handle_many(
                [Ask(item.task_id, claim, actor=HOLDER) for (_, item), claim in zip(taken, claims, strict=True)]
            )
            completes = []
            for (_, item), claim, answer in zip(taken, claims, answers, strict=True):
                if isinstance(answer, Done):
                    number = len(answer.decided.task.runs[item.run_id].attempts)
                    complete = Complete(item.run_id, number, claim.token_hash)
                    completes.append(Ask(item.task_id, complete, actor=HOLDER))
            await self._complete(completes)
            await give_back_later(self._claimables, taken, answers)
        finally:
            self.active -= len(taken)
            self._slots.release()

    async def _complete(self, asks: list[Ask]) -> None:
        """Until every outcome is on the log or refused; an attempt whose lease ran out is refused."""
        while asks:
            answers = await self._handler.handle_many(asks)
            unanswered = [
                (ask, answer) for ask, answer in zip(asks, answers, strict=True) if isinstance(answer, Unavailable)
            ]
            asks = [ask for ask, _ in unanswered]
            if unanswered:
                await asyncio.sleep(max(answer.retry_after for _, answer in unanswered))

    async def stop(self, grace: float) -> None:
        """Let the batches end."""
        if self._batches:
            await asyncio.wait(self._batches, timeout=grace)
