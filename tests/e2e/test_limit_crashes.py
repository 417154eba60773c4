"""`kill -9` of the server and of workers, and a network that is cut: no limit is ever exceeded, and no slot is lost.

What was active when is taken from what the workers wrote down. `TASKSCHEDULER_CRASHES` sets how often each of it
happens (4), `TASKSCHEDULER_CRASH_SEED` where chance begins (1).
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import pytest

from taskscheduler.client import AsyncClient, TaskSpec
from tests.e2e.crew import Crew
from tests.e2e.limited import LEASE, Limited
from tests.e2e.serving import Serving
from tests.support.proxy import Cut, Proxy, proxied

CRASHES = int(os.environ.get("TASKSCHEDULER_CRASHES", "4"))
SEED = int(os.environ.get("TASKSCHEDULER_CRASH_SEED", "1"))
CUTS: tuple[Cut, ...] = ("refused", "requests", "replies")

BATCH = 8
EVERY = 0.5
"""Seconds between batches of tasks: somewhat less than the limits let through."""


class Trouble:
    """Two workers for each queue, one of them behind a network that can be cut, and what is done to them."""

    def __init__(self, server: Serving, crew: Crew, proxy: Proxy, queues: Sequence[str], chance: random.Random) -> None:
        self._server = server
        self._crew = crew
        self._proxy = proxy
        self._chance = chance
        self._cuts = cycle(CUTS)
        self._places = {
            f"{queue}-{place}": (queue, url)
            for queue in queues
            for place, url in (("near", server.url), ("far", proxy.url))
        }
        self.workers = {name: self._begin(name) for name in self._places}

    def _begin(self, name: str) -> subprocess.Popen[bytes]:
        queue, url = self._places[name]
        return self._crew.start(queue, name, url=url, lease=LEASE)

    async def run(self) -> None:
        """All of it, in an order that chance gives."""
        steps = [self._kill_server, self._kill_worker, self._cut, self._heal] * CRASHES
        for step in self._chance.sample(steps, len(steps)):
            await self._crew.given()
            # The moment is what is tried here; there is nothing to wait for.
            await asyncio.sleep(self._chance.uniform(0, 1))
            await step()
        await self._heal()

    async def _kill_server(self) -> None:
        """It is away for some time, now and then for longer than leases last."""
        self._server.kill()
        await asyncio.sleep(self._chance.choice((0, 0, LEASE)))
        await self._server.start()

    async def _kill_worker(self) -> None:
        """One that has just been given something; another with its name comes at once."""
        name = await self._crew.given()
        self.workers[name].kill()
        self.workers[name].wait()
        self.workers[name] = self._begin(name)

    async def _cut(self) -> None:
        self._proxy.cut(next(self._cuts))

    async def _heal(self) -> None:
        self._proxy.heal()


async def load(client: AsyncClient, limited: Limited, enough: asyncio.Event) -> int:
    """Create tasks until that is enough; how many there are."""
    count = 0
    while not enough.is_set():
        specs = [TaskSpec(**limited.spec(), idempotency_key=f"{count + n}") for n in range(BATCH)]
        count += len(specs)
        while specs:
            made = await client.create_tasks(specs)
            assert {one.status for one in made} <= {201, 503}, made
            specs = [spec for spec, one in zip(specs, made, strict=True) if one.status == 503]
        await asyncio.sleep(EVERY)
    return count


async def all_is_over(client: AsyncClient, count: int) -> None:
    """Every task has succeeded, and no slot is held; one that nobody could claim with is held for half a minute."""
    while [task.status async for task in client.iter_tasks()] != ["completed"] * count:
        await asyncio.sleep(0.2)
    while any([limit.in_use async for limit in client.iter_limits()]):
        await asyncio.sleep(0.2)


async def verify(data_dir: Path) -> None:
    """What was made of the log is what it says."""
    verifying = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("taskscheduler")), "replay", "verify", "--data-dir", str(data_dir)),
        env={name: value for name, value in os.environ.items() if not name.startswith("TASKSCHEDULER_")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await verifying.communicate()
    assert verifying.returncode == 0, output.decode()


@pytest.mark.slow
@pytest.mark.timeout(180 + 30 * CRASHES)
async def test_no_limit_is_exceeded_through_kills_and_cuts(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    limited = Limited("limited", chance)
    server = Serving(tmp_path / "data")
    crew = Crew(server.url, tmp_path, "wire_worker.py")
    try:
        await server.start()
        async with proxied(server.port) as proxy, AsyncClient(server.url) as client:
            for name, body in limited.put.items():
                await client.put_limit(name, **body)
            trouble = Trouble(server, crew, proxy, limited.queues, chance)
            enough = asyncio.Event()
            loading = asyncio.create_task(load(client, limited, enough))
            await trouble.run()
            enough.set()
            await all_is_over(client, await loading)
            for worker in trouble.workers.values():
                await crew.stop(worker)
        held = limited.check(crew.entries())
        assert any(not hold.left for hold in held), "nothing was held by who was killed"
        assert await server.stop() == 0
        await verify(server.data_dir)
    finally:
        crew.end()
        server.end()
