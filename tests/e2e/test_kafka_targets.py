"""Tasks that produce to Kafka, in either profile, from the request to what a consumer gets."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

from tests.e2e.instances import Instances, connected
from tests.e2e.serving import Serving
from tests.streams.kafka_kit import admin_of, settings_for
from tests.support.engines import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]


class Place(msgspec.Struct, frozen=True):
    """A running scheduler, and the brokers that its kafka targets produce to."""

    urls: tuple[str, ...]
    brokers: str


class Producing(msgspec.Struct):
    """The same, for its users."""

    users: Instances
    brokers: str


@pytest.fixture(scope="module", params=["embedded", "cluster"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """An embedded server that was told of brokers; or a cluster, which takes those of its log."""
    if request.param == "cluster":
        cluster: Cluster = request.getfixturevalue("cluster")
        yield Place(tuple(cluster.urls), f"127.0.0.1:{cluster.plan.ports['kafka']}")
        return
    kafka: str = request.getfixturevalue("kafka")
    folder = tmp_path_factory.mktemp("producing")
    server = Serving(folder / "data", TASKSCHEDULER_KAFKA_TARGET__BOOTSTRAP_SERVERS=kafka)
    try:
        asyncio.run(server.start())
        yield Place((server.url,), kafka)
    finally:
        server.end()


@pytest.fixture
async def producing(place: Place) -> AsyncIterator[Producing]:
    """Its users."""
    async with connected(place.urls) as users:
        yield Producing(users, place.brokers)


async def test_a_task_produces_to_a_topic(producing: Producing, name: str) -> None:
    from aiokafka import AIOKafkaConsumer
    from aiokafka.admin import NewTopic

    topic = f"orders-{uuid.uuid4().hex[:12]}"
    async with admin_of(settings_for(producing.brokers)) as admin:
        await admin.create_topics([NewTopic(topic, 3, 1)])
    target = {"type": "kafka", "topic": topic, "key": "customer-7"}
    body = {"id": name, "name": name, "target": target, "payload": {"n": 1}}
    await producing.users.create(body)
    task = await producing.users.ended(name)
    assert task["status"] == "completed"
    [run] = await producing.users.pages(f"/api/tasks/{name}/runs")
    run = await producing.users.read(f"/api/tasks/{name}/runs/{run['id']}")
    async with AIOKafkaConsumer(topic, bootstrap_servers=producing.brokers, auto_offset_reset="earliest") as consumer:
        async with asyncio.timeout(30):
            message = await consumer.getone()
    assert run["result"] == {"topic": topic, "partition": message.partition, "offset": message.offset}
    assert (message.key, json.loads(message.value)) == (b"customer-7", {"n": 1})
    headers = dict(message.headers)
    assert headers["ce_id"].decode() == run["id"]
    assert headers["ce_source"].decode() == f"/tasks/{name}"
    assert headers["ce_attempt"] == b"1"


async def test_the_log_of_the_scheduler_is_no_topic_for_tasks(producing: Producing, name: str) -> None:
    for topic in ("taskscheduler.decisions", "taskscheduler.triggers", "__consumer_offsets"):
        body: dict[str, Any] = {"id": name, "name": name, "target": {"type": "kafka", "topic": topic}}
        reply = await producing.users.send("POST", "/api/tasks", body)
        assert reply.status_code == 422
        assert [error["pointer"] for error in reply.json()["errors"]] == ["/target/topic"]
