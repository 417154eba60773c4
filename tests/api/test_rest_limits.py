"""Limits over REST, on a whole embedded node whose clock stands at the beginning of 2030."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

PATH = "/api/limits/queue:mail"

REST = 0.005
"""Seconds between two looks: a loop that never rests keeps the interpreter from the thread that waits for the disk."""


async def claims(api: httpx.AsyncClient, count: int = 0, queue: str = "mail") -> list[dict[str, Any]]:
    """All that can be claimed, once it is so many: runs are made just after their tasks."""
    found: list[dict[str, Any]] = []
    while True:
        reply = await api.post(f"/api/queues/{queue}/claims", json={"worker": "w", "max": 10})
        assert reply.status_code == 200, reply.text
        found += reply.json()["claims"]
        if len(found) >= count:
            return found
        await asyncio.sleep(REST)


async def tasks(api: httpx.AsyncClient, count: int, queue: str = "mail", **more: Any) -> None:
    body = {"name": "t", "target": {"type": "queue", "queue": queue, "kind": "k"}, **more}
    reply = await api.post("/api/tasks/batch", json={"tasks": [body] * count})
    assert reply.status_code == 200, reply.text


async def complete(api: httpx.AsyncClient, claim: dict[str, Any]) -> None:
    reply = await api.post(f"/api/claims/{claim['token']}/complete", json={})
    assert reply.status_code < 300, reply.text


async def in_use(api: httpx.AsyncClient, path: str, count: int) -> dict[str, Any]:
    """The limit, once so many slots are in use: they are released just after an attempt has ended."""
    while True:
        reply = await api.get(path)
        if reply.status_code == 404 and not count:
            return {}
        found: dict[str, Any] = reply.json()
        if found["in_use"] == count:
            return found
        await asyncio.sleep(REST)


async def test_a_limit_is_put_read_listed_and_deleted(api: httpx.AsyncClient) -> None:
    rate = {"count": 100, "per": "1m"}
    response = await api.put(PATH, json={"concurrency": 2, "rate": rate, "note": "its server is small"})
    assert response.status_code == 201, response.text
    assert (response.headers["location"], response.headers["etag"]) == (PATH, '"r1"')
    made = response.json()
    assert made == {
        "name": "queue:mail",
        "concurrency": 2,
        "rate": {"count": 100, "per": "PT1M", "burst": 100},
        "note": "its server is small",
        "in_use": 0,
        "own": None,
        "version": 1,
        "created_at": "2030-01-01T00:00:00.000Z",
        "updated_at": "2030-01-01T00:00:00.000Z",
    }
    assert (await api.get(PATH)).json() == made
    same = await api.put(PATH, json={"concurrency": 2, "rate": rate, "note": "its server is small"})
    assert (same.status_code, same.json(), "location" in same.headers) == (200, made, False)
    tag = await api.put("/api/limits/tag:path=a%2Fb", json={"concurrency": 1})
    assert tag.json()["name"] == "tag:path=a/b"
    host = await api.put("/api/limits/host:Example.COM", json={"concurrency": 1})
    assert host.json()["name"] == "host:example.com"
    listed = (await api.get("/api/limits?limit=2")).json()
    assert [limit["name"] for limit in listed["items"]] == ["host:example.com", "queue:mail"]
    again = await api.put(PATH, json={"concurrency": 3}, headers={"If-Match": '"r1"'})
    assert (again.status_code, again.json()["version"], again.json()["rate"]) == (200, 2, None)
    assert (await api.put(PATH, json={"concurrency": 4}, headers={"If-Match": '"r1"'})).status_code == 412
    assert (await api.delete(PATH)).status_code == 204
    assert (await api.get(PATH)).status_code == 404
    assert (await api.delete(PATH)).status_code == 404


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"concurrency": 0}, "/concurrency"),
        ({"concurrency": 10_001}, "/concurrency"),
        ({"rate": {}}, "/rate/count"),
        ({"rate": {"count": 1_001, "per": 0.001}}, "/rate/count"),
        ({"rate": {"count": 1, "burst": 0}}, "/rate/burst"),
        ({"rate": {"count": 1, "per": "2d"}}, "/rate/per"),
        ({"concurrency": 1, "other": 1}, "/other"),
    ],
)
async def test_what_is_no_limit_is_refused(api: httpx.AsyncClient, body: dict[str, Any], pointer: str) -> None:
    reply = await api.put(PATH, json=body)
    assert reply.status_code == 422, reply.text
    assert pointer in [error["pointer"] for error in reply.json()["errors"]]


@pytest.mark.parametrize("asked", ["*", '"r1"', '"r0"', 'W/"r1"'])
async def test_who_wants_a_version_makes_no_limit_that_is_not_there(api: httpx.AsyncClient, asked: str) -> None:
    for _ in range(2):
        refused = await api.put(PATH, json={"concurrency": 1}, headers={"If-Match": asked})
        assert refused.status_code == 412, refused.text
        made = await api.put(PATH, json={"concurrency": 1})
        assert (await api.put(PATH, json={"concurrency": 1}, headers={"If-Match": "*"})).status_code == 200
        assert (await api.delete(PATH, headers={"If-Match": made.headers["etag"]})).status_code == 204
        assert (await api.delete(PATH, headers={"If-Match": asked})).status_code == 404


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("key:a%2F%2Fb", "key:a//b"),
        ("key:a%2F", "key:a/"),
        ("key:..%2F..%2Ftasks", "key:../../tasks"),
        ("key:a%3Fb%23c%20d%25", "key:a?b#c d%"),
        ("key:b%C3%BCro", "key:büro"),
        ("host:%5B2001:DB8::1%5D", "host:2001:db8::1"),
        ("host:2001:db8::1", "host:2001:db8::1"),
        ("host:Example.COM.", "host:example.com"),
    ],
)
async def test_a_name_is_taken_as_it_stands_in_the_path(api: httpx.AsyncClient, path: str, name: str) -> None:
    made = await api.put(f"/api/limits/{path}", json={"concurrency": 1})
    assert (made.status_code, made.json()["name"]) == (201, name)
    found = await api.get(made.headers["location"])
    assert (found.status_code, found.json()["name"]) == (200, name)
    assert (await api.delete(made.headers["location"])).status_code == 204
    assert (await api.get("/api/limits")).json()["items"] == []


@pytest.mark.parametrize(
    "name",
    [
        "mail",
        "queue:",
        "queue:a%20b",
        "tag:team",
        "tag:=billing",
        "tag:team:a=billing",
        "group:x",
        "key:a%0Ab",
        "key:" + "x" * 300,
    ],
)
async def test_what_nothing_is_called_is_not_found(api: httpx.AsyncClient, name: str) -> None:
    reply = await api.put(f"/api/limits/{name}", json={"concurrency": 1})
    assert (reply.status_code, "one is called queue:<queue>" in reply.json()["detail"]) == (404, True)


@pytest.mark.parametrize("host", ["example.com:80", "[::1]:80", "http:%2F%2Fexample.com", "example.com%2Fjobs", "."])
async def test_a_host_is_named_alone(api: httpx.AsyncClient, host: str) -> None:
    reply = await api.put(f"/api/limits/host:{host}", json={"concurrency": 1})
    assert (reply.status_code, "a host stands without scheme" in reply.json()["detail"]) == (404, True)


@pytest.mark.parametrize(
    ("concurrency", "pointer"),
    [
        ({"key": "a"}, "/concurrency/limit"),
        ({"limit": 1}, "/concurrency/key"),
        ({"key": "a", "limit": 0}, "/concurrency/limit"),
        ({"key": "a\n", "limit": 1}, "/concurrency/key"),
        (3, "/concurrency"),
    ],
)
async def test_what_a_task_cannot_say_is_refused(api: httpx.AsyncClient, concurrency: Any, pointer: str) -> None:
    body = {"name": "t", "target": {"type": "noop"}, "concurrency": concurrency}
    reply = await api.post("/api/tasks", json=body)
    assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, pointer)


async def test_no_more_is_claimed_than_a_queue_allows(api: httpx.AsyncClient) -> None:
    await api.put(PATH, json={"concurrency": 2})
    await tasks(api, 5)
    first = await claims(api, 2)
    assert (len(first), await claims(api)) == (2, [])
    assert (await api.get(PATH)).json()["in_use"] == 2
    await complete(api, first[0])
    await in_use(api, PATH, 1)
    assert len(await claims(api, 1)) == 1
    await api.put(PATH, json={"concurrency": 1})
    await complete(api, first[1])
    await in_use(api, PATH, 1)
    assert await claims(api) == [], "one is still active, which is as many as may be now"
    await api.delete(PATH)
    assert len(await claims(api, 2)) == 2


async def test_tasks_of_a_key_share_what_they_allow_themselves(api: httpx.AsyncClient) -> None:
    for customer in ("a", "b"):
        await tasks(api, 3, concurrency={"key": customer, "limit": 1})
    await tasks(api, 1)
    first = await claims(api, 3)
    assert len(first) == 3
    limit = (await api.get("/api/limits/key:a")).json()
    assert (limit["concurrency"], limit["own"], limit["in_use"], limit["version"]) == (None, 1, 1, 0)
    assert [one["name"] for one in (await api.get("/api/limits")).json()["items"]] == ["key:a", "key:b"]
    await api.put("/api/limits/key:a", json={"concurrency": 3})
    assert len(await claims(api, 2)) == 2, "what is put goes before what tasks say"
    for claim in first:
        await complete(api, claim)
    await in_use(api, "/api/limits/key:b", 0)
    assert len(await claims(api, 1)) == 1


async def test_runs_with_a_tag_wait_and_others_do_not(api: httpx.AsyncClient) -> None:
    await api.put("/api/limits/tag:team=red", json={"concurrency": 1})
    await tasks(api, 4, tags={"team": "red"})
    await tasks(api, 2, tags={"team": "blue"})
    first = await claims(api, 3)
    assert len(first) == 3
    assert await claims(api) == []
    for claim in first:
        await complete(api, claim)
    await in_use(api, "/api/limits/tag:team=red", 0)
    assert len(await claims(api, 1)) == 1


async def test_why_says_which_limit_leaves_no_room(api: httpx.AsyncClient) -> None:
    await api.put(PATH, json={"concurrency": 1})
    await tasks(api, 2)
    [claim] = await claims(api, 1)
    [waits] = [task for task in (await api.get("/api/tasks")).json()["items"] if task["id"] != claim["task_id"]]
    why = await api.get(f"/api/tasks/{waits['id']}/why", params={"at": "2030-01-01T00:00:00Z"})
    assert "The limit queue:mail leaves no room for it now (1 in use)." in why.json()["answer"]


async def test_why_says_when_a_rate_lets_the_next_begin(api: httpx.AsyncClient) -> None:
    await api.put(PATH, json={"rate": {"count": 1, "per": "1h"}})
    await tasks(api, 2)
    [claim] = await claims(api, 1)
    [waits] = [task for task in (await api.get("/api/tasks")).json()["items"] if task["id"] != claim["task_id"]]
    why = await api.get(f"/api/tasks/{waits['id']}/why", params={"at": "2030-01-01T00:00:00Z"})
    said = "leaves no room for it now (by its rate the next may begin at 2030-01-01T01:00:00.000Z)."
    assert said in why.json()["answer"]


async def test_a_rate_holds_runs_up_until_it_is_time(api: httpx.AsyncClient) -> None:
    await api.put(PATH, json={"rate": {"count": 1, "per": "1h", "burst": 2}})
    await tasks(api, 3)
    assert len(await claims(api, 2)) == 2
    assert await claims(api) == []


async def test_server_targets_are_limited_too(api: httpx.AsyncClient) -> None:
    body = {"name": "t", "target": {"type": "noop"}, "tags": {"a": "b"}, "concurrency": {"key": "k", "limit": 1}}
    await api.put("/api/limits/tag:a=b", json={"concurrency": 2})
    await api.post("/api/tasks/batch", json={"tasks": [body] * 30})
    while len((await api.get("/api/tasks?status=completed&limit=200")).json()["items"]) < 30:
        await asyncio.sleep(REST)
    await in_use(api, "/api/limits/tag:a=b", 0)
    await in_use(api, "/api/limits/key:k", 0)


async def test_a_task_says_what_it_was_told(api: httpx.AsyncClient) -> None:
    body = {"id": "one", "name": "t", "schedule": {"every": "1h"}, "target": {"type": "noop"}}
    made = await api.post("/api/tasks", json={**body, "concurrency": {"key": "c-42", "limit": 2}})
    assert made.json()["concurrency"] == {"key": "c-42", "limit": 2}
    changed = await api.patch("/api/tasks/one", json={"concurrency": {"key": "c-43", "limit": 3}})
    assert changed.json()["concurrency"] == {"key": "c-43", "limit": 3}
    assert (await api.patch("/api/tasks/one", json={"concurrency": None})).json()["concurrency"] is None
