"""What decides in a process of a cluster: replicas of all partitions of the log, and the handler over them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from pathlib import Path

from taskscheduler.api.metrics import Metrics
from taskscheduler.api.settings import Settings
from taskscheduler.commands.handler import CommandHandler
from taskscheduler.domain.decision import FOLD_VERSION
from taskscheduler.domain.entities import stream_of
from taskscheduler.domain.limit_definition import LIMIT_STREAM
from taskscheduler.domain.messages import Policy
from taskscheduler.domain.values import Instant, Millis
from taskscheduler.streams.calendar_uses import CalendarUses
from taskscheduler.streams.claimable import Claimables
from taskscheduler.streams.claimable_shares import ClaimableShares
from taskscheduler.streams.handing import Handing
from taskscheduler.streams.holders import Holders
from taskscheduler.streams.kafka.event_log import KafkaEventLog
from taskscheduler.streams.limiter import Limiter
from taskscheduler.streams.observer import Observer
from taskscheduler.streams.outbox import Outbox
from taskscheduler.streams.partitions import Replicas
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

IN_FLIGHT = 16
"""Batches of decisions that wait for Kafka at once: an answer takes a while, however many are under way."""

FLUSH_AFTER = 0.2
"""Seconds until folded state is written. The log has it all, so that later costs no more than a longer start after a
crash, and a row that changes meanwhile is written once."""

FAMILIES = (
    *state_store.FAMILIES,
    timer_table.FAMILY,
    *claim_tables.FAMILIES,
    use_table.FAMILY,
    outbox_table.FAMILY,
)


LAYOUT = 2
"""Raised when what is kept beside the state lies in other rows: then it is folded anew, in another folder."""


def folder_of(data_dir: Path, log_id: str) -> Path:
    """Where a process keeps its states of a log, each partition in a folder named by its number."""
    # State folded by other rules stays beside it until the folder is deleted, so that a release can be taken back.
    return data_dir / log_id / f"commands-{FOLD_VERSION}-{LAYOUT}"


class Share:
    """One partition of the log as this process folds it: its state and what follows from it, in a folder."""

    def __init__(self, folder: Path, clock: Callable[[], Instant]) -> None:
        self.database = Database(folder, FAMILIES)
        buffer = Buffer(self.database)
        self.store = StateStore(buffer)
        self.timers = Timers(RocksTimerTable(buffer))
        self.claimables = Claimables(RocksClaimTable(buffer), clock)
        self.holders = Holders(RocksHolderTable(buffer))
        self.uses = CalendarUses(RocksUseTable(buffer))
        self.outbox = Outbox(RocksOutboxTable(buffer))

    @property
    def observers(self) -> tuple[Observer, ...]:
        """What follows the state of this partition."""
        return (self.timers, self.claimables, self.holders, self.uses, self.outbox)


class Commands:
    """What decides: replicas of all partitions, the handler over them, and where waiting runs are found."""

    def __init__(
        self,
        log: KafkaEventLog,
        settings: Settings,
        metrics: Metrics,
        *,
        clock: Callable[[], Instant],
        seed: Callable[[], int],
    ) -> None:
        folder = folder_of(settings.data_dir, log.log_id)
        self.shares = [Share(folder / str(partition), clock) for partition in range(log.partitions)]
        self.log = log
        self.clock = clock
        self.replicas = Replicas(
            log,
            {partition: share.store for partition, share in enumerate(self.shares)},
            lambda partition: self.shares[partition].observers,
            flush_after=FLUSH_AFTER,
        )
        self.handler = CommandHandler(
            log,
            self.replicas,
            clock=clock,
            seed=seed,
            instance=secrets.token_hex(6),
            policy=Policy(settings.late_after, settings.retention.runs, settings.retention.deleted),
            timeout=settings.commands.timeout / 1000,
            in_flight=IN_FLIGHT,
            observe=metrics.observe_command,
        )
        self.stepping = Stepping(
            {partition: share.outbox for partition, share in enumerate(self.shares)},
            self.handler,
            lambda sender: log.partition_of(stream_of(sender)),
        )
        self.limiter = Limiter(self.handler, clock=clock, seed=seed)
        for share in self.shares:
            share.claimables.guard(self.limiter)
        self.handing = Handing(self.handler, self.claimable(tuple, 0), self.limiter, seed=seed)

    async def start(self) -> int:
        """Fold what is on the log; how many records there were. Raises LogDiverged."""
        await self.replicas.check()
        folded = await self.replicas.catch_up()
        for share in self.shares:
            self.limiter.begin(share.store.states(LIMIT_STREAM))
        self.replicas.observe(self.limiter)
        return folded

    def claimable(self, mine: Callable[[], Collection[int]], help_after: Millis) -> ClaimableShares:
        """Waiting runs, those of the partitions that are `mine` first."""
        return ClaimableShares(
            [share.claimables for share in self.shares],
            lambda task_id: self.log.partition_of(stream_of(task_id)),
            mine,
            clock=self.clock,
            help_after=help_after,
        )

    def users_of(self, calendar: str, limit: int) -> list[str]:
        """The ids of up to `limit` tasks that use a calendar."""
        found: list[str] = []
        for share in self.shares:
            if len(found) < limit:
                found += [use.task_id for use in share.uses.of(calendar, limit=limit - len(found))]
        return found

    def due(self, before: Instant, limit: int) -> int:
        """Streams that have been due since before an instant, counted up to a limit."""
        found = 0
        for share in self.shares:
            if found < limit:
                found += share.timers.backlog(before, limit - found)
        return found

    def close(self) -> None:
        """Flush, and let the next process have the folder."""
        for share, replica in zip(self.shares, self.replicas.by_partition.values(), strict=True):
            if share.database.failed is None:
                replica.flush()
            share.database.close()
