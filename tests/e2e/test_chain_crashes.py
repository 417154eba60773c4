"""`kill -9` of the serving process while chains go on: each success leads to each follower exactly once.

`TASKSCHEDULER_CRASHES` sets how many kills (5), `TASKSCHEDULER_CRASH_SEED` where chance begins (1).
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.serving import Serving

CRASHES = int(os.environ.get("TASKSCHEDULER_CRASHES", "5"))
SEED = int(os.environ.get("TASKSCHEDULER_CRASH_SEED", "1"))
NOOP = {"type": "noop"}


async def runs_of(session: aiohttp.ClientSession, task_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    path: str | None = f"/api/tasks/{task_id}/runs?limit=200"
    while path is not None:
        async with session.get(path) as response:
            body = await response.json()
            found += body["items"]
            path = body["next_cursor"] and f"/api/tasks/{task_id}/runs?limit=200&cursor={body['next_cursor']}"
    return found


@pytest.mark.slow
@pytest.mark.timeout(120 + 20 * CRASHES)
async def test_each_success_leads_to_each_follower_once_through_kills(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    server = Serving(tmp_path / "data")
    try:
        await server.start()
        manual = {"manual": True}
        async with aiohttp.ClientSession(server.url) as session:
            for body in (
                {"id": "c", "name": "c", "target": NOOP, "schedule": manual},
                {"id": "b", "name": "b", "target": NOOP, "schedule": manual, "then": ["c"]},
                {"id": "a", "name": "a", "target": NOOP, "schedule": {"every": "100ms"}, "overlap": "allow_all"},
                {"id": "d", "name": "d", "target": NOOP, "after": ["a"]},
            ):
                async with session.post("/api/tasks", json=body) as response:
                    assert response.status == 201, await response.text()
            async with session.patch("/api/tasks/a", json={"then": ["b"]}) as response:
                assert response.status == 200, await response.text()
        for _ in range(CRASHES):
            # The moment of the kill is what is tried here; there is nothing to wait for.
            await asyncio.sleep(chance.uniform(0.2, 1.0))
            server.kill()
            await server.start()
        async with aiohttp.ClientSession(server.url) as session:
            async with session.patch("/api/tasks/a", json={"schedule": {"at": "2199-01-01T00:00:00Z"}}) as response:
                assert response.status == 200, await response.text()
            deadline = time.monotonic() + 60
            while True:
                runs = {task_id: await runs_of(session, task_id) for task_id in "abcd"}
                async with session.get("/actuator/prometheus") as response:
                    waiting = "taskscheduler_steps_waiting 0.0" not in await response.text()
                if not waiting and all(run["finished_at"] for each in runs.values() for run in each):
                    break
                assert time.monotonic() < deadline, "it does not come to rest"
                await asyncio.sleep(0.05)
        for before, follower in (("a", "b"), ("b", "c"), ("a", "d")):
            ended = sorted(run["id"] for run in runs[before] if run["status"] == "succeeded")
            caused = sorted(run["caused_by"]["run_id"] for run in runs[follower])
            linked = ended[-len(caused) :]  # b and d were linked while a ran already
            assert linked == caused, f"{before} to {follower}"
            assert len(ended) - len(caused) <= (0 if before == "b" else 20)
        assert len(runs["c"]) > CRASHES
    finally:
        server.end()
