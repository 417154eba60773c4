"""The role `triggers`: decides on what Flink says is due, and lets tasks follow the calendars that they use, and
carries out steps, and releases slots of limits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from taskscheduler.api.bootstrap import BACKLOG_LIMIT
from taskscheduler.api.cluster.commands import Commands
from taskscheduler.api.cluster.part import Part
from taskscheduler.api.health import Component, HealthRegistry, down, up
from taskscheduler.api.loops import Loops
from taskscheduler.api.metrics import Metrics
from taskscheduler.api.settings import Settings
from taskscheduler.domain.decision import AnyAccepted, of_tasks
from taskscheduler.domain.entities import stream_of
from taskscheduler.domain.values import SECOND
from taskscheduler.streams.following import Following
from taskscheduler.streams.kafka.triggers import TriggerConsumer
from taskscheduler.streams.releasing import Releasing

LATE = 10 * SECOND
"""Streams that are due for this long without a decision: whoever gives the triggers is away."""


class Triggering(Part):
    """A part of a process. What it had not decided on when it stops is given again."""

    def __init__(self, commands: Commands, settings: Settings, loops: Loops, metrics: Metrics) -> None:
        self._commands = commands
        self._metrics = metrics
        self._loops = loops
        self._consumer = TriggerConsumer(
            settings.kafka, commands.log.topics, commands.replicas, commands.handler, commands.handing
        )
        uses = {partition: share.uses for partition, share in enumerate(commands.shares)}
        self._following = Following(uses, commands.handler, lambda: self._consumer.partitions)
        commands.stepping.mine = lambda: self._consumer.partitions
        self._releasing = Releasing(
            commands.handler,
            {partition: share.store.states for partition, share in enumerate(commands.shares)},
            lambda id: commands.log.partition_of(stream_of(id)),
            lambda: self._consumer.partitions,
            clock=commands.clock,
        )

    def apply(self, accepted: Sequence[AnyAccepted]) -> None:
        """Count what happens in the partitions that this instance decides for: each is counted once in a cluster."""
        mine = self._consumer.partitions
        self._metrics.count([change for change in of_tasks(accepted) if change.partition in mine])
        self._metrics.count_slots([change for change in accepted if change.partition in mine])

    async def start(self, loops: Loops) -> None:
        """Begin to take triggers."""
        self._commands.replicas.observe(self)
        # Others take what is due while this clock is off: what it would decide is refused.
        loops.start("triggers", partial(self._commands.log.clock_check.while_ready, self._consumer.run))
        self._commands.replicas.observe(self._releasing)
        loops.start("calendars", self._following.run)
        loops.start("steps", self._commands.stepping.run)
        loops.start("limits", self._releasing.run)

    def register(self, health: HealthRegistry, metrics: Metrics) -> None:
        """Late triggers are told, whatever the cause; they do not make a process unfit."""
        health.register("timers", self._timers, needed=False)
        health.register("triggers", lambda: self._loops.health("triggers", "calendars", "steps", "limits"))
        metrics.watch("due_backlog", lambda: self._commands.due(self._commands.clock(), BACKLOG_LIMIT))
        metrics.watch("steps_waiting", lambda: self._commands.stepping.waiting)
        metrics.watch("trigger_lag", lambda: self._consumer.lag)

    def _timers(self) -> Component:
        late = self._commands.due(self._commands.clock() - LATE, BACKLOG_LIMIT)
        if late:
            return down(error=f"{late} tasks are due for more than {LATE // SECOND} s: triggers are late", late=late)
        return up()
