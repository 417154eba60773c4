"""What the log of a cluster says, folded in the test: every accepted event and the state of everything."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Self

import msgspec

from taskscheduler.api.local_cluster.preparation import settings_of
from taskscheduler.commands.ports import LogUnavailable
from taskscheduler.domain.decision import Record, Verdict, fold
from taskscheduler.domain.entities import Entity, empty, id_of
from taskscheduler.domain.events import tag_of
from taskscheduler.domain.state import Task
from taskscheduler.domain.values import Instant
from taskscheduler.streams.replay.folding import opened
from tests.support.engines import Cluster

PATIENCE = 90.0
"""Seconds after which what is waited for will not come any more."""

LOOK_EVERY = 0.25


class LogReader:
    """Follows the log when it is told to. `histories` holds events as the API shows them, but for their values."""

    def __init__(self, cluster: Cluster) -> None:
        self._kafka = settings_of(cluster.plan).kafka
        self.positions: dict[int, int] = {}
        self.states: dict[str, Entity] = {}
        self.tasks: dict[str, Task] = {}
        self.histories: dict[str, list[dict[str, Any]]] = {}
        self.verdicts: Counter[Verdict] = Counter()

    @property
    def token(self) -> str:
        """Up to where a reader must be to see all that was folded."""
        return ",".join(f"{partition}:{position}" for partition, position in self.positions.items())

    async def catch_up(self) -> None:
        """Fold what is on the log now. Raises LogUnavailable, and what was folded before that stays."""
        async with opened(self._kafka) as source:
            for partition, end in (await source.ends()).items():
                async with aclosing(source.entries(partition, self.positions.get(partition, 0), end)) as batches:
                    async for entries in batches:
                        for entry in entries:
                            if entry.record is not None:
                                self._fold(entry.record, entry.appended_at)
                            self.positions[partition] = entry.position
                self.positions[partition] = end

    async def until(self, holds: Callable[[Self], bool], what: str) -> None:
        """Returns once something is on the log; brokers may be away meanwhile. Fails when that takes too long."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                await self.catch_up()
            except LogUnavailable:
                pass
            else:
                if holds(self):
                    return
            assert time.monotonic() < deadline, f"{what}: not so after {PATIENCE:.0f} s"
            await asyncio.sleep(LOOK_EVERY)

    def _fold(self, record: Record, appended_at: Instant) -> None:
        id = id_of(record.stream)
        after, verdict = fold(self.states.get(id) or empty(id), record, appended_at)
        self.verdicts[verdict] += 1
        if verdict is not Verdict.ACCEPTED:
            return
        self.states[id] = after
        if isinstance(after, Task):
            self.tasks[id] = after
        history = self.histories.setdefault(id, [])
        for event in record.events:
            shown = {"type": tag_of(event), "version": after.version, "data": msgspec.to_builtins(event)}
            history.append({**shown, "time": record.recorded_at})
