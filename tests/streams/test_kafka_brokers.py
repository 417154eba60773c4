"""Three real brokers that stand in for each other: what the log promises when one of them dies or stands still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from taskscheduler.api.settings import Kafka
from taskscheduler.commands.ports import LogUnavailable
from tests.streams.conformance.log import decision, names, read_all
from tests.streams.kafka_kit import Writing, admin_of, instances, now, seconds, settings_for
from tests.support.engines import Brokers

pytest.importorskip("aiokafka")
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from taskscheduler.streams.kafka.event_log import KafkaEventLog
from taskscheduler.streams.kafka.refusals import KafkaRefused
from taskscheduler.streams.kafka.topics import _find, prepare_topics
from tests.streams.brokers_kit import (
    SOON,
    Contest,
    coordinator_of,
    everywhere,
    leader_of,
    streams_of,
    taking_triggers,
    until,
    until_in_sync,
    until_told,
    whole,
)

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]  # brokers may be long in starting

BOUND = 1_000
"""Milliseconds that an append may take in these tests."""


def settings_of(brokers: Brokers, **given: Any) -> Kafka:
    patience = {"append_timeout": BOUND, "request_timeout": 3_000}
    return settings_for(brokers.address, development=False, **{**patience, **given})


@pytest.fixture
async def brokers(own_brokers: Brokers) -> Brokers:
    """All three run, whatever was done to them before."""
    for process in own_brokers.processes:
        process.resume()
    await asyncio.to_thread(own_brokers.start)
    return own_brokers


@pytest.fixture
async def log(brokers: Brokers) -> AsyncIterator[KafkaEventLog]:
    log = await KafkaEventLog.open(settings_of(brokers), clock=now)
    await until_in_sync(log)
    yield log
    await log.close()


async def test_topics_have_three_copies_of_which_two_must_be_in_sync(brokers: Brokers, log: KafkaEventLog) -> None:
    async with admin_of(log._settings) as admin:
        found = await _find(admin, log.topics)
    assert set(found) == set(msgspec.structs.astuple(log.topics))
    for topic in found.values():
        assert set(topic.replicas.values()) == {3}
        assert topic.config["min.insync.replicas"] == "2"
        assert topic.config["unclean.leader.election.enable"] == "false"


async def test_topics_with_fewer_copies_are_refused(brokers: Brokers) -> None:
    settings = settings_of(brokers)
    await prepare_topics(msgspec.structs.replace(settings, development=True))
    said = await said_at_start(settings)
    assert "its partitions have 1 replicas and must have at least 3" in said
    assert "min.insync.replicas is 1 and must be at least 2" in said


async def test_a_log_that_is_content_with_one_copy_in_sync_is_refused(brokers: Brokers, log: KafkaEventLog) -> None:
    async with admin_of(log._settings) as admin:
        config = {"min.insync.replicas": "1"}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, log.topics.decisions, config)])
    async with asyncio.timeout(SOON):
        while "min.insync.replicas is 1 and must be at least 2" not in await said_at_start(log._settings):
            pass  # a broker that has not heard of the change yet was asked


async def said_at_start(settings: Kafka) -> str:
    """Why a log is not opened; nothing when it is."""
    try:
        await (await KafkaEventLog.open(settings, clock=now)).close()
    except KafkaRefused as error:
        return str(error)
    return ""


@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_others_take_over_from_a_broker_and_nothing_acknowledged_is_lost(
    brokers: Brokers, log: KafkaEventLog, tmp_path: Path, how: str
) -> None:
    async with instances(settings_of(brokers), tmp_path, 2, timeout=5.0) as running:
        contest, writing = Contest(running), Writing(log)
        await contest.start()
        await writing.more(500)
        leader = await leader_of(brokers, log, 0)
        getattr(leader, how)()
        await everywhere(log, "after")
        await until_told(log)
        await writing.more(300)
        told = len(contest.told)
        await until(lambda: len(contest.told) > told + 20)
        leader.resume()
        await asyncio.to_thread(leader.start)
        await until_in_sync(log)
        await writing.more(300)
        await asyncio.gather(writing.stop(), contest.stop())
        await whole(log, writing)
        await contest.check(tmp_path)
        assert log.failed is None


async def test_without_two_of_three_nothing_is_taken_and_with_them_it_goes_on(
    brokers: Brokers, log: KafkaEventLog, tmp_path: Path
) -> None:
    writing = Writing(log)
    await writing.more(300)
    await writing.stop()
    there = log.partition_of("task/a")
    known = await read_all(log, there)
    async with instances(log._settings, tmp_path, timeout=5.0) as [one], taking_triggers(one) as triggers:
        await triggers.create("before", "after")
        await triggers.decided("before")
        coordinator = await coordinator_of(brokers, log._settings, "triggers")
        other = next(process for process in brokers.processes if process is not coordinator)
        for process in (coordinator, other):
            process.kill()
        for stream in streams_of(log, "never").values():
            assert await seconds(log.append([decision(stream, 0)]), LogUnavailable) < BOUND / 1000 + 1
            assert await seconds(log.append([decision(stream, 0, name="never sent")]), LogUnavailable) < 0.5
        assert await seconds(log.end(there), LogUnavailable) < BOUND / 1000 + 1
        assert await seconds(log.probe_clock(), LogUnavailable) < BOUND / 1000 + 1
        assert await log.read(there, 0, len(known)) == known, "what was fetched can be read"
        assert await seconds(KafkaEventLog.open(log._settings, clock=now), KafkaRefused) < 2 * SOON
        await asyncio.to_thread(other.start)
        await everywhere(log, "again")
        async with asyncio.timeout(SOON):
            await triggers.decided("after")
        await whole(log, writing)
        assert "never sent" not in [name for partition in range(3) for name in names(await read_all(log, partition))]
        again = await KafkaEventLog.open(log._settings, clock=now)
        assert again.log_id == log.log_id
        await again.close()
