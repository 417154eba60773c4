"""Chains, end to end, in either profile: each success leads to each follower once, whichever instance is asked."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.instances import Instances

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NOOP = {"type": "noop"}


async def test_each_success_leads_to_each_follower_once(users: Instances, name: str) -> None:
    a, b, c, d = (f"{name}-{letter}" for letter in "abcd")
    manual = {"target": NOOP, "schedule": {"manual": True}}
    await users.create({"id": b, "name": "b", **manual})
    await users.create({"id": a, "name": "a", **manual, "then": [b]}, at=-1)
    await users.create({"id": c, "name": "c", "target": NOOP, "after": [b]})
    await users.create({"id": d, "name": "d", "target": NOOP, "after": [a, c]}, at=-1)
    refused = await users.send("PATCH", f"/api/tasks/{b}", {"then": [a]}, at=-1)
    assert (refused.status_code, "circle" in refused.text) == (422, True)
    started = await asyncio.gather(
        *(users.write("POST", f"/api/tasks/{a}/trigger", at=number % 2 - 1) for number in range(30))
    )
    for follower in (b, c):
        await users.until(f"/api/tasks/{follower}", lambda task: task["counts"]["succeeded"] == 30)
    made = [run["caused_by"]["run_id"] for run in await users.pages(f"/api/tasks/{b}/runs?cause=chain")]
    assert sorted(made) == sorted(one["run_id"] for one in started)
    joined = await users.until(f"/api/tasks/{d}", lambda task: task["last_run"] is not None)
    assert set(joined["last_run"]["upstream"]) == {a, c}
    graph = await users.read(f"/api/tasks/{b}/graph")
    assert {(edge["from"][-1], edge["to"][-1]) for edge in graph["edges"]} == {
        ("a", "b"),
        ("b", "c"),
        ("c", "d"),
        ("a", "d"),
    }
