"""A process of a cluster: the parts that its roles need, over one log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import structlog

from taskscheduler.api.bootstrap import system_clock, system_seed
from taskscheduler.api.cluster.commands import Commands
from taskscheduler.api.cluster.dispatching import Dispatching
from taskscheduler.api.cluster.part import Part
from taskscheduler.api.cluster.projecting import Projections
from taskscheduler.api.cluster.serving import Serving
from taskscheduler.api.cluster.triggering import Triggering
from taskscheduler.api.health import Component, HealthRegistry, disk_space, down, up
from taskscheduler.api.loops import Loops
from taskscheduler.api.metrics import Metrics
from taskscheduler.api.node import StartRefused
from taskscheduler.api.settings import Settings
from taskscheduler.commands.ports import LogUnavailable
from taskscheduler.domain.decision import FOLD_VERSION, AnyAccepted, of_tasks
from taskscheduler.domain.values import Instant
from taskscheduler.streams.cassandra.client_options import CassandraRefused
from taskscheduler.streams.kafka.clock import CLOCK_IS_OFF
from taskscheduler.streams.kafka.event_log import KafkaEventLog
from taskscheduler.streams.kafka.feed import PACE
from taskscheduler.streams.kafka.refusals import KafkaRefused, LogOutOfRange

PROBE_SECONDS = 5.0
"""How often the clock is compared with that of the brokers, which also tells whether they answer."""

PROJECTING_PACE = 0.02
"""Seconds between two fetches of a process that only projects: nobody waits for a verdict there."""

_DECIDING = {"api", "triggers", "dispatch"}

logger = structlog.get_logger("taskscheduler")


class ClusterNode:
    """Made by `cluster`. `serving` is what the routes need, where the role `api` is among its own."""

    def __init__(
        self,
        log: KafkaEventLog,
        settings: Settings,
        metrics: Metrics,
        *,
        clock: Callable[[], Instant],
        seed: Callable[[], int],
    ) -> None:
        self.metrics = metrics
        self.health = HealthRegistry()
        self.serving: Serving | None = None
        self._log = log
        self._loops = Loops()
        self._unreachable: str | None = None
        self._commands: Commands | None = None
        self._parts: list[Part] = []
        roles = set(settings.roles)
        self._register(settings)
        if roles & _DECIDING:
            commands = self._commands = Commands(log, settings, metrics, clock=clock, seed=seed)
            self._register_commands(commands)
            if "api" in roles:
                self.serving = Serving(commands, settings, self.health, metrics, seed)
                self._parts.append(self.serving)
            if "triggers" in roles:
                self._parts.append(Triggering(commands, settings, self._loops, metrics))
            if "dispatch" in roles:
                self._parts.append(Dispatching(commands, settings, self._loops, metrics, seed))
        if "projections" in roles:
            self._parts.append(Projections(log, settings, clock))
        for part in self._parts:
            part.register(self.health, metrics)

    async def start(self) -> None:
        """Fold what is on the log, then begin to work."""
        folded = 0
        if self._commands is not None:
            folded = await self._commands.start()
            self.metrics.active_runs = sum(share.store.active_runs() for share in self._commands.shares)
            self._commands.replicas.observe(self)
        for part in self._parts:
            await part.start(self._loops)
        if self._commands is not None:
            self._loops.start("replicas", self._commands.replicas.run)
        self._loops.start("probe", self._probe)
        self.health.accept()
        logger.info("ready", log=self._log.log_id, partitions=self._log.partitions, folded=folded)

    def apply(self, accepted: Sequence[AnyAccepted]) -> None:
        """Keep count of active runs."""
        changes = of_tasks(accepted)
        self.metrics.active_runs += sum(len(change.after.runs) - len(change.before.runs) for change in changes)

    async def stop(self, grace: float) -> None:
        """Take no new work, let what runs end within `grace` seconds. Idempotent."""
        self.health.refuse("stopping")
        for part in self._parts:
            part.refuse()
        if not self._loops.running:
            return
        await self._loops.stop(but=("replicas",))
        await asyncio.gather(*[part.stop(grace) for part in self._parts])
        if self._commands is not None:
            await self._commands.handler.drain()
        await self._loops.stop()

    async def close(self) -> None:
        """After `stop`: flush, and let the next process have the folder."""
        for part in self._parts:
            await part.close()
        if self._commands is not None:
            self._commands.close()

    async def _probe(self) -> None:
        while True:
            try:
                await self._log.probe_clock()
                self._unreachable = None
            except LogUnavailable as error:
                self._unreachable = str(error)
            await asyncio.sleep(PROBE_SECONDS)

    def _register(self, settings: Settings) -> None:
        self.health.register("log", self._log_health)
        self.health.register("clock", self._clock_health)
        self.health.register("diskSpace", disk_space(settings.data_dir), needed=True)
        self.metrics.watch("log_decisions", self._decisions)

    def _register_commands(self, commands: Commands) -> None:
        self.health.register("replica", lambda: self._replica_health(commands))
        self.metrics.watch("limits", lambda: commands.limiter.defined)
        self.metrics.watch("limit_refusals", lambda: commands.limiter.refused)
        self.metrics.watch("replica_lag_records", lambda: sum(commands.replicas.lag().values()))

    def _decisions(self) -> int:
        return sum(self._log.known_end(partition) for partition in range(self._log.partitions))

    def _log_health(self) -> Component:
        wrong = self._log.failed or self._unreachable
        return up(decisions=self._decisions()) if wrong is None else down(error=wrong)

    def _clock_health(self) -> Component:
        check = self._log.clock_check
        return up() if check.ready else down(error=CLOCK_IS_OFF, offset=check.offset)

    def _replica_health(self, commands: Commands) -> Component:
        wrong = commands.replicas.failure
        if wrong is not None:
            return down(error=wrong)
        positions = {str(number): one.position for number, one in commands.replicas.by_partition.items()}
        return up(positions=positions, foldVersion=FOLD_VERSION)


@contextlib.asynccontextmanager
async def cluster(
    settings: Settings,
    *,
    clock: Callable[[], Instant] = system_clock,
    seed: Callable[[], int] = system_seed,
) -> AsyncIterator[ClusterNode]:
    """A running process of a cluster; stopped and closed at the end.

    Raises StartRefused, DataRefused, LogDiverged.
    """
    metrics = Metrics()
    try:
        pace = PACE if _DECIDING & set(settings.roles) else PROJECTING_PACE
        log = await KafkaEventLog.open(settings.kafka, clock=clock, observe=metrics.observe_append, pace=pace)
    except KafkaRefused as error:
        raise StartRefused(str(error)) from error
    try:
        node = ClusterNode(log, settings, metrics, clock=clock, seed=seed)
        try:
            try:
                await node.start()
            except (CassandraRefused, LogOutOfRange, LogUnavailable) as error:
                raise StartRefused(str(error)) from error
            yield node
        finally:
            await node.stop(settings.shutdown.grace / 1000)
            await node.close()
    finally:
        await log.close()
