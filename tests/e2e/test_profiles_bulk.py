"""Operations over many tasks, end to end, in either profile."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.instances import Instances

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


async def test_many_tasks_are_triggered_once_and_cancelled(users: Instances, name: str) -> None:
    task = {"name": name, "schedule": {"manual": True}, "target": {"type": "noop"}, "tags": {"set": name}}
    made = await users.write("POST", "/api/tasks/batch", {"tasks": [task] * 230})
    filter = {"tags": {"set": name}}
    body = {"action": "trigger", "filter": filter, "execute": True}
    begun = await asyncio.gather(
        *(users.write("POST", "/api/operations", body, at=number - 1, Idempotency_Key=name) for number in range(2))
    )
    assert begun[0]["id"] == begun[1]["id"]
    path = f"/api/operations/{begun[0]['id']}"
    found = await users.until(path, lambda operation: operation["ended_at"] is not None)
    assert (found["matched"], found["changed"], found["refused"]) == (230, 230, {})
    for one in made["results"][::40]:
        await users.until(f"/api/tasks/{one['task']['id']}", lambda task: task["counts"]["succeeded"] == 1)
    begun = await users.write("POST", "/api/operations", {"action": "cancel", "filter": filter, "execute": True}, at=-1)
    found = await users.until(f"/api/operations/{begun['id']}", lambda operation: operation["ended_at"] is not None)
    assert (found["status"], found["changed"]) == ("completed", 230)
    # What is shown of the operation may be ahead of what is shown of tasks in other partitions of the log.
    left = f"/api/tasks?tag=set:{name}&status=scheduled"
    await users.until(left, lambda page: not page["items"] and page["next_cursor"] is None)
    assert begun["id"] in [one["id"] for one in await users.pages("/api/operations?limit=10")]
