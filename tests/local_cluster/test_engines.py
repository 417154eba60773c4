"""The real servers: each comes back with its data after `kill -9`, and is not well while it stands still."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from cassandra.cluster import Cluster

from taskscheduler.api.local_cluster import probes
from taskscheduler.api.local_cluster.process import Process
from tests.support.engines import Flink, Server

pytestmark = pytest.mark.cluster


def pauses(process: Process) -> None:
    process.pause()
    assert process.pid() is not None
    assert not process.healthy()
    process.resume()
    process.wait()


async def test_kafka(own_kafka: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_SECONDS", 0.3)
    where = {"bootstrap_servers": own_kafka.address}
    admin = AIOKafkaAdminClient(**where)
    await admin.start()
    await admin.create_topics([NewTopic("kept", 1, 1)])
    await admin.close()
    async with AIOKafkaProducer(acks="all", **where) as producer:
        await producer.send_and_wait("kept", b"before")
    pauses(own_kafka.process)
    own_kafka.process.kill()
    own_kafka.process.start()
    async with AIOKafkaProducer(acks="all", **where) as producer:
        await producer.send_and_wait("kept", b"after")
    async with AIOKafkaConsumer("kept", auto_offset_reset="earliest", **where) as consumer:
        assert [(await consumer.getone()).value for _ in range(2)] == [b"before", b"after"]


def test_cassandra(own_cassandra: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_SECONDS", 0.3)
    host, _, port = own_cassandra.address.partition(":")

    def ask(*statements: str) -> list[tuple[object, ...]]:
        with Cluster([host], port=int(port)) as cluster, cluster.connect() as session:
            for statement in statements:
                rows = list(session.execute(statement))
        return [tuple(row) for row in rows]

    ask(
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TABLE ks.kept (id int PRIMARY KEY)",
        "INSERT INTO ks.kept (id) VALUES (1)",
    )
    pauses(own_cassandra.process)
    own_cassandra.process.kill()
    own_cassandra.process.start()
    assert ask("SELECT id FROM ks.kept") == [(1,)]


async def test_flink(own_flink: Flink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_SECONDS", 0.3)
    job_manager, task_manager = own_flink.job_manager, own_flink.task_manager
    assert probes.get_json(own_flink.session.url + "/overview")["slots-total"] == 4
    task_manager.kill()
    task_manager.start()
    pauses(job_manager)
    job_manager.kill()
    job_manager.start()
    # The TaskManager finds the new JobManager.
    await asyncio.to_thread(task_manager.wait)
    for name in ("jobmanager", "taskmanager"):
        assert probes.answers(f"http://127.0.0.1:{own_flink.session.ports[name + '-metrics']}/metrics")
