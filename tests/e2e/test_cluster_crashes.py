"""`kill -9` of each process of a cluster in turn and of workers, and processes that stand still, under load.

It runs where `TASKSCHEDULER_TEST_CRASHES` says how many rounds; `TASKSCHEDULER_CRASH_SEED` is where chance begins (1).
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from taskscheduler.api.local_cluster.preparation import settings_of
from taskscheduler.api.local_cluster.process import Process, free_ports
from tests.e2e.agreement import check_agreement
from tests.e2e.cluster_load import ClusterLoad
from tests.e2e.cluster_work import ClusterWork
from tests.e2e.instances import LOOK_EVERY, PATIENCE
from tests.e2e.log_reader import LogReader
from tests.support.engines import Cluster

ROUNDS = int(os.environ.get("TASKSCHEDULER_TEST_CRASHES", "0"))
SEED = int(os.environ.get("TASKSCHEDULER_CRASH_SEED", "1"))

OURS = ("dispatch", "api-1", "projector")
ENGINES = ("taskmanager", "jobmanager", "cassandra", "kafka")

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.alone,
    pytest.mark.slow,
    pytest.mark.timeout(240 + 240 * ROUNDS),
    pytest.mark.skipif(not ROUNDS, reason="takes minutes: TASKSCHEDULER_TEST_CRASHES=1 runs it"),
]


class Crashes:
    """A cluster with a second dispatcher, under load, and what is done to it."""

    def __init__(
        self, cluster: Cluster, load: ClusterLoad, work: ClusterWork, log: LogReader, chance: random.Random
    ) -> None:
        self.cluster = cluster
        self.load = load
        self.work = work
        self.log = log
        self.chance = chance
        self.second = _second_dispatcher(cluster)
        self.client = httpx.AsyncClient(base_url=cluster.urls[0], timeout=30, trust_env=False)
        self._while_away: dict[str, Callable[[], Awaitable[None]]] = {
            "taskmanager": self._flink_away,
            "cassandra": self._cassandra_away,
            "kafka": self._kafka_away,
        }

    async def round(self, number: int) -> None:
        """Each process once; meanwhile two stand still and come back."""
        for name in self.chance.sample(OURS, len(OURS)):
            await self._kill(name)
        held = await self.load.hold_calls(number)
        paused = [self.cluster.process(name) for name in ("dispatch", "api-2")]
        for process in paused:
            process.pause()
        self.load.let_go()
        for name in self.chance.sample(ENGINES, len(ENGINES)):
            await self._kill(name)
        paused[1].resume()
        await self.log.until(lambda log: all(log.tasks[id].status == "completed" for id in held), "others went on")
        taken = [id for id in held if len(self._claims(id)) > 1]
        assert taken, "the dispatcher that stood still held no call"
        paused[0].resume()
        for process in paused:
            await asyncio.to_thread(process.wait)

    def _claims(self, id: str) -> list[dict[str, Any]]:
        return [event for event in self.log.histories[id] if event["type"] == "attempt.claimed.v1"]

    async def _kill(self, name: str) -> None:
        """Kill a worker and then it, look how the others take it, start it again, and see that fires go on."""
        process = self.cluster.process(name)
        await self.work.kill_worker()
        # The moment of the kill is what is tried here; there is nothing to wait for.
        await asyncio.sleep(self.chance.uniform(0.1, 1.0))
        began = time.monotonic()
        process.kill()
        since = time.time_ns() // 1_000_000
        if name in self._while_away:
            await self._while_away[name]()
        await asyncio.gather(
            asyncio.to_thread(process.start),
            self.log.until(lambda log: self._all_fired(since), f"fires go on after {name} was killed"),
        )
        await _becomes(f"reads go on after {name} was killed", self._reads)
        print(f"{name}: all is well {time.monotonic() - began:.1f} s after the kill")

    def _all_fired(self, since: int) -> bool:
        """Whether each of the steady tasks has done its work since an instant."""
        return all(
            any(e["time"] > since and e["type"] == "attempt.succeeded.v1" for e in reversed(self.log.histories[id]))
            for id in self.load.steady
        )

    async def _reads(self) -> bool:
        return (await self.client.get(f"/api/tasks/{min(self.load.steady)}")).status_code == 200

    async def _flink_away(self) -> None:
        """What is due is counted."""
        url = f"http://127.0.0.1:{self.second.ports['dispatch-2']}/actuator/prometheus"
        await _becomes("what is due is counted", lambda: self._shows(url, "taskscheduler_due_backlog "))

    async def _cassandra_away(self) -> None:
        """Writes go on; reads are refused soon, with a time to come again; the process stays ready."""
        began = time.monotonic()
        refused = await self.client.get(f"/api/tasks/{min(self.load.steady)}")
        assert time.monotonic() - began < 10
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True), refused.text
        made = await self.client.post("/api/tasks", json=self._another())
        assert made.status_code == 201, made.text
        self.load.created[made.json()["id"]] = made.json()["name"]
        ready = await self.client.get("/actuator/health/readiness")
        assert ready.status_code == 200, ready.text

    async def _kafka_away(self) -> None:
        """Reads go on; writes are refused soon, with a time to come again; readiness tells."""

        async def write() -> None:
            began = time.monotonic()
            refused = await self.client.post("/api/tasks", json=self._another())
            assert time.monotonic() - began < 12
            assert (refused.status_code, "retry-after" in refused.headers) == (503, True), refused.text

        async def not_ready() -> bool:
            return (await self.client.get("/actuator/health/readiness")).status_code == 503

        await asyncio.gather(write(), _becomes("readiness tells", not_ready))
        assert await self._reads()

    def _another(self) -> dict[str, Any]:
        id = f"{self.load.name}another-{self.chance.getrandbits(32)}"
        return {"id": id, "name": id, "target": {"type": "noop"}}

    async def _shows(self, url: str, metric: str) -> bool:
        lines = (await self.client.get(url)).text.splitlines()
        return any(line.startswith(metric) and float(line.split()[-1]) > 0 for line in lines)


def _second_dispatcher(cluster: Cluster) -> Process:
    [port] = free_ports(1)
    plan = msgspec.structs.replace(cluster.plan, ports={**cluster.plan.ports, "dispatch-2": port})
    return plan.node("dispatch-2", "triggers,dispatch")


async def _becomes(what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await holds():
        assert time.monotonic() < deadline, f"{what}: not so after {PATIENCE:.0f} s"
        await asyncio.sleep(LOOK_EVERY)


async def test_every_process_is_killed_in_turn_and_no_promise_is_broken(
    cluster: Cluster, name: str, tmp_path: Path
) -> None:
    print(f"seed {SEED}")
    log = LogReader(cluster)
    load = ClusterLoad(cluster.urls, SEED, name, settings_of(cluster.plan).kafka.partitions)
    work = ClusterWork(load, cluster.urls, tmp_path, random.Random(SEED))
    crashes = Crashes(cluster, load, work, log, random.Random(SEED))
    try:
        await asyncio.to_thread(crashes.second.start)
        await work.begin()
        await load.begin()
        for number in range(ROUNDS):
            await crashes.round(number)
        began = time.monotonic()
        await work.settle(log)
        await load.settle(log)
        await load.close_workers()
        await asyncio.to_thread(crashes.second.stop)
        load.check(log)
        work.check(log)
        for url in cluster.urls:
            read = await crashes.client.get(f"{url}/api/tasks?limit=1", headers={"consistency-token": log.token})
            assert read.status_code == 200, read.text
        settled = time.monotonic()
        await check_agreement(cluster, log.positions)
        print(f"{len(load.created)} tasks, {log.verdicts}; settled in {settled - began:.1f} s")
        print(f"verified in {time.monotonic() - settled:.1f} s")
    finally:
        await work.close()
        await load.close()
        await crashes.client.aclose()
        for process in cluster.plan.processes():
            process.resume()
        crashes.second.kill()
        await asyncio.to_thread(cluster.start)
