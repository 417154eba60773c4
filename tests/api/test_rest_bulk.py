"""Operations over many tasks over REST, on a whole embedded node."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from rest_kit import Clock

from taskscheduler.api.bootstrap import EmbeddedNode
from taskscheduler.commands.handler import Answer, Ask, Unavailable
from taskscheduler.domain.errors import Invalid
from taskscheduler.domain.messages import Selected
from taskscheduler.domain.operation import Operation
from taskscheduler.streams.operations import Page

DAY = 24 * 3_600_000


async def make(api: httpx.AsyncClient, count: int, prefix: str = "t", **fields: Any) -> list[str]:
    task = {"name": "t", "schedule": {"every": "1h"}, "target": {"type": "noop"}, "tags": {"team": "a"}, **fields}
    ids = [f"{prefix}{number:03}" for number in range(count)]
    response = await api.post("/api/tasks/batch", json={"tasks": [{"id": id, **task} for id in ids]})
    assert {result["status"] for result in response.json()["results"]} <= {201}
    return ids


async def start(api: httpx.AsyncClient, action: str, filter: Any = None, **more: Any) -> dict[str, Any]:
    body = {"action": action, "execute": True, **more, **({} if filter is None else {"filter": filter})}
    response = await api.post("/api/operations", json=body)
    assert response.status_code == 202, response.text
    found: dict[str, Any] = response.json()
    assert response.headers["location"] == f"/api/operations/{found['id']}"
    return found


async def ended(api: httpx.AsyncClient, id: str) -> dict[str, Any]:
    for _ in range(1_000):
        found: dict[str, Any] = (await api.get(f"/api/operations/{id}")).json()
        if found["ended_at"]:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(found)


def sums(operation: dict[str, Any]) -> tuple[int, int, int, dict[str, int]]:
    refused = {reason: one["count"] for reason, one in operation["refused"].items()}
    return operation["matched"], operation["changed"], operation["unchanged"], refused


async def test_a_dry_run_counts_and_changes_nothing(api: httpx.AsyncClient) -> None:
    await make(api, 12)
    await make(api, 3, "u", tags={"team": "b"})
    response = await api.post("/api/operations", json={"action": "delete", "filter": {"tags": {"team": "a"}}})
    preview = response.json()
    assert (response.status_code, preview["matched"], preview["more"], len(preview["sample"])) == (200, 12, False, 10)
    some = {"action": "delete", "filter": {"ids": ["t001", "u001", "none"], "tags": {"team": "a"}}}
    assert (await api.post("/api/operations", json=some)).json()["matched"] == 1
    assert (await api.post("/api/operations", json={"action": "delete", "all": True})).json()["matched"] == 15
    assert (await api.get("/api/operations")).json()["items"] == []


async def test_many_tasks_are_paused_and_resumed(api: httpx.AsyncClient, clock: Clock) -> None:
    await make(api, 250)
    await make(api, 3, "u", tags={"team": "b"})
    await api.post("/api/tasks/t007/pause")
    clock.now += 1
    begun = await start(api, "pause", {"tags": {"team": "a"}}, arguments={"note": "migration"})
    assert (begun["status"], begun["expected"], begun["by"]) == ("running", 250, "anonymous")
    found = await ended(api, begun["id"])
    assert (found["status"], found["done"], sums(found)) == ("completed", 250, (250, 249, 1, {}))
    task = (await api.get("/api/tasks/t123")).json()
    assert (task["status"], task["pause"]["note"], task["pause"]["by"]) == ("paused", "migration", "anonymous")
    events = (await api.get("/api/tasks/t123/events")).json()["items"]
    assert [event["cause"] for event in events if event["type"] == "task.paused.v1"] == [f"operation/{begun['id']}"]
    assert (await api.get("/api/tasks/u001")).json()["status"] == "scheduled"
    clock.now += 1
    again = await ended(api, (await start(api, "resume", {"status": "paused"}, arguments={"missed": "all"}))["id"])
    assert sums(again) == (250, 250, 0, {})
    assert [one["id"] for one in (await api.get("/api/operations")).json()["items"]] == [again["id"], begun["id"]]


async def test_what_is_refused_is_counted_by_reason(api: httpx.AsyncClient) -> None:
    ids = await make(api, 3)
    await api.post("/api/tasks/t001/cancel")
    await api.delete("/api/tasks/t002")
    found = await ended(api, (await start(api, "cancel", {"ids": [*ids, "none"]}))["id"])
    assert sums(found) == (4, 1, 0, {"wrong_state": 1, "deleted": 1, "not_found": 1})
    assert found["refused"]["wrong_state"]["example"].startswith("t001: the task is cancelled")


async def test_tags_are_set_and_taken_off(api: httpx.AsyncClient) -> None:
    await make(api, 3)
    await ended(api, (await start(api, "tag", all=True, arguments={"tags": {"env": "prod", "team": "b"}}))["id"])
    assert (await api.get("/api/tasks/t001")).json()["tags"] == {"env": "prod", "team": "b"}
    found = await ended(api, (await start(api, "untag", {"name": "T"}, arguments={"tags": ["team"]}))["id"])
    task = (await api.get("/api/tasks/t001")).json()
    assert (task["tags"], task["revision"], found["arguments"]) == ({"env": "prod"}, 3, {"tags": ["team"]})


async def test_tasks_made_after_it_began_are_left_alone(
    api: httpx.AsyncClient, clock: Clock, node: EmbeddedNode
) -> None:
    await make(api, 150)
    held, asked = asyncio.Event(), node.handler.handle_many

    async def later(asks: Sequence[Ask]) -> list[Answer]:
        if asks and isinstance(asks[0].command, Selected):
            await held.wait()
        return await asked(asks)

    node.handler.handle_many = later  # type: ignore[method-assign]
    begun = await start(api, "delete", all=True)
    clock.now += 1
    await make(api, 5, "u")
    held.set()
    assert sums(await ended(api, begun["id"])) == (150, 150, 0, {})
    assert len((await api.get("/api/tasks")).json()["items"]) == 5


async def test_it_can_be_cancelled(api: httpx.AsyncClient, node: EmbeddedNode) -> None:
    await make(api, 300)
    node.operations._rate = 200
    begun = await start(api, "trigger", all=True)
    cancelled = await api.post(f"/api/operations/{begun['id']}/cancel")
    assert (cancelled.status_code, cancelled.json()["cancelled_by"]) == (200, "anonymous")
    found = await ended(api, begun["id"])
    assert found["status"] == "cancelled" and found["done"] == found["matched"] <= 100
    assert (await api.post(f"/api/operations/{begun['id']}/cancel")).status_code == 409
    assert (await api.post("/api/operations/none/cancel")).status_code == 404
    assert (await api.get("/api/operations/none")).status_code == 404


async def test_what_was_not_answered_is_asked_again_and_done_once(api: httpx.AsyncClient, node: EmbeddedNode) -> None:
    await make(api, 120, schedule={"manual": True})
    asked, lost = node.handler.handle_many, [2]

    async def unanswered(asks: Sequence[Ask]) -> list[Answer]:
        answers = await asked(asks)
        if asks and isinstance(asks[0].command, Selected) and lost[0]:
            lost[0] -= 1
            return [Unavailable("lost", "unknown"), *answers[1:]]
        return answers

    node.handler.handle_many = unanswered  # type: ignore[method-assign]
    found = await ended(api, (await start(api, "trigger", {"tags": {"team": "a"}}))["id"])
    assert sums(found) == (120, 120, 0, {})
    counts = [task["counts"]["fired"] for task in (await api.get("/api/tasks?limit=200")).json()["items"]]
    assert counts == [1] * 120


async def test_one_that_cannot_go_on_holds_up_no_other(api: httpx.AsyncClient, node: EmbeddedNode) -> None:
    await make(api, 2)
    looked_up = node.operations._source.page
    loop, said = asyncio.get_running_loop(), list[str]()
    loop.set_exception_handler(lambda _, context: said.append(context["message"]))

    async def broken(operation: Operation, limit: int) -> Page:
        if operation.definition is not None and operation.definition.action == "pause":
            raise RuntimeError
        return await looked_up(operation, limit)

    node.operations._source.page = broken  # type: ignore[method-assign]
    await start(api, "pause", all=True)
    assert sums(await ended(api, (await start(api, "trigger", all=True))["id"]))[1] == 2
    assert "cannot go on" in said[0]
    loop.set_exception_handler(None)


async def test_a_cursor_that_is_no_longer_one_begins_anew(api: httpx.AsyncClient, node: EmbeddedNode) -> None:
    await make(api, 150, schedule={"manual": True})
    looked_up, once = node.queries.tasks, [1]

    async def forgetful(*args: Any, **more: Any) -> Any:
        if more.get("cursor") is not None and once:
            raise Invalid("/cursor", f"another release {once.pop()}")
        return await looked_up(*args, **more)

    node.queries.tasks = forgetful  # type: ignore[method-assign]
    await ended(api, (await start(api, "trigger", {"tags": {"team": "a"}}))["id"])
    counts = [task["counts"]["fired"] for task in (await api.get("/api/tasks?limit=200")).json()["items"]]
    assert counts == [1] * 150


async def test_a_key_starts_one(api: httpx.AsyncClient) -> None:
    await make(api, 2)
    body = {"action": "trigger", "all": True, "execute": True}
    first = await api.post("/api/operations", json=body, headers={"Idempotency-Key": "k"})
    await ended(api, first.json()["id"])
    again = await api.post("/api/operations", json=body, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again.headers["idempotent-replayed"] == "true"
    assert (await api.get("/api/tasks/t001")).json()["counts"]["fired"] == 1
    other = await api.post("/api/operations", json={**body, "action": "cancel"}, headers={"Idempotency-Key": "k"})
    assert other.status_code == 422


async def test_it_is_forgotten(api: httpx.AsyncClient, clock: Clock, node: EmbeddedNode) -> None:
    begun = await start(api, "pause", all=True)
    assert sums(await ended(api, begun["id"])) == (0, 0, 0, {})
    clock.now += 31 * DAY
    node.timers.changed()
    for _ in range(500):
        if (await api.get(f"/api/operations/{begun['id']}")).status_code == 404:
            break
        await asyncio.sleep(0.01)
    assert (await api.get("/api/operations")).json()["items"] == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"filter": {"status": "paused"}}, "/action"),
        ({"action": "explode", "all": True}, "/action"),
        ({"action": "pause"}, "/filter"),
        ({"action": "pause", "filter": {}}, "/filter"),
        ({"action": "pause", "filter": {"status": "paused"}, "all": True}, "/all"),
        ({"action": "pause", "filter": {"status": "odd"}}, "/filter/status"),
        ({"action": "pause", "filter": {"ids": ["no id"]}}, "/filter/ids/0"),
        ({"action": "pause", "filter": {"x": 1}}, "/filter/x"),
        ({"action": "cancel", "all": True, "arguments": {"note": "x"}}, "/arguments/note"),
        ({"action": "tag", "all": True}, "/arguments/tags"),
        ({"action": "tag", "all": True, "arguments": {"tags": {"a:b": "c"}}}, "/arguments/tags/a:b"),
        ({"action": "untag", "all": True, "arguments": {"tags": []}}, "/arguments/tags"),
        ({"action": "untag", "all": True, "arguments": {"tags": {"a": "b"}}}, "/arguments/tags"),
        ({"action": "untag", "all": True}, "/arguments/tags"),
    ],
)
async def test_what_cannot_be_meant_is_refused(api: httpx.AsyncClient, body: dict[str, Any], pointer: str) -> None:
    response = await api.post("/api/operations", json={**body, "execute": True})
    assert (response.status_code, [error["pointer"] for error in response.json()["errors"]]) == (422, [pointer])
