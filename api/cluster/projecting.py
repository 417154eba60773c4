"""The role `projections`: keeps the read models in Cassandra up with the log."""

from __future__ import annotations

from collections.abc import Callable

from taskscheduler.api.cluster.part import Part
from taskscheduler.api.health import Component, HealthRegistry, down, up
from taskscheduler.api.loops import Loops
from taskscheduler.api.metrics import Metrics
from taskscheduler.api.settings import Settings
from taskscheduler.domain.values import Instant
from taskscheduler.streams.cassandra.session import Session
from taskscheduler.streams.cassandra.to_write import ViewsToWrite
from taskscheduler.streams.kafka.event_log import KafkaEventLog
from taskscheduler.streams.kafka.membership import Membership
from taskscheduler.streams.projecting import Projecting
from taskscheduler.streams.projection_follower import Lag


class Projections(Part):
    """A part of a process. It follows the log by itself: Cassandra being away must not stop writes."""

    def __init__(self, log: KafkaEventLog, settings: Settings, clock: Callable[[], Instant]) -> None:
        self._session = Session(settings.cassandra)
        self._projecting = Projecting(
            log,
            ViewsToWrite(self._session, log.log_id, log.partitions),
            settings.data_dir / log.log_id / "projections",
            clock=clock,
        )
        self._membership = Membership(settings.kafka, log.topics, "projections", changed=self._projecting.assign)

    async def start(self, loops: Loops) -> None:
        """Make the read models where they are missing, then begin with the partitions that come."""
        await self._projecting.assign(())
        loops.start("membership of projections", self._membership.run)

    def register(self, health: HealthRegistry, metrics: Metrics) -> None:
        """How far the read models are behind."""
        health.register("projections", self._health)
        metrics.watch("projection_lag_seconds", lambda: max((lag.seconds for lag in self._lags()), default=0.0))
        metrics.watch("projection_lag_records", lambda: sum(lag.records for lag in self._lags()))

    async def stop(self, grace: float) -> None:
        """Write what is folded."""
        await self._projecting.stop()

    async def close(self) -> None:
        """End the connections."""
        await self._session.close()

    def _health(self) -> Component:
        if self._projecting.failures:
            return down(**{name.replace(" ", "_"): why for name, why in self._projecting.failures.items()})
        if not self._projecting.opened:
            return down(error="there are no read models yet")
        return up(positions={str(partition): at for partition, at in sorted(self._projecting.positions.items())})

    def _lags(self) -> list[Lag]:
        return list(self._projecting.lag.values())
