"""Unique keys over REST: refused, replaced, or answered with the task that is there."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from rest_kit import Clock

from taskscheduler.api import uniques
from taskscheduler.api.bootstrap import EmbeddedNode
from taskscheduler.domain.definition import Uniqueness
from taskscheduler.domain.messages import Reserve
from taskscheduler.domain.unique import GRACE, unique_id

LATER = {"at": "2031-01-01T00:00:00Z"}
GOOD: dict[str, Any] = {"name": "x", "schedule": LATER, "target": {"type": "noop"}}


async def make(api: httpx.AsyncClient, on_conflict: str = "reject", key: str | None = None, **more: Any) -> Any:
    unique = {"key": "report 7", "on_conflict": on_conflict, **more.pop("unique", {})}
    headers = {} if key is None else {"Idempotency-Key": key}
    return await api.post("/api/tasks", json={**GOOD, "unique": unique, **more}, headers=headers)


async def test_a_second_task_is_refused_and_told_of_the_first(api: httpx.AsyncClient) -> None:
    first = await make(api)
    assert first.status_code == 201
    assert first.json()["unique"] == {"key": "report 7", "period": None, "on_conflict": "reject"}
    second = await make(api)
    assert (second.status_code, second.json()["type"]) == (409, "/docs#not-unique")
    assert second.json()["task_id"] == first.json()["id"]
    assert first.json()["id"] in second.json()["detail"]
    other = await make(api, unique={"key": "report 8"})
    assert other.status_code == 201


@pytest.mark.parametrize("end", ["cancel", "delete", "complete"])
async def test_the_key_is_free_as_soon_as_its_task_has_ended(api: httpx.AsyncClient, end: str) -> None:
    first = (await make(api)).json()["id"]
    path = f"/api/tasks/{first}"
    match end:
        case "cancel":
            await api.post(f"{path}/cancel")
        case "delete":
            await api.delete(path)
        case _:
            await api.patch(path, json={"schedule": None})
            async with asyncio.timeout(10):
                while (await api.get(path)).json()["status"] != "completed":
                    await asyncio.sleep(0.01)
    for on_conflict in ("reject", "return_existing"):
        made = await make(api, on_conflict)
        assert made.status_code == 201
        await api.post(f"/api/tasks/{made.json()['id']}/cancel")


@pytest.mark.parametrize("on_conflict", ["reject", "return_existing"])
async def test_whoever_asks_just_then_waits_for_the_word_of_one_that_has_ended(
    api: httpx.AsyncClient, node: EmbeddedNode, on_conflict: str
) -> None:
    first = (await make(api)).json()["id"]
    node.stepping._mine = frozenset()  # nobody carries steps out by itself meanwhile
    await api.post(f"/api/tasks/{first}/cancel")
    assert (await make(api, on_conflict)).status_code == 201


async def test_the_task_that_is_there_is_the_answer(api: httpx.AsyncClient) -> None:
    first = (await make(api)).json()
    found = await make(api, "return_existing")
    assert (found.status_code, found.json()["id"]) == (200, first["id"])
    assert found.headers["unique-existing"] == "true"
    assert found.headers["location"] == f"/api/tasks/{first['id']}"
    assert len((await api.get("/api/tasks")).json()["items"]) == 1


async def test_one_takes_the_place_of_the_other(api: httpx.AsyncClient) -> None:
    first = (await make(api)).json()["id"]
    await api.post(f"/api/tasks/{first}/trigger")
    second = await make(api, "replace")
    assert second.status_code == 201
    old = (await api.get(f"/api/tasks/{first}")).json()
    assert old["status"] == "cancelled"
    events = (await api.get(f"/api/tasks/{first}/events")).json()["items"]
    assert [event["data"] for event in events if event["type"] == "task.cancelled.v1"] == [{"by": "unique"}]
    assert (await make(api)).json()["task_id"] == second.json()["id"]


async def test_a_period_outlasts_the_task_and_ends(api: httpx.AsyncClient, clock: Clock) -> None:
    period = {"period": "1h"}
    first = (await make(api, unique=period)).json()["id"]
    await api.post(f"/api/tasks/{first}/cancel")
    assert (await make(api, unique=period)).json()["task_id"] == first
    clock.now += 3_600_000
    assert (await make(api, unique=period)).status_code == 201


async def test_a_repeated_request_gets_the_same_answer(api: httpx.AsyncClient) -> None:
    made = [await make(api, key="k1") for _ in range(2)]
    assert [(reply.status_code, reply.json()["id"]) for reply in made] == [(201, made[0].json()["id"])] * 2
    assert made[1].headers["idempotent-replayed"] == "true"
    found = [await make(api, "return_existing", key="k2") for _ in range(2)]
    await api.post(f"/api/tasks/{made[0].json()['id']}/cancel")
    found.append(await make(api, "return_existing", key="k2"))
    assert [(reply.status_code, reply.json()["id"]) for reply in found] == [(200, made[0].json()["id"])] * 3
    assert [reply.headers.get("idempotent-replayed") for reply in found] == [None, "true", "true"]
    assert (await make(api, "return_existing", key="k2", name="y")).json()["type"] == "/docs#key-reused"
    again = await make(api, key="k1")
    assert (again.status_code, again.json()["id"]) == (201, made[0].json()["id"])
    assert (await make(api, key="k3")).status_code == 201


async def test_of_many_at_once_one_is_made(api: httpx.AsyncClient) -> None:
    replies = await asyncio.gather(*[make(api, "return_existing" if n % 2 else "reject") for n in range(20)])
    made = [reply for reply in replies if reply.status_code == 201]
    assert len(made) == 1
    for reply in replies:
        if reply.status_code == 200:
            assert reply.json()["id"] == made[0].json()["id"]
        elif reply.status_code == 409:
            assert reply.json()["task_id"] == made[0].json()["id"]
    replies = await asyncio.gather(*[make(api, "replace") for _ in range(10)])
    assert {reply.status_code for reply in replies} == {201}
    async with asyncio.timeout(10):
        while len((await api.get("/api/tasks?status=scheduled")).json()["items"]) != 1:
            await asyncio.sleep(0.01)
    [left] = (await api.get("/api/tasks?status=scheduled")).json()["items"]
    assert (await make(api)).json()["task_id"] == left["id"]


async def test_whose_place_is_taken_while_it_is_being_made_is_there_first(
    api: httpx.AsyncClient, node: EmbeddedNode
) -> None:
    await node.handler.handle(unique_id("report 7"), Reserve("first", Uniqueness("report 7")))
    asking = asyncio.create_task(make(api, "replace"))
    assert (await make(api)).json()["task_id"] == "first"
    assert (await make(api, id="first")).status_code == 201
    second = await asking
    assert second.status_code == 201
    assert (await api.get("/api/tasks/first")).json()["status"] == "cancelled"
    assert (await make(api)).json()["task_id"] == second.json()["id"]


async def test_the_place_of_what_nobody_makes_is_taken(
    api: httpx.AsyncClient, node: EmbeddedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uniques, "WAIT", 0.0)
    await node.handler.handle(unique_id("report 7"), Reserve("never-made", Uniqueness("report 7")))
    assert (await make(api, "replace")).status_code == 201


async def test_what_is_not_made_takes_no_key(api: httpx.AsyncClient) -> None:
    await api.post("/api/tasks", json={**GOOD, "id": "taken"})
    refused = await make(api, id="taken")
    assert (refused.status_code, refused.json()["type"]) == (409, "/docs#exists")
    assert (await make(api)).status_code == 201


async def test_each_of_a_batch_on_its_own(api: httpx.AsyncClient) -> None:
    first = (await make(api)).json()["id"]
    unique = {"key": "report 7"}
    tasks = [
        {**GOOD, "unique": {"key": "other"}},
        {**GOOD, "unique": unique},
        {**GOOD, "unique": {**unique, "on_conflict": "return_existing"}},
        {**GOOD, "unique": {"key": "other"}},
        GOOD,
    ]
    results = (await api.post("/api/tasks/batch", json={"tasks": tasks})).json()["results"]
    statuses = [result["status"] for result in results]
    assert statuses[1:3] + statuses[4:] == [409, 200, 201]
    assert sorted((statuses[0], statuses[3])) == [201, 409]
    assert (results[1]["error"]["task_id"], results[2]["task"]["id"]) == (first, first)


async def test_a_reservation_that_nobody_made_use_of_is_given_up(
    api: httpx.AsyncClient, node: EmbeddedNode, clock: Clock
) -> None:
    await node.handler.handle(unique_id("report 7"), Reserve("never-made", Uniqueness("report 7")))
    taken = await make(api)
    assert (taken.status_code, taken.json()["task_id"]) == (409, "never-made")
    clock.now += GRACE
    async with asyncio.timeout(10):
        while (made := await make(api)).status_code != 201:
            await asyncio.sleep(0.01)
    assert made.json()["unique"]["key"] == "report 7"


@pytest.mark.parametrize(
    ("unique", "pointers"),
    [
        ({}, ["/unique/key"]),
        ({"key": ""}, ["/unique/key"]),
        ({"key": "x", "period": 0, "on_conflict": "merge"}, ["/unique/on_conflict", "/unique/period"]),
        ({"key": "x", "scope": 1}, ["/unique/scope"]),
        ("x", ["/unique"]),
    ],
)
async def test_what_cannot_be_is_refused(api: httpx.AsyncClient, unique: Any, pointers: list[str]) -> None:
    response = await api.post("/api/tasks", json={**GOOD, "unique": unique})
    assert response.status_code == 422
    assert sorted(error["pointer"] for error in response.json()["errors"]) == pointers


async def test_it_is_fixed_when_the_task_is_made(api: httpx.AsyncClient) -> None:
    path = f"/api/tasks/{(await make(api)).json()['id']}"
    refused = await api.patch(path, json={"unique": {"key": "y"}})
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/unique"]
    assert (await api.patch(path, json={"name": "y"})).json()["unique"]["key"] == "report 7"
