"""Carries out steps: tells their receivers, then their senders that they were taken.

Whoever does it may die at any point, or not be alone: a receiver knows what it has heard, and a sender what was taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from taskscheduler.commands.handler import Answer, Ask, CommandHandler, Done, Unavailable
from taskscheduler.domain.entities import Entity
from taskscheduler.domain.messages import Hear, Taken
from taskscheduler.domain.state import Task
from taskscheduler.domain.steps import Told
from taskscheduler.domain.unique import Unique
from taskscheduler.streams.looking import ACTOR, PAUSE, set_within
from taskscheduler.streams.outbox import Outbox

TOGETHER = 64
"""Senders whose steps are carried out at once."""

MOST_STEPS = 50
"""Steps that one stream tells another at once."""

MOST_BYTES = 256 * 1024
"""Of results that one stream is told at once: they stand in its decision, and a record takes a megabyte."""


class _Batch(NamedTuple):
    sender: str
    receiver: str
    steps: tuple[Told, ...]
    more: bool


class Stepping:
    """Carries out the steps that the streams of some partitions make. `run` is its loop.

    `outboxes` are those of all partitions that are folded here, `mine` gives those whose steps this process carries
    out by itself. `deliver` carries out those of any stream at once.
    """

    def __init__(
        self,
        outboxes: Mapping[int, Outbox],
        handler: CommandHandler,
        partition_of: Callable[[str], int],
        mine: Callable[[], Collection[int]] = lambda: (),
    ) -> None:
        self._outboxes = outboxes
        self._handler = handler
        self._partition_of = partition_of
        self.mine = mine
        self._mine: frozenset[int] = frozenset()
        self._marked: dict[str, None] = {}
        self._changed = asyncio.Event()
        for one in outboxes.values():
            one.made = self._mark

    @property
    def waiting(self) -> int:
        """Steps that wait in the partitions of this process, counted up to a limit."""
        return sum(self._outboxes[partition].count(10_000) for partition in self.mine() if partition in self._outboxes)

    async def run(self) -> None:
        """Until cancelled. One that failed begins with everything that waits."""
        self._mine = frozenset()
        while True:
            mine = frozenset(self.mine())
            for partition in mine - self._mine:
                self._marked |= dict.fromkeys(self._outboxes[partition].senders())
            self._mine = mine
            await self._work()
            await set_within(self._changed)
            self._changed.clear()

    async def deliver(self, sender: str) -> bool:
        """Carry out the steps of a stream now; whether all of them were taken."""
        while (left := await self._send([sender])) is not None:
            if left:
                return False
        return True

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._marked:
            senders = list(self._marked)[:TOGETHER]
            for sender in senders:
                del self._marked[sender]
            for sender in await self._send(senders) or ():
                loop.call_later(PAUSE, self._mark, sender)

    async def _send(self, senders: Sequence[str]) -> list[str] | None:
        """One round; the senders with steps that could not be heard. None when nothing was there to be told."""
        batches = self._batches(senders)
        if not batches:
            return None
        asks = [
            Ask(one.receiver, Hear(one.sender, one.steps), ACTOR, cause=f"{one.sender}#{one.steps[-1].number}")
            for one in batches
        ]
        blocked: dict[str, None] = {}
        taken: dict[str, Taken] = {}
        for batch, answer in zip(batches, await self._handler.handle_many(asks), strict=True):
            last = batch.steps[-1].number
            heard, refused = _heard(answer, batch)
            if heard < last:
                blocked[batch.sender] = None
            elif batch.more:
                self._mark(batch.sender)
            if heard >= batch.steps[0].number:
                of = taken.setdefault(batch.sender, Taken({}, {}))
                of.up_to[batch.receiver] = heard
                if refused is not None:
                    of.refused[batch.receiver] = refused
        told = await self._handler.handle_many([Ask(sender, one, ACTOR) for sender, one in taken.items()])
        for sender, answer in zip(taken, told, strict=True):
            if isinstance(answer, Unavailable):
                blocked[sender] = None
        return list(blocked)

    def _batches(self, senders: Sequence[str]) -> list[_Batch]:
        batches: list[_Batch] = []
        sizes: dict[str, int] = {}
        for sender in senders:
            outbox = self._outboxes[self._partition_of(sender)]
            for receiver in outbox.receivers(sender):
                waiting = outbox.first(sender, receiver, MOST_STEPS + 1)
                steps: list[Told] = []
                size = sizes.get(receiver, 0)
                for told in waiting[:MOST_STEPS]:
                    more = 0 if told.result is None else len(told.result.encode())
                    if size and size + more > MOST_BYTES:
                        break
                    size += more
                    steps.append(told)
                sizes[receiver] = size
                if steps:
                    batches.append(_Batch(sender, receiver, tuple(steps), len(steps) < len(waiting)))
                else:
                    self._mark(sender)
        return batches

    def _mark(self, sender: str) -> None:
        if self._partition_of(sender) in self._mine:
            self._marked[sender] = None
            self._changed.set()


def _heard(answer: Answer, batch: _Batch) -> tuple[int, str | None]:
    """Up to which number the receiver has heard, and why it never will, if it will not."""
    if isinstance(answer, Unavailable):
        return 0, None
    if isinstance(answer, Done):
        return heard_of(answer.decided.state, batch.sender), None
    return batch.steps[-1].number, answer.detail


def heard_of(state: Entity, sender: str) -> int:
    """The number of the last step that a stream has heard of another one."""
    return state.heard.get(sender, 0) if isinstance(state, (Task, Unique)) else 0
