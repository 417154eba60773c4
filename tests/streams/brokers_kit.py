"""What the tests of several brokers share: who leads what, load on the log, and what must hold of it afterwards."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from aiokafka.errors import KafkaError

from taskscheduler.api.local_cluster.process import Process
from taskscheduler.api.settings import Kafka
from taskscheduler.commands.handler import Answer, Ask, Done
from taskscheduler.commands.ports import LogUnavailable
from taskscheduler.domain.definition import Definition, DefinitionPatch, NoopTarget
from taskscheduler.domain.messages import Create, Update
from taskscheduler.domain.schedule import OneTime
from taskscheduler.streams.kafka.event_log import KafkaEventLog
from taskscheduler.streams.kafka.triggers import TriggerConsumer
from tests.streams.conformance.log import accepted, names, read_all
from tests.streams.kafka_kit import Instance, Writing, admin_of, handing_of, instances, now, put, until_taken
from tests.support.engines import Brokers

SOON = 30.0
"""Seconds until others must have taken over from a broker, on a machine that has much else to do."""


async def partitions_of(log: KafkaEventLog) -> list[dict[str, Any]]:
    """What a broker says of the partitions of the log, in order."""
    while True:
        # A broker that is away may be asked.
        with suppress(KafkaError):
            async with admin_of(log._settings) as admin:
                [topic] = await admin.describe_topics([log.topics.decisions])
            return sorted(topic["partitions"], key=lambda partition: partition["partition"])


async def until_in_sync(log: KafkaEventLog, copies: int = 3) -> None:
    """Returns when each partition has so many copies that are up to date."""
    while any(len(partition["isr"]) != copies for partition in await partitions_of(log)):
        await asyncio.sleep(0.1)


async def leader_of(brokers: Brokers, log: KafkaEventLog, partition: int) -> Process:
    return brokers.processes[(await partitions_of(log))[partition]["leader"] - 1]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def streams_of(log: KafkaEventLog, name: str) -> dict[int, str]:
    """A stream for each partition."""
    streams = {log.partition_of(stream): stream for stream in (f"task/{name}{number}" for number in range(50))}
    assert len(streams) == log.partitions
    return streams


async def everywhere(log: KafkaEventLog, name: str) -> None:
    """Returns when every partition takes what is appended."""
    async with asyncio.timeout(SOON):
        await asyncio.gather(*(until_taken(log, stream) for stream in streams_of(log, name).values()))


async def until_told(log: KafkaEventLog) -> None:
    """Returns when the log says where it ends."""
    async with asyncio.timeout(SOON):
        while True:
            try:
                await log.end(0)
            except LogUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def whole(log: KafkaEventLog, writing: Writing) -> None:
    """Whether what was acknowledged is on the log once and in order, to its reader and to one that comes anew."""
    afresh = await KafkaEventLog.open(log._settings, clock=now)
    for partition in range(log.partitions):
        entries = await read_all(log, partition)
        assert entries == await read_all(afresh, partition)
        assert [entry.position for entry in entries] == list(range(1, len(entries) + 1))
        written = names(entries)
        assert len(written) == len(set(written))
        assert writing.acknowledged(partition) <= set(names(accepted(entries)))
    await afresh.close()


class Contest:
    """Instances that all change the same tasks until `stop`."""

    def __init__(self, running: list[Instance]) -> None:
        self.running = running
        self.tasks = [f"task-{number}" for number in range(6)]
        self.told: dict[tuple[str, int], set[str]] = {}
        self._stopping = False
        self._contestants: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        definition = Definition(name="t", schedule=OneTime(at=now() + 3_600_000, kind="at"), target=NoopTarget())
        answers = await self.running[0].handler.handle_many([Ask(task, Create(definition)) for task in self.tasks])
        assert all(isinstance(answer, Done) for answer in answers)
        self._contestants = [
            asyncio.create_task(self._change(instance, task)) for instance in self.running for task in self.tasks
        ]

    async def _change(self, instance: Instance, task: str) -> None:
        while not self._stopping:
            patch = Update(DefinitionPatch(name=f"n{random.randrange(10**9)}"))
            [answer] = await instance.handler.handle_many([Ask(task, patch)])
            self._note(instance, answer)
            await asyncio.sleep(0.01)

    def _note(self, instance: Instance, answer: Answer) -> None:
        if isinstance(answer, Done) and answer.decided.events:
            task = answer.decided.task
            self.told.setdefault((f"task/{task.id}", task.version), set()).add(instance.name)

    async def stop(self) -> None:
        self._stopping = True
        await asyncio.gather(*self._contestants)

    async def check(self, path: Path) -> None:
        """Whether each version has one winner, who was told so, and all have the same state."""
        winners = {}
        for partition in range(self.running[0].log.partitions):
            for entry in accepted(await read_all(self.running[0].log, partition)):
                assert entry.record is not None
                winners[entry.record.stream, entry.record.expected_version + 1] = entry.record
        for place, told in self.told.items():
            assert told == {winners[place].record_id.split("-")[0]}
        async with instances(self.running[0].settings, path / "afresh") as [afresh]:
            for instance in (*self.running, afresh):
                await instance.caught_up()
            assert len({tuple(instance.digests()) for instance in (*self.running, afresh)}) == 1


class Triggers:
    """Takes triggers beside an instance, as one member of their group."""

    def __init__(self, one: Instance) -> None:
        self.one = one
        self.due_at = now() + 3_600_000
        self.consumer = TriggerConsumer(one.settings, one.log.topics, one.replicas, one.handler, handing_of(one))
        self.running = asyncio.create_task(self.consumer.run())

    async def create(self, *tasks: str) -> None:
        definition = Definition(name="t", schedule=OneTime(at=self.due_at, kind="at"), target=NoopTarget())
        await self.one.handler.handle_many([Ask(task, Create(definition)) for task in tasks])

    async def decided(self, task: str) -> None:
        """Gives a trigger; returns when it is decided on, and that is committed."""
        stream = f"task/{task}"
        trigger = msgspec.json.encode({"stream": stream, "version": 1, "due_at": self.due_at})
        await put(self.one.settings, self.one.log.partition_of(stream), trigger, topic="triggers")
        await until(lambda: self.one.replicas.state(task).version == 2)
        await until(lambda: all(share.done == share.committed for share in self.consumer._shares.values()))


@asynccontextmanager
async def taking_triggers(one: Instance) -> AsyncIterator[Triggers]:
    triggers = Triggers(one)
    try:
        yield triggers
        assert not triggers.running.done()
    finally:
        triggers.running.cancel()
        await asyncio.gather(triggers.running, return_exceptions=True)


async def coordinator_of(brokers: Brokers, settings: Kafka, role: str) -> Process:
    """The broker that coordinates the group of a role."""
    async with admin_of(settings) as admin:
        return brokers.processes[await admin.find_coordinator(f"{settings.topic_prefix}.{role}") - 1]
