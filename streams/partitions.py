"""The replicas of a process: one for each partition of the log that it follows, together the state of everything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from taskscheduler.commands.ports import DecisionLog
from taskscheduler.domain.decision import Record, Verdict
from taskscheduler.domain.entities import Entity, stream_of
from taskscheduler.streams.expectations import Expectations
from taskscheduler.streams.observer import Observer
from taskscheduler.streams.replica import Replica, Store


class PartitionedLog(DecisionLog, Protocol):
    """A log that says what it has heard of the ends of its partitions without asking."""

    def known_end(self, partition: int) -> int: ...


class Replicas:
    """Implements Folded over several partitions. `run` is its loop; everything else is called on the same event loop.

    `stores` holds, for each partition to follow, where its replica keeps its state: nothing is shared, so each can be
    at another position. `observers` gives those of one partition. A batch of decisions may span partitions.
    """

    def __init__(
        self,
        log: PartitionedLog,
        stores: Mapping[int, Store],
        observers: Callable[[int], Sequence[Observer]] = lambda _: (),
        *,
        flush_rows: int = 10_000,
        flush_after: float = 0.02,
    ) -> None:
        self._log = log
        self._expectations = Expectations()
        self.by_partition: dict[int, Replica] = {
            partition: Replica(
                log,
                store,
                observers(partition),
                partition=partition,
                flush_rows=flush_rows,
                flush_after=flush_after,
                expectations=self._expectations,
            )
            for partition, store in sorted(stores.items())
        }

    @property
    def failure(self) -> str | None:
        """Why a partition is not followed any more, None while all are."""
        failures = (
            f"partition {partition}: {replica.failure}"
            for partition, replica in self.by_partition.items()
            if replica.failure is not None
        )
        return next(failures, None)

    def observe(self, observer: Observer) -> None:
        """Add an observer of every partition; it sees what is folded from now on."""
        for replica in self.by_partition.values():
            replica.observe(observer)

    def state(self, id: str) -> Entity:
        """The state of what has this id as far as its partition is folded, which must be a partition followed here."""
        return self._of(id).state(id)

    def expect(self, record_ids: Sequence[str]) -> Awaitable[list[Verdict]]:
        """Resolves to the verdicts on the first occurrence of each record, whatever their partitions."""
        return self._expectations.expect(record_ids)

    def drafted(self, record: Record, before: Entity, after: Entity) -> None:
        """Spares folding the record once more, if it is accepted on this very state."""
        self._expectations.drafts[record.record_id] = (before, after)

    def token(self, id: str) -> str:
        """Up to where its partition is folded, as `partition:position`."""
        return self._of(id).token(id)

    def tokens(self) -> list[str]:
        """The same for every partition."""
        return [f"{partition}:{replica.position}" for partition, replica in self.by_partition.items()]

    async def caught_up(self, id: str) -> None:
        """The read barrier: returns when what is on its partition now is folded. Raises LogUnavailable."""
        await self._of(id).caught_up(id)

    async def reached(self, partition: int, position: int) -> None:
        """Returns when the record at `position` of the partition is folded."""
        await self.by_partition[partition].reached(position)

    async def check(self) -> None:
        """Raises LogDiverged when the log does not hold what one of the replicas saw last."""
        for replica in self.by_partition.values():
            await replica.check()

    async def catch_up(self) -> int:
        """Fold everything that is on the log now; how many records there were."""
        return sum(await asyncio.gather(*(replica.catch_up() for replica in self.by_partition.values())))

    async def run(self) -> None:
        """Follow all partitions until cancelled. Raises what ended the first of them; the others end too."""
        following = [asyncio.ensure_future(replica.run()) for replica in self.by_partition.values()]
        try:
            for ended in asyncio.as_completed(following):
                await ended
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)

    def flush(self) -> None:
        """Write state and positions, now."""
        for replica in self.by_partition.values():
            replica.flush()

    def lag(self) -> dict[int, int]:
        """By partition, how many records are known to be on the log and not folded."""
        return {
            partition: max(0, self._log.known_end(partition) - replica.position)
            for partition, replica in self.by_partition.items()
        }

    def _of(self, id: str) -> Replica:
        return self.by_partition[self._log.partition_of(stream_of(id))]
