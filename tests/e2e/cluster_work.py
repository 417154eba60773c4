"""Real workers, limits and a chain in a cluster whose processes are being killed, and what must be true afterwards."""

from __future__ import annotations

import asyncio
import random
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.e2e.cluster_load import ClusterLoad
from tests.e2e.crew import Crew
from tests.e2e.limited import LEASE, Limited
from tests.e2e.log_reader import PATIENCE, LogReader

PAUSE = 0.25
"""Seconds between two tasks under limits."""

QUICK = 0.02
"""Seconds that an attempt in the chain takes."""


class ClusterWork:
    """Two workers for each queue, one at each instance of the API.

    Each success of `lead` lets `then` and `after` run, and each of `then` lets `last` run.
    """

    def __init__(self, load: ClusterLoad, urls: Sequence[str], folder: Path, chance: random.Random) -> None:
        self._load = load
        self._urls = urls
        self._name = f"{load.name}limited"
        self._limited = Limited(self._name, chance)
        self._crew = Crew(urls[0], folder, "wire_worker.py")
        self._places = {
            f"{queue}-{number}": (queue, url) for queue in self._limited.queues for number, url in enumerate(urls)
        }
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._enough = asyncio.Event()
        self._creating: asyncio.Task[None] | None = None
        self._ids: list[str] = []
        self._chain = tuple(f"{self._name}-{name}" for name in ("lead", "then", "after", "last"))

    async def begin(self) -> None:
        """Limits that every instance knows, then tasks and workers."""
        for name, body in self._limited.put.items():
            for _ in self._urls:  # who is told what is there already has read the log up to its end
                await self._ask("PUT", f"/api/limits/{name}", body)
        await self._begin_chain()
        self._creating = asyncio.create_task(self._create())
        for name in self._places:
            self._start(name)

    async def _begin_chain(self) -> None:
        lead, then, after, last = self._chain
        manual = {"schedule": {"manual": True}}
        await self._load.make({"id": last, "name": last, "target": {"type": "noop"}, **manual})
        queue, (*_, key) = self._limited.queues[1], self._limited.keys
        await self._load.make({**self._limited.task(queue, "red", None, QUICK), "id": then, "then": [last], **manual})
        await self._load.make({**self._limited.task(queue, "grey", None, QUICK), "id": lead, "then": [then], **manual})
        await self._load.make({**self._limited.task(queue, "grey", key, QUICK), "id": after, "after": [lead]})
        await self._ask("PATCH", f"/api/tasks/{lead}", {"schedule": {"every": "1s"}, "overlap": "allow_all"})

    async def _create(self) -> None:
        while not self._enough.is_set():
            id = f"{self._name}-{len(self._ids)}"
            await self._load.make({**self._limited.spec(), "id": id})
            self._ids.append(id)
            await asyncio.sleep(PAUSE)

    async def kill_worker(self) -> None:
        """One that has just been given something; another with its name comes at once."""
        name = await self._crew.given()
        self._workers[name].kill()
        self._workers[name].wait()
        self._start(name)

    def _start(self, name: str) -> None:
        queue, url = self._places[name]
        self._workers[name] = self._crew.start(queue, name, url=url, lease=LEASE)

    async def settle(self, log: LogReader) -> None:
        """Returns when all runs have ended and no slot is held; one that nobody claimed with is for half a minute."""
        assert self._creating is not None
        self._enough.set()
        await self._creating
        await self._ask("PATCH", f"/api/tasks/{self._chain[0]}", {"schedule": {"manual": True}})
        await log.until(self._all_ended, "all that is under limits has ended")
        deadline = time.monotonic() + PATIENCE
        while any([await self._in_use() for _ in self._urls]):
            assert time.monotonic() < deadline, "slots are held for nobody"
            await asyncio.sleep(0.2)
        for id in self._chain:
            await self._ask("POST", f"/api/tasks/{id}/cancel", {})
            self._load.cancelled.add(id)
        for worker in self._workers.values():
            await self._crew.stop(worker)

    async def _in_use(self) -> int:
        page = await self._ask("GET", "/api/limits?limit=200")
        return sum(limit["in_use"] for limit in page["items"] if self._name in limit["name"])

    def _all_ended(self, log: LogReader) -> bool:
        ended = all((task := log.tasks.get(id)) is not None and task.status == "completed" for id in self._ids)
        return ended and all(not log.tasks[id].runs for id in self._chain) and not self._unled(log)

    def _unled(self, log: LogReader) -> list[str]:
        """Where not each success has led to one run of its follower."""
        lead, then, after, last = self._chain
        wrong = []
        for before, follower in ((lead, then), (lead, after), (then, last)):
            led = Counter(
                event["data"]["upstream"][before]["run_id"]
                for event in log.histories[follower]
                if event["type"] == "run.queued.v1"
            )
            succeeded = {e["data"]["run_id"] for e in log.histories[before] if e["type"] == "attempt.succeeded.v1"}
            if led != Counter(succeeded):
                wrong.append(f"{before} to {follower}: {led - Counter(succeeded)}, {Counter(succeeded) - led}")
        return wrong

    def check(self, log: LogReader) -> None:
        """No limit was exceeded, nothing begun twice or by another than the log says, each follower led once."""
        assert not (wrong := self._unled(log)), wrong
        held = self._limited.check(self._crew.entries())
        claimed = {
            (event["data"]["run_id"], event["data"]["number"]): event["data"]["worker"]
            for id in (*self._ids, *self._chain)
            for event in log.histories[id]
            if event["type"] == "attempt.claimed.v1"
        }
        strange = [hold for hold in held if claimed.get((hold.run_id, hold.attempt)) != hold.worker]
        assert not strange, f"the log gave these to nobody, or to others: {strange}"
        assert any(not hold.left for hold in held), "nothing was held by who was killed"

    async def close(self) -> None:
        """End all of it."""
        if self._creating is not None:
            self._creating.cancel()
        self._crew.end()

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        status, reply = await self._load.ask(method, path, body)
        assert status < 300, (method, path, status, reply)
        return reply
