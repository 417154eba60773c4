"""The role `api`: takes commands, answers queries from Cassandra, serves queue workers, tells live events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

from taskscheduler.api.bootstrap import RESUMABLE
from taskscheduler.api.claim_secret import claim_secret
from taskscheduler.api.cluster.commands import Commands
from taskscheduler.api.cluster.part import Part
from taskscheduler.api.health import Component, HealthRegistry, down, up
from taskscheduler.api.ledger_check import LedgerCheck
from taskscheduler.api.loops import Loops
from taskscheduler.api.metrics import Metrics
from taskscheduler.api.problems import FieldError, invalid
from taskscheduler.api.settings import Settings
from taskscheduler.domain.entities import stream_of
from taskscheduler.domain.operation import OPERATION_STREAM
from taskscheduler.projections.ports import ViewsUnavailable
from taskscheduler.projections.queries import Queries
from taskscheduler.streams.cassandra.in_force import ViewsInForce
from taskscheduler.streams.cassandra.session import Session
from taskscheduler.streams.claimable_shares import HolderShares
from taskscheduler.streams.dispatch.queue import QueueService
from taskscheduler.streams.dispatch.tokens import Tokens
from taskscheduler.streams.hub import Hub
from taskscheduler.streams.kafka.membership import Membership
from taskscheduler.streams.operations import Operations, Tasks

COUNT_SECONDS = 15.0
"""How often the tasks are counted for the metrics."""


class Serving(Part):
    """Implements what the routes need, and a part of a process."""

    def __init__(
        self, commands: Commands, settings: Settings, health: HealthRegistry, metrics: Metrics, seed: Callable[[], int]
    ) -> None:
        log = commands.log
        self.clock = commands.clock
        self.health = health
        self.metrics = metrics
        self.handler = commands.handler
        self.stepping = commands.stepping
        self.hub = Hub(log.partitions)
        self._commands = commands
        self._settings = settings
        self._membership = Membership(settings.kafka, log.topics, "api")
        self._session = Session(settings.cassandra)
        self._views = ViewsInForce(self._session, log.log_id, timeout=settings.cassandra.catch_up_timeout / 1000)
        self.queries = Queries(self._views)
        self.queue = QueueService(
            commands.claimable(lambda: self._membership.partitions, help_after=0),
            HolderShares([share.holders for share in commands.shares]),
            commands.handler,
            Tokens(claim_secret(settings)),
            commands.limiter,
            clock=commands.clock,
            seed=seed,
        )
        commands.handing.takers.append(self.queue)

        self._operations = Operations(
            Tasks(self.queries),
            commands.handler,
            log.partition_of,
            lambda: self._membership.partitions,
            rate=settings.bulk.rate,
            ready=self._all_shown,
        )
        self._ledger_check = LedgerCheck(
            self.queries,
            metrics,
            settings.ledger,
            clock=commands.clock,
            mine=lambda task_id: log.partition_of(stream_of(task_id)) in self._membership.partitions,
        )

    async def start(self, loops: Loops) -> None:
        """Let live listeners resume across the start, then follow what comes."""
        for partition, replica in self._commands.replicas.by_partition.items():
            begin = max(0, replica.position - RESUMABLE)
            self.hub.begin(partition, begin)
            for entry in await self._commands.log.read(partition, begin, replica.position - begin):
                if entry.record is not None and entry.position <= replica.position:
                    self.hub.remember(partition, entry.position, entry.record)
        self._commands.replicas.observe(self.hub)
        for share in self._commands.shares:
            self._operations.know(share.store.others(OPERATION_STREAM))
        self._commands.replicas.observe(self._operations)
        loops.start("operations", self._operations.run)
        loops.start("membership of api", partial(self._commands.log.clock_check.while_ready, self._membership.run))
        loops.start("count of tasks", self._count)
        if self._settings.ledger.check_every:
            loops.start("ledger check", self._ledger_check.run)

    def register(self, health: HealthRegistry, metrics: Metrics) -> None:
        """Reads need Cassandra, but writes do not: without it the process goes on."""
        health.register("cassandra", self._cassandra, needed=False)
        metrics.watch("operations_running", lambda: self._operations.going)

    def users_of(self, calendar: str, limit: int) -> list[str]:
        """The ids of tasks that use a calendar."""
        return self._commands.users_of(calendar, limit)

    def token(self) -> str:
        """Up to where a reader must be to see everything that was acknowledged here."""
        return ",".join(self._commands.replicas.tokens())

    async def caught_up_to(self, token: str) -> None:
        """Returns when queries see all that the token covers. Raises Problem, ViewsUnavailable."""
        try:
            await self._views.reached(token)
        except ValueError as error:
            raise invalid([FieldError("/headers/consistency-token", str(error))]) from None

    async def _all_shown(self) -> None:
        """Returns when queries see all that was acknowledged anywhere. Raises LogUnavailable, ViewsUnavailable."""
        await asyncio.gather(*(one.caught_up("") for one in self._commands.replicas.by_partition.values()))
        await self._views.reached(self.token())

    def refuse(self) -> None:
        """No more claims and no more live events."""
        self.queue.close()
        self.hub.close()

    async def close(self) -> None:
        """End the connections."""
        await self._session.close()

    def _cassandra(self) -> Component:
        return up() if self._session.away is None else down(error=self._session.away)

    async def _count(self) -> None:
        while True:
            with contextlib.suppress(ViewsUnavailable):  # health says so
                self.metrics.tasks = await self.queries.status_counts()
            await asyncio.sleep(COUNT_SECONDS)
