"""What is done between the start of the engines and that of our own processes; nothing changes when done again."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from taskscheduler.api.local_cluster.errors import ClusterError
from taskscheduler.api.local_cluster.plan import NODES, Plan
from taskscheduler.api.settings import Settings
from taskscheduler.api.settings_load import load


async def topics(plan: Plan) -> None:
    """Make Kafka's topics. Raises ClusterError."""
    from taskscheduler.streams.kafka.refusals import KafkaRefused
    from taskscheduler.streams.kafka.topics import prepare_topics

    try:
        await prepare_topics(settings_of(plan).kafka)
    except KafkaRefused as error:
        raise ClusterError(str(error)) from error


async def job(plan: Plan) -> None:
    """Submit the job that keeps the timers, unless Flink has it, and wait until it runs. Raises ClusterError."""
    from taskscheduler.streams.flink import control
    from taskscheduler.streams.flink.rest import FlinkRefused, FlinkUnavailable
    from taskscheduler.streams.kafka.refusals import KafkaRefused

    settings = settings_of(plan)
    try:
        if await control.status(settings.kafka, settings.flink) is None:
            await control.submit(settings.kafka, settings.flink, environment=plan.flink().environment())
        else:
            await control.running(settings.kafka, settings.flink)
    except (FlinkRefused, FlinkUnavailable, KafkaRefused) as error:
        raise ClusterError(str(error)) from error


STEPS: tuple[tuple[str, Callable[[Plan], Coroutine[Any, Any, None]]], ...] = (
    ("making topics", topics),
    ("submitting the job", job),
)
"""What to say, and what to do."""


def settings_of(plan: Plan) -> Settings:
    """The settings that the nodes of a cluster share. Raises SettingsError."""
    return _load(plan, plan.flags(), check=False)


def check_settings(plan: Plan) -> None:
    """Raises SettingsError, which names the first that one of the nodes could not use."""
    for name, roles in NODES.items():
        _load(plan, {**plan.node_flags(name, roles), "claims.secret": "x" * 32})


def _load(plan: Plan, flags: Mapping[str, str], *, check: bool = True) -> Settings:
    # Not the file where the command was given: the nodes do not run there, and all have to agree.
    return load(flags, environ={}, directory=plan.folder / next(iter(NODES)), check=check).settings
