"""The registry of workers over REST."""

from __future__ import annotations

from typing import Any

import httpx
from rest_kit import Clock

SAYS: dict[str, Any] = {
    "instance": "i1",
    "queues": ["mail"],
    "kinds": ["send", "$exec"],
    "concurrency": 4,
    "version": "1.2",
    "host": "h",
    "pid": 7,
    "running": 2,
}


async def announce(api: httpx.AsyncClient, name: str = "w", **changes: Any) -> Any:
    reply = await api.post(f"/api/workers/{name}/announce", json={**SAYS, **changes})
    assert reply.status_code == 200, reply.text
    return reply.json()


async def test_a_worker_is_seen_drained_and_leaves(api: httpx.AsyncClient, clock: Clock) -> None:
    assert await announce(api) == {"drain_requested": False}
    seen = (await api.get("/api/workers/w")).json()
    assert seen == {
        "name": "w",
        "status": "online",
        **SAYS,
        "started_at": "2030-01-01T00:00:00.000Z",
        "last_seen_at": "2030-01-01T00:00:00.000Z",
        "drain_requested_at": None,
        "left_at": None,
    }
    for _ in range(2):
        drained = await api.post("/api/workers/w/drain", headers={"Idempotency-Key": "k"})
        assert (drained.status_code, drained.json()["status"]) == (200, "draining")
    assert drained.headers["Idempotent-Replayed"] == "true"
    assert await announce(api) == {"drain_requested": True}
    clock.now += 1000
    assert (await api.post("/api/workers/w/leave", json={"instance": "i1"})).json() == {}
    left = (await api.get("/api/workers/w")).json()
    assert (left["status"], left["left_at"]) == ("gone", "2030-01-01T00:00:01.000Z")
    assert (await api.post("/api/workers/w/drain")).status_code == 409
    assert (await api.post("/api/workers/nobody/drain")).status_code == 404
    assert (await api.get("/api/workers/nobody")).status_code == 404


async def test_workers_are_listed_by_queue_and_status(api: httpx.AsyncClient, clock: Clock) -> None:
    await announce(api, "old")
    clock.now += 100_000
    for name in ("b", "a", "c"):
        await announce(api, name, queues=["mail", "post"] if name == "b" else ["mail"])
    await api.post("/api/workers/a/drain")

    async def names(query: str) -> list[str]:
        return [worker["name"] for worker in (await api.get(f"/api/workers?{query}")).json()["items"]]

    assert await names("") == ["a", "b", "c", "old"]
    assert await names("queue=post") == ["b"]
    assert await names("status=online") == ["b", "c"]
    assert await names("status=draining&queue=mail") == ["a"]
    assert await names("status=gone") == ["old"]
    page = await api.get("/api/workers?limit=3")
    assert 'rel="next"' in page.headers["Link"]
    assert await names(f"limit=3&cursor={page.json()['next_cursor']}") == ["old"]
    assert (await api.get("/api/workers?status=asleep")).status_code == 422


async def test_what_a_worker_may_not_say(api: httpx.AsyncClient) -> None:
    reply = await api.post("/api/workers/w/announce", json={"kinds": ["a b"], "concurrency": 0, "running": -1, "x": 1})
    assert reply.status_code == 422
    pointers = {error["pointer"] for error in reply.json()["errors"]}
    assert pointers == {"/instance", "/queues", "/kinds/0", "/concurrency", "/running", "/x"}
    assert (await api.post("/api/workers/a%20b/announce", json=SAYS)).status_code == 404
