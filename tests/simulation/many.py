"""Several instances over a log of several partitions, each behind it by as much as chance wants: they can crash.

What is on the log is in one order for the test, the order in which records landed, as if all partitions were merged.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any

from taskscheduler.commands.handler import Ask, CommandHandler
from taskscheduler.commands.ports import Entry, LogUnavailable, Receipt
from taskscheduler.domain.decision import Record
from taskscheduler.domain.entities import Other, stream_of
from taskscheduler.domain.limit_definition import LIMIT_STREAM
from taskscheduler.domain.messages import Wake
from taskscheduler.domain.state import Task
from taskscheduler.streams.claimable import Claimables
from taskscheduler.streams.claimable_shares import ClaimableShares, HolderShares
from taskscheduler.streams.codec import decode_record, encode_record
from taskscheduler.streams.dispatch.noop import NoopDispatcher
from taskscheduler.streams.dispatch.queue import Given, QueueService
from taskscheduler.streams.dispatch.tokens import Tokens
from taskscheduler.streams.handing import Handing
from taskscheduler.streams.holders import Holders
from taskscheduler.streams.kafka.partitioning import partition_of
from taskscheduler.streams.limiter import Limiter
from taskscheduler.streams.partitions import Replicas
from taskscheduler.streams.releasing import Releasing
from taskscheduler.streams.replica import Kept, Position
from tests.support.memory_tables import ClaimRows, HolderRows
from tests.support.virtual_time import clock


class Landed:
    """A log in memory. Everything lands; readers judge."""

    def __init__(self, partitions: int, chance: random.Random) -> None:
        self.partitions: list[list[Entry]] = [[] for _ in range(partitions)]
        self.merged: list[Entry] = []
        self.chance = chance
        self.unkind = True
        self._grown = asyncio.Event()

    async def append(self, records: Sequence[Record]) -> list[Receipt]:
        chance = self.chance
        await asyncio.sleep(chance.choice((0.001, 0.01, 0.2, 2)) if self.unkind else 0.001)
        if self.unkind and chance.random() < 0.03:
            raise LogUnavailable("the log is down")
        receipts = [self._land(record) for record in records]
        if self.unkind and chance.random() < 0.05:
            for record in records:
                self._land(record)
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()
        if self.unkind and chance.random() < 0.03:
            raise LogUnavailable("the reply was lost")
        return receipts

    def _land(self, record: Record) -> Receipt:
        partition = self.partition_of(record.stream)
        entries = self.partitions[partition]
        entry = Entry(partition, len(entries) + 1, clock(), decode_record(encode_record(record)))
        entries.append(entry)
        self.merged.append(entry)
        return Receipt(partition, entry.position, entry.appended_at)

    async def read(self, partition: int, after: int, limit: int) -> list[Entry]:
        return self.partitions[partition][after : after + limit]

    async def wait(self, partition: int, after: int) -> None:
        while len(self.partitions[partition]) <= after:
            await self._grown.wait()
        # Every reader is behind by another time in every partition.
        await asyncio.sleep(self.chance.choice((0, 0.005, 0.05, 1, 8)) if self.unkind else 0)

    async def end(self, partition: int) -> int:
        return len(self.partitions[partition])

    def known_end(self, partition: int) -> int:
        return len(self.partitions[partition])

    def partition_of(self, stream: str) -> int:
        return partition_of(stream, len(self.partitions))


class MemoryStore:
    """A replica's store that is gone with its process."""

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}
        self._position = Position()
        self.dirty = 0

    def load(self, id: str) -> Kept | None:
        return self.kept.get(id)

    def save(self, id: str, kept: Kept, run_ids: Iterable[str], keys: Iterable[str]) -> None:
        self.kept[id] = kept

    def position(self) -> Position:
        return self._position

    def set_position(self, position: Position) -> None:
        self._position = position

    def flush(self) -> int:
        return 0

    def states(self, prefix: str) -> Iterator[Other]:
        for id, kept in sorted(self.kept.items()):
            if id.startswith(prefix) and not isinstance(kept.state, Task):
                yield kept.state


class Wire:
    """The log as a process reaches it, until it dies."""

    def __init__(self, log: Landed) -> None:
        self._log = log
        self.cut = False

    def append(self, records: Sequence[Record]) -> Awaitable[list[Receipt]]:
        if self.cut:
            raise LogUnavailable("the process is dead")
        return self._log.append(records)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


class Instance:
    """Made and started on the running loop: takes commands and claims, wakes what is due, releases slots."""

    def __init__(self, log: Landed, name: str, mine: Callable[[], frozenset[int]], chance: random.Random) -> None:
        partitions = range(len(log.partitions))
        self.log = Wire(log)
        self._chance = chance
        self._mine = mine
        self.tasks: list[asyncio.Task[Any]] = []
        self.stores = {partition: MemoryStore() for partition in partitions}
        self.claimables = [Claimables(ClaimRows(), clock) for _ in partitions]
        self.holders = [Holders(HolderRows()) for _ in partitions]
        self.replicas = Replicas(
            self.log, self.stores, lambda partition: (self.claimables[partition], self.holders[partition])
        )

        def seed() -> int:
            return chance.getrandbits(64)

        self.handler = CommandHandler(self.log, self.replicas, clock=clock, seed=seed, instance=name, timeout=10.0)
        self.limiter = Limiter(self.handler, clock=clock, seed=seed)
        for share in self.claimables:
            share.guard(self.limiter)

        def place(id: str) -> int:
            return log.partition_of(stream_of(id))

        waiting = ClaimableShares(self.claimables, place, mine, clock=clock, help_after=0)
        self.queue = QueueService(
            waiting,
            HolderShares(self.holders),
            self.handler,
            Tokens(b"secret"),
            self.limiter,
            clock=clock,
            seed=seed,
        )
        claim = self.queue._claim

        async def tracked(*args: Any) -> list[Given]:
            task = asyncio.current_task()
            assert task is not None
            self.tasks.append(task)
            return await claim(*args)

        self.queue._claim = tracked  # type: ignore[method-assign]
        self.noop = NoopDispatcher(waiting, self.handler, self.limiter, seed=seed)
        self.handing = Handing(self.handler, waiting, self.limiter, seed=seed)
        self.handing.takers = [self.noop, self.queue]
        self.releasing = Releasing(
            self.handler, {number: store.states for number, store in self.stores.items()}, place, mine, clock=clock
        )

    async def start(self) -> None:
        """Fold what there is, then begin."""
        await self.replicas.catch_up()
        for store in self.stores.values():
            self.limiter.begin(store.states(LIMIT_STREAM))
        self.replicas.observe(self.limiter)
        self.replicas.observe(self.releasing)
        for work in (self.replicas.run, self.releasing.run, self.noop.run, self._wake):
            self.spawn(work())

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Something that dies with the process."""
        self.tasks.append(asyncio.create_task(work))

    async def crash(self) -> None:
        """Nothing of it goes on."""
        self.log.cut = True
        for task in [*self.tasks, *self.handler._tasks, *self.noop._later]:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _wake(self) -> None:
        while True:
            await asyncio.sleep(1)
            now = clock()
            due = [
                Ask(id, Wake(), actor="scheduler", due_at=kept.wakeup)
                for partition in self._mine()
                for id, kept in self.stores[partition].kept.items()
                if kept.wakeup is not None and kept.wakeup <= now
            ]
            if due:
                await self.handler.handle_many(await self.handing.ask(due))
