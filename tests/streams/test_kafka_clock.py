"""What goes on while an instance's clock is right, and what does not while it is off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskscheduler.api.settings import Settings
from taskscheduler.commands.ports import LogUnavailable
from taskscheduler.domain.definition import Definition, NoopTarget
from taskscheduler.domain.entities import stream_of
from taskscheduler.domain.messages import Create
from taskscheduler.domain.schedule import OneTime
from taskscheduler.domain.values import Millis
from tests.streams.kafka_kit import now, put, settings_for

pytest.importorskip("aiokafka")

import msgspec

from taskscheduler.api.cluster import node as module
from taskscheduler.api.cluster.node import ClusterNode, cluster
from taskscheduler.api.cluster.triggering import Triggering
from taskscheduler.streams.kafka.clock import CLOCK_IS_OFF, ClockCheck
from taskscheduler.streams.kafka.messages import Trigger

AHEAD: Millis = 120_000


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


class Work:
    """Goes on until it is cancelled, or told to fail."""

    def __init__(self) -> None:
        self.begun = self.ended = 0
        self.fail = asyncio.Event()

    async def run(self) -> None:
        self.begun += 1
        try:
            await self.fail.wait()
            raise RuntimeError("it failed")
        finally:
            self.ended += 1


def reading(check: ClockCheck, partition: int, off: Millis) -> None:
    check.observe(partition, 1_000_000, 1_000_010, 1_000_005 + off)


async def test_work_goes_on_while_the_clock_is_right() -> None:
    check, work = ClockCheck(), Work()
    running = asyncio.create_task(check.while_ready(work.run))
    reading(check, 0, 0)
    await until(lambda: work.begun == 1)
    reading(check, 1, 600)
    await until(lambda: work.ended == 1)
    # One partition that is right says nothing of the other.
    reading(check, 0, 0)
    reading(check, 0, 100)
    assert work.begun == 1
    reading(check, 1, -400)
    await until(lambda: work.begun == 2)
    work.fail.set()
    with pytest.raises(RuntimeError, match="it failed"):
        await running
    assert (work.begun, work.ended) == (2, 2)


async def test_work_that_is_no_longer_wanted_has_ended_when_it_is_said_to() -> None:
    check, work = ClockCheck(), Work()
    reading(check, 0, 0)
    running = asyncio.create_task(check.while_ready(work.run))
    await until(lambda: work.begun == 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()
    assert work.ended == 1


def triggering(node: ClusterNode) -> Triggering:
    return next(part for part in node._parts if isinstance(part, Triggering))


@pytest.mark.cluster
async def test_an_instance_whose_clock_is_off_decides_nothing_and_leaves_what_is_due_to_others(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.05)
    settings = Settings(profile="cluster", roles=("triggers",), data_dir=tmp_path / "a", kafka=settings_for(kafka))
    beside = msgspec.structs.replace(settings, data_dir=tmp_path / "b")
    off: Millis = AHEAD
    async with cluster(settings) as right, cluster(beside, clock=lambda: now() + off) as wrong:
        said: Any = wrong.health.readiness().components
        assert said["clock"].details["error"] == CLOCK_IS_OFF
        assert abs(said["clock"].details["offset"] + AHEAD) < 10_000
        assert right._commands is not None
        assert wrong._commands is not None
        with pytest.raises(LogUnavailable, match="clock"):
            await wrong._commands.log.append([])

        due_at = now() + 2 * AHEAD  # the handler goes by the trigger where that is later
        names = [f"t{number}" for number in range(12)]
        for name in names:
            definition = Definition(name="t", schedule=OneTime(at=due_at, kind="at"), target=NoopTarget())
            await right._commands.handler.handle(name, Create(definition))
            trigger = msgspec.json.encode(Trigger(stream_of(name), 1, due_at))
            await put(settings.kafka, right._commands.log.partition_of(stream_of(name)), trigger, topic="triggers")
        await until(lambda: all(right._commands.replicas.state(name).version == 2 for name in names))  # type: ignore[union-attr]
        assert triggering(wrong)._consumer.partitions == frozenset()
        assert triggering(right)._consumer.partitions == {0, 1, 2}

        off = 0
        await until(lambda: bool(triggering(wrong)._consumer.partitions))
        assert wrong.health.ready
        off = -AHEAD
        await until(lambda: triggering(right)._consumer.partitions == {0, 1, 2})
        assert not wrong.health.ready
