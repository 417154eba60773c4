"""A log of several partitions in memory, filled from a history."""

from __future__ import annotations

import asyncio

from taskscheduler.commands.ports import Entry, LogUnavailable
from taskscheduler.domain.decision import AnyAccepted, Verdict, accepted_as, fold
from taskscheduler.domain.entities import Entity, empty, id_of
from taskscheduler.projections.memory import MemoryViews
from taskscheduler.projections.projector import Projector
from taskscheduler.streams.kafka.partitioning import partition_of
from tests.projections.history import History


class SplitLog:
    """The part of DecisionLog that readers use. While `down` it cannot be read."""

    def __init__(self, partitions: int) -> None:
        self.partitions: list[list[Entry]] = [[] for _ in range(partitions)]
        self.down = False
        self.reads = 0
        self._taken = 0
        self._grown = asyncio.Event()

    def take(self, history: History) -> None:
        """Append what the history has recorded since the last call."""
        for entry in history.entries[self._taken :]:
            assert entry.record is not None
            number = partition_of(entry.record.stream, len(self.partitions))
            entries = self.partitions[number]
            entries.append(Entry(number, len(entries) + 1, entry.appended_at, entry.record))
        self._taken = len(history.entries)
        self._tell()

    def skip(self, partition: int) -> None:
        """Append what nobody can read."""
        entries = self.partitions[partition]
        entries.append(Entry(partition, len(entries) + 1, 0, None))
        self._tell()

    def _tell(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    async def read(self, partition: int, after: int, limit: int) -> list[Entry]:
        if self.down:
            raise LogUnavailable("the log is down")
        self.reads += 1
        return self.partitions[partition][after : after + limit]

    async def wait(self, partition: int, after: int) -> None:
        while len(self.partitions[partition]) <= after:
            await self._grown.wait()

    async def end(self, partition: int) -> int:
        if self.down:
            raise LogUnavailable("the log is down")
        return len(self.partitions[partition])

    @property
    def ends(self) -> dict[int, int]:
        """The last position of each partition that has any."""
        return {number: len(entries) for number, entries in enumerate(self.partitions) if entries}

    @property
    def token(self) -> str:
        """Up to where everything is that was appended."""
        return ",".join(f"{number}:{end}" for number, end in self.ends.items())

    def accepted(self) -> list[AnyAccepted]:
        """What every reader accepts, partition by partition."""
        found = []
        for entries in self.partitions:
            states: dict[str, Entity] = {}
            for entry in entries:
                if entry.record is None:
                    continue
                id = id_of(entry.record.stream)
                before = states.get(id) or empty(id)
                after, verdict = fold(before, entry.record, entry.appended_at)
                if verdict is Verdict.ACCEPTED:
                    states[id] = after
                    at = entry.partition, entry.position, entry.appended_at
                    found.append(accepted_as(*at, entry.record, before, after))
        return found

    def projected(self) -> MemoryViews:
        """What read models have to hold."""
        views = MemoryViews()
        Projector(views).apply(self.accepted())
        return views
