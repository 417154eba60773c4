"""Targets through the API, as far as they depend on how the server is set up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from rest_kit import MustNotBeCalled, NothingKnown, client_of

from taskscheduler.api import target_rules
from taskscheduler.api.app import create_app
from taskscheduler.api.bootstrap import embedded
from taskscheduler.api.health import HealthRegistry
from taskscheduler.api.metrics import Metrics
from taskscheduler.api.node import StartRefused
from taskscheduler.api.settings import Http, Kafka, KafkaTarget, Secrets, Settings
from tests.streams.http_kit import serving

TOKEN = "t0p-s3cret-token"


@asynccontextmanager
async def server(path: Path, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    given = Settings(data_dir=path / "data", **settings)
    async with embedded(given) as node, client_of(create_app(node, given)) as client:
        yield client


async def ended(api: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """The only run of a new task, once it has ended."""
    reply = await api.post("/api/tasks", json={"name": "x", "retry": {"max_attempts": 1}, **fields})
    assert reply.status_code == 201, reply.text
    while True:
        runs = (await api.get(f"/api/tasks/{reply.json()['id']}/runs")).json()["items"]
        if runs and runs[0]["status"] in ("succeeded", "failed"):
            run: dict[str, Any] = (await api.get(f"/api/tasks/{reply.json()['id']}/runs/{runs[0]['id']}")).json()
            return run
        await asyncio.sleep(0.02)


async def test_a_secret_reaches_the_target_and_nothing_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither the answers of the API nor the log nor anything in the data directory holds its value."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "crm-token").write_text(TOKEN)
    async with (
        serving() as target,
        server(tmp_path, http=Http(allow_loopback=True), secrets=Secrets(directory=tmp_path / "secrets")) as api,
    ):
        http = {"type": "http", "url": target.url, "auth": {"bearer": "crm-token"}}
        run = await ended(api, target=http)
        assert run["status"] == "succeeded"
        assert target.requests[0][2]["Authorization"] == f"Bearer {TOKEN}"
        target.respond(status=401, text=f"no such token: {TOKEN}")
        failed = await ended(api, target=http)
        assert failed["attempts"][0]["error"]["message"] == "the response has status 401: no such token: ********"
        events = (await api.get(f"/api/tasks/{failed['task_id']}/events")).text
        assert TOKEN not in events
        assert "crm-token" in events
        missing = await ended(api, target={**http, "auth": {"bearer": "absent"}})
        assert missing["attempts"][0]["error"]["type"] == "secret_unusable"
        assert "TASKSCHEDULER_SECRET_ABSENT" in missing["attempts"][0]["error"]["message"]
    said = capfd.readouterr()
    assert TOKEN not in said.out + said.err
    for file in (tmp_path / "data").rglob("*"):
        assert not file.is_file() or TOKEN.encode() not in file.read_bytes(), file


def refusing(**settings: Any) -> Any:
    node: Any = type("Node", (), {})()
    node.clock = lambda: 1_893_456_000_000
    node.handler, node.queries, node.queue, node.hub = (NothingKnown(), *(MustNotBeCalled() for _ in range(3)))
    node.health, node.metrics = HealthRegistry(), Metrics()
    return create_app(node, Settings(**settings))


async def errors(app: Any, target: dict[str, Any]) -> dict[str, str]:
    async with client_of(app) as api:
        reply = await api.post("/api/tasks", json={"name": "x", "target": target})
        assert reply.status_code == 422, reply.text
        return {error["pointer"]: error["detail"] for error in reply.json()["errors"]}


async def test_a_kafka_target_needs_brokers_and_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    target = {"type": "kafka", "topic": "orders"}
    found = await errors(refusing(), target)
    assert found == {"/target/type": "needs brokers, and this server knows none: set kafka_target.bootstrap_servers"}
    monkeypatch.setattr(target_rules, "find_spec", lambda _: None)
    app = refusing(kafka_target=KafkaTarget(bootstrap_servers=("127.0.0.1:9092",)))
    assert "pip install 'taskscheduler[kafka]'" in (await errors(app, target))["/target/type"]


@pytest.mark.parametrize(
    ("target", "pointer"),
    [
        ({"topic": "jobs.decisions"}, "/target/topic"),
        ({"topic": "__consumer_offsets"}, "/target/topic"),
        ({"topic": "a b"}, "/target/topic"),
        ({"topic": "secret"}, "/target/topic"),
        ({"topic": "orders", "key": 1}, "/target/key"),
        ({"topic": "orders", "key": ""}, "/target/key"),
        ({"topic": "orders", "headers": {"ce_id": "x"}}, "/target/headers/ce_id"),
        ({"topic": "orders", "headers": {"CE_ID": "x"}}, "/target/headers/CE_ID"),
        ({"topic": "orders", "headers": {"a b": "x"}}, "/target/headers/a b"),
        ({"topic": "orders", "headers": {"a": 1}}, "/target/headers/a"),
        ({"topic": "orders", "partition": 1}, "/target/partition"),
        ({}, "/target/topic"),
    ],
)
async def test_what_is_wrong_with_a_kafka_target_is_said(target: dict[str, Any], pointer: str) -> None:
    brokers = KafkaTarget(bootstrap_servers=("127.0.0.1:9092",), topics=("orders", "a*", "jobs.*", "__*"))
    app = refusing(kafka=Kafka(topic_prefix="jobs"), kafka_target=brokers)
    assert set(await errors(app, {"type": "kafka", **target})) == {pointer}


async def test_in_a_cluster_the_brokers_of_the_log_are_those_of_targets() -> None:
    cluster = Settings(profile="cluster", kafka=Kafka(bootstrap_servers=("127.0.0.1:9092",)))
    assert cluster.kafka_of_targets == cluster.kafka
    other = KafkaTarget(bootstrap_servers=("127.0.0.1:9093",))
    assert Settings(profile="cluster", kafka=cluster.kafka, kafka_target=other).kafka_of_targets == other


async def test_settings_of_brokers_that_do_not_fit_together_stop_the_start(tmp_path: Path) -> None:
    brokers = KafkaTarget(bootstrap_servers=("127.0.0.1:1",), username="ada")
    with pytest.raises(StartRefused, match=r"^kafka_target.password: needed too"):
        async with server(tmp_path, kafka_target=brokers):
            pass


async def test_a_task_for_kafka_that_came_here_fails_aloud(tmp_path: Path) -> None:
    """One that was made while there were brokers must not wait unseen."""
    brokers = KafkaTarget(bootstrap_servers=("127.0.0.1:1",), request_timeout=200)
    target = {"type": "kafka", "topic": "orders", "key": "k"}
    async with server(tmp_path, kafka_target=brokers) as api:
        reply = await api.post(
            "/api/tasks", json={"name": "x", "id": "a", "target": target, "schedule": {"delay": "1h"}}
        )
        assert reply.json()["target"] == {**target, "headers": {}}
    async with server(tmp_path) as api:
        assert (await api.post("/api/tasks/a/trigger")).status_code == 202
        errors: list[dict[str, Any]] = []
        while not errors:
            await asyncio.sleep(0.02)
            [run] = (await api.get("/api/tasks/a/runs")).json()["items"]
            errors = [attempt["error"] for attempt in run["attempts"] if attempt["error"]]
        [error] = errors
        assert error["type"] == "kafka_not_set_up"
        assert "kafka_target.bootstrap_servers" in error["message"]


async def test_a_host_that_fails_is_left_alone_and_its_runs_wait(tmp_path: Path) -> None:
    """No attempt is spent on it meanwhile, other hosts are called, and when it is well all runs end well."""
    http = Http(allow_loopback=True, circuit_failures=3, circuit_pause=1_000)
    async with serving() as target, server(tmp_path, http=http) as api:

        async def create(id: str, host: str, **retry: Any) -> None:
            url = f"http://{host}:{target.port}/"
            body = {"id": id, "name": id, "target": {"type": "http", "url": url}, "retry": retry}
            assert (await api.post("/api/tasks", json=body)).status_code == 201

        async def status(id: str) -> str:
            return str((await api.get(f"/api/tasks/{id}")).json()["status"])

        async def circuits() -> dict[str, Any]:
            found: dict[str, Any] = (await api.get("/actuator/health/circuits")).json()
            return found

        target.respond(status=500)
        await create("breaks", "127.0.0.1", max_attempts=3, initial="1ms", jitter=0)
        while (await status("breaks")) != "failed":
            await asyncio.sleep(0.02)
        found = await circuits()
        assert found["status"] == "UP"
        assert found["details"]["hosts"]["127.0.0.1"]["error"] == "http_500"
        target.respond(text="fine")
        for n in range(10):
            await create(f"waits-{n}", "127.0.0.1", max_attempts=1)
        await create("other", "localhost", max_attempts=1)
        while (await status("other")) != "completed":
            await asyncio.sleep(0.02)
        assert {await status(f"waits-{n}") for n in range(10)} == {"running"}
        assert len(target.requests) == 4
        assert "taskscheduler_circuits_open 1.0" in (await api.get("/actuator/prometheus")).text
        for n in range(10):
            while (await status(f"waits-{n}")) != "completed":
                await asyncio.sleep(0.02)
        assert len(target.requests) == 14
        assert (await circuits())["details"] == {"open": 0}
        told = (await api.get("/actuator/prometheus")).text
        assert "taskscheduler_circuits_open 0.0" in told
        assert 'taskscheduler_circuit_openings_total{error="http_500"} 1.0' in told
