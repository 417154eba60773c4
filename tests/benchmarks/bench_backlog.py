"""A backlog of runs with mixed priorities and keys, drained by claimers: is it fair, does nothing starve, what is held?

The scheduler is embedded in this process, everything durable. Keys differ in how much they have waiting: the first one
has half of everything. `off_percent` is how far the key whose share of the claims was furthest from an equal one was
from it, while all keys had runs waiting; `late_after` how many claims went before the only run of a key that came last.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import structlog

from taskscheduler.api.bootstrap import EmbeddedNode, embedded, system_clock
from taskscheduler.api.settings import Settings
from taskscheduler.commands.handler import Ask
from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import Concurrency, Definition, QueueTarget
from taskscheduler.domain.schedule import OneTime
from taskscheduler.domain.values import MINUTE
from taskscheduler.streams.dispatch.queue import Given, Report

CLAIMERS = 4
EACH = 32
"""Claims asked for at once."""

LIMIT = 8
"""Attempts of a key that may be active."""

BATCH = 1_000


def key_of(number: int, keys: int) -> str:
    """Every other run is of the first key, the others are spread over all of them."""
    return f"k{0 if number % 2 else number // 2 % keys}" if keys > 1 else f"k{number}"


async def backlog(count: int, keys: int) -> dict[str, float]:
    """Queue `count` runs of so many keys (1: each has its own), let them age, drain them."""
    structlog.configure(processors=[_silent])
    ahead = 0
    with tempfile.TemporaryDirectory(prefix="taskscheduler-bench-") as folder:
        settings = Settings(data_dir=Path(folder) / "data")
        async with embedded(settings, clock=lambda: system_clock() + ahead) as node:
            empty = _resident()
            for start in range(0, count, BATCH):
                await node.handler.handle_many([_create(n, keys) for n in range(start, min(start + BATCH, count))])
            while node.claimables.waiting < count:
                await asyncio.sleep(0.01)
            queued = _resident() - empty
            ahead = 10 * MINUTE  # now every priority has aged fully
            drain = Drain(node, count)
            began = time.perf_counter()
            await drain.run()
            seconds = time.perf_counter() - began
            figures = {"per_s": count / seconds, "queued_mb": queued, "drained_mb": _resident() - empty}
            return figures | drain.figures(Counter(key_of(n, keys) for n in range(count)))


class Drain:
    """Claims and completes until everything is done."""

    def __init__(self, node: EmbeddedNode, count: int) -> None:
        self._node = node
        self._left = count + 1
        self._keys: dict[str, str] = {}
        self.order: list[str] = []
        self._late_made = 0

    async def run(self) -> None:
        """Returns when nothing waits any more."""
        await asyncio.gather(*(self._claim(number) for number in range(CLAIMERS)), self._late())

    async def _late(self) -> None:
        """Somebody comes in the middle with one run."""
        while self._left > len(self.order):
            await asyncio.sleep(0.01)
        self._late_made = len(self.order)
        await self._node.handler.handle_many([_create_of("late", 0, 1)])

    async def _claim(self, number: int) -> None:
        while self._left:
            given = await self._node.queue.claim("q", worker=f"w{number}", max=EACH, wait=200)
            self._note(given)
            answers = await self._node.queue.report([Report(one.token) for one in given])
            assert not any(answers), answers
            self._left -= len(given)

    def _note(self, given: list[Given]) -> None:
        for one in given:
            self.order.append(one.task_id.partition(".")[0])

    def figures(self, waiting: Counter[str]) -> dict[str, float]:
        """How fair it was: while all keys had runs waiting, and how soon the one that came late had its turn."""
        late = float(self.order.index("late") - self._late_made)
        if max(waiting.values()) == 1:  # nobody has a second turn: who came first goes first
            return {"keys": float(len(waiting)), "late_after": late}
        taken: Counter[str] = Counter()
        for key in (key for key in self.order if key != "late"):
            taken[key] += 1
            if taken[key] == waiting[key]:
                break
        equal = sum(taken.values()) / len(waiting)
        off = max(abs(taken[key] - equal) / equal for key in waiting)
        return {"keys": float(len(waiting)), "off_percent": 100 * off, "late_after": late}


def _create(number: int, keys: int) -> Ask:
    return _create_of(key_of(number, keys), number, 1 + number // 2 % 9)


def _create_of(key: str, number: int, priority: int) -> Ask:
    definition = Definition(
        name="t",
        schedule=OneTime(at=0),
        target=QueueTarget("q", "k"),
        priority=priority,
        concurrency=Concurrency(key, LIMIT),
    )
    return Ask(f"{key}.{number}", msg.Create(definition))


def _resident() -> float:
    """Megabytes of this process that are in memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4_096 / 1e6


def _silent(*_: Any) -> Any:
    raise structlog.DropEvent
