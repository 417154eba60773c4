"""`kill -9` of the serving process while an operation goes on: each task hears it once, and the counts are exact."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.e2e.instances import Instances, connected
from tests.e2e.serving import Serving

CRASHES = int(os.environ.get("TASKSCHEDULER_CRASHES", "4"))
SEED = int(os.environ.get("TASKSCHEDULER_CRASH_SEED", "1"))
TASKS = 1_000


@pytest.mark.slow
@pytest.mark.timeout(120 + 20 * CRASHES)
async def test_each_task_hears_it_once_through_kills(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    server = Serving(tmp_path / "data", TASKSCHEDULER_BULK__RATE="500")
    try:
        await server.start()
        async with connected((server.url,)) as users:
            task = {"name": "t", "schedule": {"manual": True}, "target": {"type": "noop"}}
            await users.write("POST", "/api/tasks/batch", {"tasks": [task] * TASKS})
            begun = await users.write(
                "POST", "/api/operations", {"action": "trigger", "filter": {"name": "t"}, "execute": True}
            )
        for _ in range(CRASHES):
            # The moment of the kill is what is tried here; there is nothing to wait for.
            await asyncio.sleep(chance.uniform(0.05, 0.4))
            server.kill()
            await server.start()
        async with connected((server.url,)) as users:
            await _ended(users, begun["id"])
            counts = [task["counts"]["fired"] for task in await users.pages("/api/tasks?limit=200")]
            assert counts == [1] * TASKS
    finally:
        server.end()


async def _ended(users: Instances, id: str) -> None:
    found = await users.until(f"/api/operations/{id}", lambda operation: operation["ended_at"] is not None)
    assert (found["status"], found["matched"], found["changed"]) == ("completed", TASKS, TASKS), found
    assert found["refused"] == {}
