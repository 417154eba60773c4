"""A whole scheduler but for HTTP, on a log in memory and state in a directory: it can crash and come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from taskscheduler.commands.handler import CommandHandler, Done
from taskscheduler.commands.ports import LogUnavailable, Receipt
from taskscheduler.domain.decision import Record
from taskscheduler.domain.ids import mix
from taskscheduler.domain.limit_definition import LIMIT_STREAM
from taskscheduler.domain.messages import Command, Policy
from taskscheduler.domain.state import Task
from taskscheduler.streams.calendar_uses import CalendarUses
from taskscheduler.streams.claimable import Claimables
from taskscheduler.streams.dispatch.dispatcher import HOLDER, Dispatcher, Target, release_held
from taskscheduler.streams.dispatch.noop import NoopDispatcher
from taskscheduler.streams.dispatch.queue import QueueService
from taskscheduler.streams.dispatch.tokens import Tokens
from taskscheduler.streams.following import Following
from taskscheduler.streams.handing import Handing
from taskscheduler.streams.holders import Holders
from taskscheduler.streams.limiter import Limiter
from taskscheduler.streams.observer import Observer
from taskscheduler.streams.outbox import Outbox
from taskscheduler.streams.releasing import Releasing
from taskscheduler.streams.replica import Replica
from taskscheduler.streams.rocksdb import claim_tables, outbox_table, state_store, timer_table, use_table
from taskscheduler.streams.rocksdb.buffer import Buffer
from taskscheduler.streams.rocksdb.claim_tables import RocksClaimTable, RocksHolderTable
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.outbox_table import RocksOutboxTable
from taskscheduler.streams.rocksdb.state_store import StateStore
from taskscheduler.streams.rocksdb.timer_table import RocksTimerTable
from taskscheduler.streams.rocksdb.use_table import RocksUseTable
from taskscheduler.streams.stepping import Stepping
from taskscheduler.streams.timers import Timers
from taskscheduler.streams.triggers import TriggerLoop
from tests.support.memory_log import MemoryLog

FAMILIES = (*state_store.FAMILIES, timer_table.FAMILY, *claim_tables.FAMILIES, use_table.FAMILY, outbox_table.FAMILY)


async def end_others() -> None:
    """Cancel every task but the caller's, in the order in which they were made, until all have ended."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in sorted(others, key=lambda task: int(task.get_name().rpartition("-")[2])):
            task.cancel()
        await asyncio.sleep(0)


class Wire:
    """The log as one process reaches it, until it dies."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.cut = False

    async def append(self, records: Sequence[Record]) -> list[Receipt]:
        if self.cut:
            raise LogUnavailable("the process is dead")
        return await self._log.append(records)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


class Node:
    """Made and started on the running loop."""

    def __init__(
        self,
        path: Path,
        log: MemoryLog,
        clock: Callable[[], int],
        *,
        name: str = "n",
        seed: int = 1,
        policy: Policy = Policy(),
        timeout: float = 10.0,
        targets: Sequence[Target] = (),
        observers: Sequence[Observer] = (),
        noop: bool = True,
        flush_after: float = 0.1,
    ) -> None:
        numbers = count(1)
        self._log = log = Wire(log)
        self.database = Database(path, FAMILIES)
        self.buffer = Buffer(self.database)
        self.store = StateStore(self.buffer)
        self.timers = Timers(RocksTimerTable(self.buffer))
        self.claimables = Claimables(RocksClaimTable(self.buffer), clock)
        self.holders = Holders(RocksHolderTable(self.buffer), always=(HOLDER,))
        self.uses = CalendarUses(RocksUseTable(self.buffer))
        self.outbox = Outbox(RocksOutboxTable(self.buffer))
        derived = (self.timers, self.claimables, self.holders, self.uses, self.outbox, *observers)
        self.replica = Replica(log, self.store, derived, flush_after=flush_after)

        def chance() -> int:
            return mix(seed, next(numbers))

        self.handler = CommandHandler(
            log, self.replica, clock=clock, seed=chance, instance=name, policy=policy, timeout=timeout
        )
        self.limiter = Limiter(self.handler, clock=clock, seed=chance)
        self.claimables.guard(self.limiter)
        self.releasing = Releasing(self.handler, {0: self.store.states}, lambda _: 0, lambda: (0,), clock=clock)
        self.queue = QueueService(
            self.claimables, self.holders, self.handler, Tokens(b"secret"), self.limiter, clock=clock, seed=chance
        )
        self.handing = Handing(self.handler, self.claimables, self.limiter, seed=chance)
        self.triggers = TriggerLoop(self.timers, self.handler, self.handing, clock)
        self.following = Following({0: self.uses}, self.handler, lambda: (0,))
        self.stepping = Stepping({0: self.outbox}, self.handler, lambda sender: 0, lambda: (0,))
        self.noop = NoopDispatcher(self.claimables, self.handler, self.limiter, seed=chance) if noop else None
        self.dispatchers = [
            Dispatcher(target, self.claimables, self.handler, self.limiter, clock=clock, seed=chance)
            for target in targets
        ]
        self.handing.takers = [*([self.noop] if self.noop is not None else []), *self.dispatchers, self.queue]
        self._loops: list[asyncio.Task[None]] = []

    async def start(self, *, work: bool = True) -> None:
        """Fold what is on the log, then follow it and, unless told otherwise, do what is due."""
        await self.replica.check()
        await self.replica.catch_up()
        self.limiter.begin(self.store.states(LIMIT_STREAM))
        self.replica.observe(self.limiter)
        self.replica.observe(self.releasing)
        self._loops.append(asyncio.create_task(self.replica.run()))
        await release_held(self.holders, self.handler)
        if work:
            runs = [
                self.triggers.run,
                self.following.run,
                self.stepping.run,
                self.releasing.run,
                *([self.noop.run] if self.noop else []),
                *(d.run for d in self.dispatchers),
            ]
            self._loops += [asyncio.create_task(run()) for run in runs]

    async def do(self, command: Command, task_id: str = "a", **more: object) -> Done:
        """One command."""
        return await self.handler.handle(task_id, command, **more)  # type: ignore[arg-type]

    def state(self, task_id: str = "a") -> Task:
        """As far as folded."""
        return self.replica.state(task_id)

    async def crash(self) -> None:
        """Lose everything that was not flushed, in the middle of whatever goes on; only the caller's task lives on."""
        self._log.cut = True
        self.replica._torn = True  # nothing that a timer may still want to flush reaches the disk
        # What is cancelled may begin something else: a process that dies does not.
        await end_others()
        self.database.close()

    async def stop(self, grace: float = 1.0) -> None:
        """End in good order."""
        self.queue.close()
        for loop in self._loops[1:]:
            loop.cancel()
        await asyncio.gather(*self._loops[1:], return_exceptions=True)
        for part in (*self.dispatchers, *([self.noop] if self.noop else [])):
            await part.stop(grace)
        await self.handler.drain()
        self._loops[0].cancel()
        await asyncio.gather(self._loops[0], return_exceptions=True)
        self.replica.flush()
        self.database.close()
