"""What happens while the broker is away, stands still or comes back, and when it has lost what a reader needs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from taskscheduler.api.settings import Kafka
from taskscheduler.commands.handler import Ask, Done, Unavailable
from taskscheduler.commands.ports import LogUnavailable
from taskscheduler.domain.definition import Definition, NoopTarget
from taskscheduler.domain.messages import Create
from taskscheduler.domain.schedule import OneTime
from tests.streams.conformance.log import accepted, decision, names, read_all
from tests.streams.kafka_kit import (
    Instance,
    Writing,
    admin_of,
    handing_of,
    instances,
    now,
    put,
    seconds,
    settings_for,
    until_taken,
)
from tests.support.engines import Server

pytest.importorskip("aiokafka")
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition

from taskscheduler.streams.kafka import buffer
from taskscheduler.streams.kafka.event_log import KafkaEventLog
from taskscheduler.streams.kafka.membership import Membership
from taskscheduler.streams.kafka.refusals import KafkaRefused, LogOutOfRange
from taskscheduler.streams.kafka.triggers import TriggerConsumer

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]  # a broker may be long in starting

BOUND = 1_000
"""Milliseconds that an append may take in these tests."""


def impatient(address: str, **given: Any) -> Kafka:
    return settings_for(address, append_timeout=BOUND, request_timeout=5_000, **given)


@pytest.fixture
async def log(own_kafka: Server) -> AsyncIterator[KafkaEventLog]:
    own_kafka.process.start()
    log = await KafkaEventLog.open(impatient(own_kafka.address), clock=now)
    yield log
    own_kafka.process.resume()
    own_kafka.process.start()
    await log.close()


async def start(server: Server) -> None:
    await asyncio.to_thread(server.process.start)


@pytest.mark.parametrize("how", ["kill", "pause", "stop"])
async def test_appends_are_refused_soon_and_go_on_when_the_broker_is_back(
    own_kafka: Server, log: KafkaEventLog, how: str
) -> None:
    there = log.partition_of("task/a")
    await log.append([decision("task/a", 0)])
    known = await log.read(there, 0, 1)
    getattr(own_kafka.process, how)()
    took = await seconds(log.append([decision("task/a", 1, name="sent meanwhile")]), LogUnavailable)
    assert took < BOUND / 1000 + 1
    assert await seconds(log.append([decision("task/a", 1, name="never sent")]), LogUnavailable) < BOUND / 1000 / 2
    assert await seconds(log.end(there), LogUnavailable) < BOUND / 1000 + 1
    assert await seconds(log.probe_clock(), LogUnavailable) < BOUND / 1000 + 1
    waiting = asyncio.ensure_future(log.wait(there, 1))
    assert await log.read(there, 0, 1) == known != [], "what was fetched can be read"
    assert not waiting.done()
    own_kafka.process.resume()
    await start(own_kafka)
    await until_taken(log, "task/b", 0)
    await until_taken(log, "task/a", 1)
    await waiting
    kept = accepted([entry for partition in range(3) for entry in await read_all(log, partition)])
    assert "task/a@0" in names(kept)
    assert "never sent" not in names(kept)
    versions = [entry.record.expected_version for entry in kept if entry.record and entry.record.stream == "task/a"]
    assert versions == [0, 1]
    assert await log.end(there) >= 2
    await log.probe_clock()


async def test_nothing_acknowledged_is_lost_when_the_broker_is_killed(own_kafka: Server, log: KafkaEventLog) -> None:
    writing = Writing(log)
    for _ in range(2):
        await writing.more(500)
        await asyncio.to_thread(own_kafka.process.kill)
        await start(own_kafka)
    await writing.more(500)
    await writing.stop()
    other = await KafkaEventLog.open(log._settings, clock=now)
    for partition in range(3):
        entries = await read_all(other, partition)
        assert entries == await read_all(log, partition)
        found = names(accepted(entries))
        assert len(found) == len(set(found))
        assert writing.acknowledged(partition) <= set(found)
    await other.close()


async def test_a_full_disk_refuses_what_comes_and_loses_nothing_acknowledged(
    own_kafka: Server, log: KafkaEventLog
) -> None:
    there = log.partition_of("task/a")
    told = 0

    async def append() -> None:
        nonlocal told
        await log.append([decision("task/a", told, name=f"{told} " + "x" * 100_000)])
        told += 1

    await append()
    own_kafka.limit_files(16 * 1024 * 1024)
    with suppress(LogUnavailable):
        while True:
            await append()
    assert told > 50, "there was room for some"
    for refused in ("b", "c"):
        assert await seconds(log.append([decision(f"task/{refused}", 0)]), LogUnavailable) < BOUND / 1000 + 1
    await asyncio.to_thread(own_kafka.process.kill)
    await start(own_kafka)
    await until_taken(log, "task/d", 0)
    kept = accepted(await read_all(log, there, chunk=50))
    versions = [entry.record.expected_version for entry in kept if entry.record and entry.record.stream == "task/a"]
    assert versions[:told] == list(range(told))
    assert len(versions) <= told + 1, "only what was on its way when there was no room may be there beyond it"


async def test_a_log_is_not_opened_without_its_broker(own_kafka: Server, log: KafkaEventLog) -> None:
    own_kafka.process.pause()
    assert await seconds(KafkaEventLog.open(log._settings, clock=now), KafkaRefused) < 10
    own_kafka.process.resume()
    own_kafka.process.kill()
    assert await seconds(KafkaEventLog.open(log._settings, clock=now), KafkaRefused) < 2


@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_a_log_is_closed_without_its_broker(own_kafka: Server, how: str) -> None:
    own_kafka.process.start()
    log = await KafkaEventLog.open(impatient(own_kafka.address), clock=now)
    getattr(own_kafka.process, how)()
    with pytest.raises(LogUnavailable):
        await log.append([decision("task/a", 0)])
    began = time.monotonic()
    await log.close()
    assert time.monotonic() - began < 10
    own_kafka.process.resume()


async def test_commands_triggers_and_memberships_go_on_after_an_outage(own_kafka: Server, tmp_path: Path) -> None:
    own_kafka.process.start()
    async with instances(impatient(own_kafka.address), tmp_path, timeout=3.0) as [one]:
        due_at = now() + 3_600_000
        definition = Definition(name="t", schedule=OneTime(at=due_at, kind="at"), target=NoopTarget())

        async def create(name: str) -> object:
            [answer] = await one.handler.handle_many([Ask(name, Create(definition))])
            return answer

        assert isinstance(await create("before"), Done)
        membership = Membership(one.settings, one.log.topics, "dispatch")
        consumer = TriggerConsumer(one.settings, one.log.topics, one.replicas, one.handler, handing_of(one))
        running = [asyncio.create_task(part.run()) for part in (membership, consumer)]
        await until(lambda: len(membership.partitions) == len(consumer.partitions) == 3)
        own_kafka.process.kill()
        began = time.monotonic()
        meanwhile = await create("meanwhile")
        assert time.monotonic() - began < 2.5
        assert isinstance(meanwhile, Unavailable)
        assert meanwhile.retry_after > 0
        assert one.replicas.state("before").version == 1
        assert len(membership.partitions) == 3
        await start(own_kafka)
        while not isinstance(await create("after"), Done):
            await asyncio.sleep(0.1)
        trigger = msgspec.json.encode({"stream": "task/before", "version": 1, "due_at": due_at})
        await put(one.settings, one.log.partition_of("task/before"), trigger, topic="triggers")
        await until(lambda: one.replicas.state("before").version == 2)
        await until(lambda: len(membership.partitions) == 3)
        assert one.replicas.failure is None
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


async def delete(log: KafkaEventLog, partition: int, before: int) -> None:
    async with admin_of(log._settings) as admin:
        place = TopicPartition(log.topics.decisions, partition)
        await admin.delete_records({place: RecordsToDelete(before_offset=before)})


async def test_records_that_are_gone_end_all_reading(kafka: str) -> None:
    log = await KafkaEventLog.open(settings_for(kafka), clock=now)
    there = log.partition_of("task/a")
    await log.append([decision("task/a", version) for version in range(5)])
    await delete(log, there, 3)
    with pytest.raises(LogOutOfRange, match=f"partition {there} holds no position 1"):
        await log.wait(there, 0)
    assert log.failed is not None
    for work in (log.read(there, 4, 1), log.wait((there + 1) % 3, 0)):
        with pytest.raises(LogOutOfRange):
            await work
    await log.close()


async def test_records_that_are_gone_are_not_skipped_by_who_reads_far_behind(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffer, "KEPT", 1)
    log = await KafkaEventLog.open(settings_for(kafka), clock=now)
    there = log.partition_of("task/a")
    await log.append([decision("task/a", version) for version in range(20)])
    assert len(await read_all(log, there, chunk=5)) == 20
    await delete(log, there, 3)
    with pytest.raises(LogOutOfRange, match=f"partition {there} holds no position 1"):
        await log.read(there, 0, 5)
    await log.close()


async def test_a_replica_stops_for_good_where_the_log_does(kafka: str, tmp_path: Path) -> None:
    one = await Instance(settings_for(kafka), tmp_path).start(follow=False)
    there = one.log.partition_of("task/a")
    await one.log.append([decision("task/a", version) for version in range(5)])
    await delete(one.log, there, 3)
    one.follow()
    assert one.following is not None
    with pytest.raises(LogOutOfRange):
        await one.following
    assert one.replicas.failure is not None
    assert "LogOutOfRange" in one.replicas.failure
    await one.stop()
