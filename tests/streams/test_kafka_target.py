"""The kafka target on a real broker: what a consumer gets, and what becomes of an attempt that the brokers refuse."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from taskscheduler.api.settings import KafkaTarget as Brokers
from taskscheduler.domain.definition import Definition, KafkaTarget
from taskscheduler.domain.schedule import OneTime
from taskscheduler.domain.state import Attempt, Run
from taskscheduler.streams.dispatch.dispatcher import Attempted, Outcome
from taskscheduler.streams.dispatch.kafka import KafkaCaller
from taskscheduler.streams.dispatch.kafka_events import wrong_with_topic
from tests.streams.kafka_kit import admin_of, now, settings_for

AT = 1_767_571_200_123


def attempt(target: KafkaTarget, payload: str | None = '{"n":"ü"}', number: int = 1, left: int = 30_000) -> Attempted:
    definition = Definition(name="t", schedule=OneTime(at=0), target=target, payload=payload)
    tries = tuple(Attempt(n + 1, "w", AT, "t", 1, AT, AT) for n in range(number))
    run = Run("run-1", "schedule", AT, "running", attempts=tries)
    return Attempted("task-1", run, definition, "t", now() + 30_000, now() + left)


@asynccontextmanager
async def caller(address: str, **settings: Any) -> AsyncIterator[KafkaCaller]:
    brokers = Brokers(bootstrap_servers=(address,), **settings)
    made = KafkaCaller(
        brokers, clock=now, at_once=8, source=brokers.source, prefix="taskscheduler", topics=brokers.topics
    )
    try:
        yield made
    finally:
        await made.close()


def kind(outcome: Outcome) -> str:
    assert outcome.error is not None, outcome.result
    return outcome.error.type


@pytest.fixture
async def topic(kafka: str) -> str:
    from aiokafka.admin import NewTopic

    name = f"orders-{uuid.uuid4().hex[:12]}"
    async with admin_of(settings_for(kafka)) as admin:
        await admin.create_topics([NewTopic(name, 3, 1, topic_configs={"max.message.bytes": "20000"})])
    return name


async def read(address: str, topic: str, count: int) -> list[Any]:
    from aiokafka import AIOKafkaConsumer

    async with AIOKafkaConsumer(topic, bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
        async with asyncio.timeout(20):
            return [await consumer.getone() for _ in range(count)]


@pytest.mark.cluster
async def test_a_message_is_the_payload_as_a_cloud_event(kafka: str, topic: str) -> None:
    target = KafkaTarget(topic, "customer-7", {"X-Team": "billing", "ce_type": "com.example.order.due"})
    async with caller(kafka, source="https://jobs.example.org") as made:
        outcomes = [await made.call(attempt(target, number=number)) for number in (1, 2)]
    messages = await read(kafka, topic, 2)
    for number, (message, outcome) in enumerate(zip(messages, outcomes, strict=True), 1):
        assert (message.key, message.value) == (b"customer-7", '{"n":"ü"}'.encode())
        assert dict(message.headers) == {
            "ce_specversion": b"1.0",
            "ce_id": b"run-1",
            "ce_source": b"https://jobs.example.org/tasks/task-1",
            "ce_type": b"com.example.order.due",
            "ce_subject": b"task-1",
            "ce_time": b"2026-01-05T00:00:00.123Z",
            "ce_attempt": str(number).encode(),
            "content-type": b"application/json",
            "X-Team": b"billing",
        }
        assert outcome.result is not None
        place = {"topic": topic, "partition": message.partition, "offset": message.offset}
        assert json.loads(outcome.result) == place
    assert messages[0].partition == messages[1].partition


@pytest.mark.cluster
async def test_a_task_without_a_payload_never_deletes_what_is_under_its_key(kafka: str, topic: str) -> None:
    async with caller(kafka) as made:
        for key in ("k", None):
            assert (await made.call(attempt(KafkaTarget(topic, key), payload=None))).error is None
    assert {message.value for message in await read(kafka, topic, 2)} == {b"null"}


@pytest.mark.cluster
async def test_many_at_once(kafka: str, topic: str) -> None:
    async with caller(kafka) as made:
        outcomes = await asyncio.gather(*[made.call(attempt(KafkaTarget(topic, f"k{n}"))) for n in range(200)])
    places = {tuple(msgspec.json.decode(outcome.result or "{}").values()) for outcome in outcomes}
    assert len(places) == 200


@pytest.mark.cluster
async def test_what_the_brokers_do_not_take_is_not_tried_again(kafka: str, topic: str) -> None:
    large = json.dumps("x" * 30_000)
    async with caller(kafka) as made:
        outcome = await made.call(attempt(KafkaTarget(topic), payload=large))
        assert (kind(outcome), outcome.retryable) == ("kafka_failed", False)
        assert (await made.call(attempt(KafkaTarget(topic)))).error is None


@pytest.mark.cluster
async def test_the_scheduler_s_own_topics_are_out_of_reach(kafka: str) -> None:
    """Also for a task that was made where they were called otherwise."""
    async with caller(kafka) as made:
        for name in ("taskscheduler.decisions", "__consumer_offsets"):
            outcome = await made.call(attempt(KafkaTarget(name)))
            assert (kind(outcome), outcome.retryable) == ("forbidden_topic", False)


@pytest.mark.cluster
async def test_a_topic_that_is_not_there(kafka: str) -> None:
    async with caller(kafka, request_timeout=500) as made:
        outcome = await made.call(attempt(KafkaTarget("nowhere")))
    assert (kind(outcome), outcome.retryable) == ("unknown_topic", True)


async def test_brokers_that_are_not_there() -> None:
    async with caller("127.0.0.1:1") as made:
        outcome = await made.call(attempt(KafkaTarget("orders"), left=2_000))
    assert (kind(outcome), outcome.retryable) == ("kafka_failed", True)
    assert outcome.error is not None
    assert "not acknowledged" in outcome.error.message


@pytest.mark.parametrize(
    "topic",
    [
        "taskscheduler",
        "taskscheduler.decisions",
        "taskscheduler.triggers",
        "taskscheduler.anything",
        "__consumer_offsets",
        "__transaction_state",
        ".",
        "..",
        "",
        "a/b",
        "a b",
        "tøpic",
        "a\n",
        "a" * 250,
        "other",
    ],
)
def test_topics_that_may_not_be_used(topic: str) -> None:
    assert wrong_with_topic(topic, "taskscheduler", ("orders", "jobs.*", "taskscheduler*", "__*")) is not None


@pytest.mark.parametrize("topic", ["orders", "jobs.a", "taskscheduler-mine"])
def test_topics_that_may_be(topic: str) -> None:
    assert wrong_with_topic(topic, "taskscheduler", ("orders", "jobs.*", "taskscheduler*")) is None
