"""Writes that are repeated, and many at once, over REST."""

from __future__ import annotations

from typing import Any

import httpx
from rest_kit import Clock

LATER = {"at": "2030-06-01T00:00:00Z"}
GOOD: dict[str, Any] = {"name": "x", "schedule": LATER, "target": {"type": "noop"}}
HOUR = 3_600_000


async def create(api: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await api.post("/api/tasks", json={**GOOD, **fields})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


async def test_the_same_key_and_body_gives_the_task_as_it_was_made(api: httpx.AsyncClient, clock: Clock) -> None:
    key = {"Idempotency-Key": "k1"}
    first = await api.post("/api/tasks", json=GOOD, headers=key)
    path = first.headers["location"]
    await api.patch(path, json={"name": "changed", "schedule": {"every": "1h"}})
    await api.post(path + "/pause")
    clock.now += 20 * HOUR
    again = await api.post("/api/tasks", json={**GOOD}, headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["location"] == path
    assert again.headers["etag"] == '"r1"'
    assert again.headers["idempotent-replayed"] == "true"
    other = await api.post("/api/tasks", json={**GOOD, "name": "y"}, headers=key)
    assert other.status_code == 422
    assert other.json()["type"] == "/docs#key-reused"
    assert [error["pointer"] for error in other.json()["errors"]] == ["/headers/idempotency-key"]
    batch = await api.post("/api/tasks/batch", json={"tasks": [{**GOOD, "name": "y", "idempotency_key": "k1"}]})
    assert [error["pointer"] for error in batch.json()["results"][0]["error"]["errors"]] == ["/idempotency_key"]


async def test_a_repeated_request_is_answered_although_its_at_has_passed(api: httpx.AsyncClient, clock: Clock) -> None:
    body = {**GOOD, "schedule": {"at": "2030-01-01T00:30:00Z"}}
    first = await api.post("/api/tasks", json=body, headers={"Idempotency-Key": "k"})
    clock.now += 3 * HOUR
    again = await api.post("/api/tasks", json=body, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()) == (201, first.json())
    batch = await api.post("/api/tasks/batch", json={"tasks": [{**body, "idempotency_key": "k"}, body]})
    assert [result["status"] for result in batch.json()["results"]] == [201, 422]
    new = await api.post("/api/tasks", json=body, headers={"Idempotency-Key": "k2"})
    assert [error["pointer"] for error in new.json()["errors"]] == ["/schedule/at"]


async def test_a_key_is_honoured_on_every_write(api: httpx.AsyncClient) -> None:
    path = f"/api/tasks/{(await create(api))['id']}"
    for verb in ("trigger", "pause", "resume", "cancel"):
        key = {"Idempotency-Key": f"key of {verb}"}
        first = await api.post(f"{path}/{verb}", headers=key)
        again = await api.post(f"{path}/{verb}", headers=key)
        assert first.status_code == again.status_code == (202 if verb == "trigger" else 200)
        assert again.headers["idempotent-replayed"] == "true"
        assert first.json().get("run_id") == again.json().get("run_id")
        assert again.json()["counts"]["fired"] == 1
        assert (await api.patch(path, json={"name": "y"}, headers=key)).status_code == 422


async def test_a_key_is_honoured_where_something_ends(api: httpx.AsyncClient) -> None:
    """What is gone is gone once: a second request with the same key is answered as the first one was."""
    await create(api, id="t")
    await api.put("/api/calendars/c", json={"dates": ["2030-12-24"]})
    for path in ("/api/tasks/t", "/api/calendars/c"):
        key = {"Idempotency-Key": f"end of {path}"}
        first, again = [await api.delete(path, headers=key) for _ in range(2)]
        assert (first.status_code, again.status_code) == (204, 204)
        assert again.headers["idempotent-replayed"] == "true"
        assert (await api.delete(path)).status_code in (404, 410)


async def test_a_calendar_is_put_once_under_a_key(api: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "k"}
    first = await api.put("/api/calendars/c", json={"dates": ["2030-12-24"]}, headers=key)
    await api.put("/api/calendars/c", json={"dates": ["2030-12-25"]})
    again = await api.put("/api/calendars/c", json={"dates": ["2030-12-24"]}, headers=key)
    assert (first.status_code, again.status_code, again.headers["idempotent-replayed"]) == (201, 201, "true")
    assert (await api.get("/api/calendars/c")).json()["days"] == ["2030-12-25"]
    other = await api.put("/api/calendars/c", json={"dates": ["2031-01-01"]}, headers=key)
    assert other.json()["type"] == "/docs#key-reused"


async def test_each_task_of_a_batch_succeeds_or_fails_on_its_own(api: httpx.AsyncClient) -> None:
    await create(api, id="taken")
    keyed = {**GOOD, "idempotency_key": "k"}
    body = {"tasks": [GOOD, {"name": ""}, {**GOOD, "id": "taken"}, keyed, keyed, {**keyed, "name": "y"}, 7]}
    response = await api.post("/api/tasks/batch", json=body)
    assert response.status_code == 200
    results = response.json()["results"]
    assert [result["status"] for result in results] == [201, 422, 409, 201, 201, 422, 422]
    assert [error["pointer"] for error in results[1]["error"]["errors"]] == ["/name", "/target"]
    assert results[3]["task"] == results[4]["task"]
    alone = await api.post("/api/tasks", json=GOOD, headers={"Idempotency-Key": "k"})
    assert alone.json() == results[3]["task"]
    assert len((await api.get("/api/tasks")).json()["items"]) == 3


async def test_a_whole_batch_can_be_repeated_under_one_key(api: httpx.AsyncClient) -> None:
    body = {"tasks": [GOOD, {**GOOD, "name": "y"}]}
    replies = [await api.post("/api/tasks/batch", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert replies[0].json() == replies[1].json()
    assert len((await api.get("/api/tasks")).json()["items"]) == 2


async def test_every_write_says_from_where_it_is_seen(api: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "k"}
    made = await api.post("/api/tasks", json=GOOD, headers=key)
    path = made.headers["location"]
    assert made.headers["consistency-token"] == "0:1"
    replayed = await api.post("/api/tasks", json=GOOD, headers=key)
    nothing_new = await api.post(path + "/resume")
    claims = await api.post("/api/queues/q/claims", json={"worker": "w"})
    for reply in (replayed, nothing_new, claims):
        assert reply.headers["consistency-token"] == "0:1"
