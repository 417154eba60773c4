"""The role `dispatch`: claims and carries out attempts of the targets that the server calls itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from taskscheduler.api.bootstrap import http_caller, kafka_caller
from taskscheduler.api.circuits_health import circuits_health
from taskscheduler.api.cluster.commands import Commands
from taskscheduler.api.cluster.part import Part
from taskscheduler.api.health import HealthRegistry
from taskscheduler.api.loops import Loops
from taskscheduler.api.metrics import Metrics
from taskscheduler.api.settings import Settings
from taskscheduler.domain.values import SECOND
from taskscheduler.streams.dispatch.circuits import Circuits, Guarded
from taskscheduler.streams.dispatch.dispatcher import Caller, Dispatcher
from taskscheduler.streams.dispatch.noop import NoopDispatcher
from taskscheduler.streams.kafka.membership import Membership

HELP_AFTER = 2 * SECOND
"""For how long nothing may have been taken from somebody else's share before it is helped with."""


_LOOPS = ("noop", "dispatch", "kafka", "membership of dispatch")


class Dispatching(Part):
    """A part of a process. What it holds when it dies waits for the end of its lease."""

    def __init__(
        self, commands: Commands, settings: Settings, loops: Loops, metrics: Metrics, seed: Callable[[], int]
    ) -> None:
        self._loops = loops
        self._while_clock_is_right = commands.log.clock_check.while_ready
        self._membership = Membership(settings.kafka, commands.log.topics, "dispatch")
        waiting = commands.claimable(lambda: self._membership.partitions, help_after=HELP_AFTER)
        self._circuits = Circuits(settings.http, commands.clock, metrics.observe_circuit)
        for share in commands.shares:
            share.claimables.guard(self._circuits)
        kafka = kafka_caller(settings, commands.clock)
        self._callers: tuple[Caller, ...] = (Guarded(http_caller(settings, commands.clock), self._circuits), kafka)
        self._noop = NoopDispatcher(waiting, commands.handler, commands.limiter, seed=seed)
        self._http, self._kafka = (
            Dispatcher(caller, waiting, commands.handler, commands.limiter, clock=commands.clock, seed=seed)
            for caller in self._callers
        )
        commands.handing.takers += [self._noop, self._http, self._kafka]

    async def start(self, loops: Loops) -> None:
        """Begin to claim."""
        loops.start("membership of dispatch", partial(self._while_clock_is_right, self._membership.run))
        loops.start("noop", self._noop.run)
        loops.start("dispatch", self._http.run)
        loops.start("kafka", self._kafka.run)

    def register(self, health: HealthRegistry, metrics: Metrics) -> None:
        """Loops that fail are told."""
        health.register("dispatch", lambda: self._loops.health(*_LOOPS))
        health.register("circuits", circuits_health(self._circuits), needed=False)
        metrics.watch("circuits_open", lambda: len(self._circuits.open))
        metrics.watch("dispatched_attempts", lambda: self._noop.active + self._http.active + self._kafka.active)

    async def stop(self, grace: float) -> None:
        """Let calls end, give up the rest: those attempts are lost and tried again."""
        await asyncio.gather(*[one.stop(grace) for one in (self._noop, self._http, self._kafka)])

    async def close(self) -> None:
        """End the connections."""
        for caller in self._callers:
            await caller.close()
