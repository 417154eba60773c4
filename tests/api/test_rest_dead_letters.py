"""Dead letters over REST: their stories and groups, run again or purged, one by one or by a filter."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from rest_kit import Clock

from taskscheduler.api.bootstrap import EmbeddedNode
from taskscheduler.domain.events import Error

QUEUE = {"type": "queue", "queue": "mail", "kind": "send"}
ONCE = {"max_attempts": 1}
LETTERS = "/api/dead-letters"


class Failing:
    """A scheduler in which runs fail."""

    def __init__(self, api: httpx.AsyncClient, node: EmbeddedNode, clock: Clock) -> None:
        self.api = api
        self.node = node
        self.clock = clock

    async def create(self, id: str, **fields: Any) -> None:
        body = {"id": id, "name": id, "target": QUEUE, "schedule": {"at": "2031-01-01T00:00:00Z"}, "retry": ONCE}
        response = await self.api.post("/api/tasks", json={**body, **fields})
        assert response.status_code == 201, response.text

    async def fail(self, id: str, error: str = "Boom", message: str = "no") -> str:
        """Run the task and let it fail; the id of the run."""
        self.clock.now += 1_000
        run_id: str = (await self.api.post(f"/api/tasks/{id}/trigger")).json()["run_id"]
        [given] = await self.node.queue.claim("mail", worker="w")
        await self.node.queue.fail(given.token, Error(error, message))
        return run_id

    async def letters(self, **query: str) -> list[str]:
        page = (await self.api.get(LETTERS, params=query)).json()
        return [letter["id"] for letter in page["items"]]

    async def many(self, verb: str, key: str | None = None, **body: Any) -> dict[str, Any]:
        headers = {} if key is None else {"Idempotency-Key": key}
        response = await self.api.post(f"{LETTERS}/{verb}", json=body, headers=headers)
        assert response.status_code == 200, response.text
        done: dict[str, Any] = response.json()
        return done


@pytest.fixture
def failing(api: httpx.AsyncClient, node: EmbeddedNode, clock: Clock) -> Failing:
    return Failing(api, node, clock)


async def test_the_story_of_one(api: httpx.AsyncClient, failing: Failing) -> None:
    await failing.create("t", payload={"to": "a"}, tags={"team": "ops"}, timeout="1m", retry={**ONCE, "initial": 0})
    failing.clock.now += 1_000
    run_id = (await api.post("/api/tasks/t/trigger")).json()["run_id"]
    [given] = await failing.node.queue.claim("mail", worker="w", lease=3_600_000)
    failing.clock.now += 60_000
    async with asyncio.timeout(10):
        while not await failing.letters():
            await asyncio.sleep(0.01)
    late = await api.post(f"/api/claims/{given.token}/complete", json={"result": {"sent": 1}})
    assert late.status_code == 409
    await api.patch("/api/tasks/t", json={"payload": {"to": "b"}, "name": "other"})
    story = (await api.get(f"{LETTERS}/t/{run_id}")).json()
    assert story["definition"]["payload"] == {"to": "a"}
    assert story["definition"]["target"] == QUEUE
    assert (story["task_name"], story["tags"], story["reason"]) == ("t", {"team": "ops"}, "attempts_exhausted")
    assert story["error"]["type"] == story["attempts"][0]["error"]["type"] == "TimedOut"
    report = {"attempt": 1, "at": "2030-01-01T00:01:01.000Z", "outcome": "succeeded", "result": {"sent": 1}}
    assert story["late_reports"] == [{**report, "error": None}]
    assert story["retried"] is None
    assert (await api.get(f"/api/tasks/t/runs/{run_id}")).json()["late_reports"] == story["late_reports"]
    again = await api.post(f"{LETTERS}/t/{run_id}/retry")
    assert again.status_code == 202
    assert again.json()["last_run"]["retry_of"] == run_id
    story = (await api.get(f"{LETTERS}/t/{run_id}")).json()
    said = {"run_id": again.json()["run_id"], "at": "2030-01-01T00:01:01.000Z", "by": "anonymous", "status": "queued"}
    assert story["retried"] == said


async def test_any_of_them_can_be_run_again_but_not_twice_at_once(api: httpx.AsyncClient, failing: Failing) -> None:
    await failing.create("t")
    first, second = await failing.fail("t"), await failing.fail("t")
    key = {"Idempotency-Key": "k"}
    made = [await api.post(f"{LETTERS}/t/{first}/retry", headers=key) for _ in range(2)]
    assert [reply.status_code for reply in made] == [202, 202]
    assert made[0].json()["run_id"] == made[1].json()["run_id"]
    assert made[1].headers["idempotent-replayed"] == "true"
    twice = await api.post(f"{LETTERS}/t/{first}/retry")
    assert (twice.status_code, twice.json()["type"]) == (409, "/docs#conflict")
    assert (await api.post(f"{LETTERS}/t/{second}/retry")).status_code == 202
    assert await failing.letters(retried="false") == []
    assert (await api.post(f"{LETTERS}/t/{made[0].json()['run_id']}/retry")).status_code == 404
    assert (await api.get(f"{LETTERS}/nobody/{first}")).status_code == 404
    await api.post("/api/tasks/t/cancel")
    assert (await api.post(f"{LETTERS}/t/{first}/retry")).status_code == 409


async def test_a_purged_one_is_gone_for_good(api: httpx.AsyncClient, failing: Failing) -> None:
    await failing.create("t")
    run_id, other = await failing.fail("t"), await failing.fail("t")
    key = {"Idempotency-Key": "k"}
    for replayed in (None, "true"):
        purged = await api.delete(f"{LETTERS}/t/{run_id}", headers=key)
        assert (purged.status_code, purged.headers.get("idempotent-replayed")) == (204, replayed)
    assert (await api.delete(f"{LETTERS}/t/{run_id}")).status_code == 404
    assert await failing.letters() == [other]
    assert (await api.get(f"/api/tasks/t/runs/{run_id}")).json()["status"] == "failed"
    await api.post("/api/tasks/t/cancel")
    assert (await api.delete(f"{LETTERS}/t/{other}")).status_code == 204


async def test_groups(api: httpx.AsyncClient, failing: Failing) -> None:
    await failing.create("a", tags={"team": "ops"})
    await failing.create("b")
    for id, error in (("a", "Boom"), ("b", "Boom"), ("a", "Crash"), ("b", "Boom")):
        last = await failing.fail(id, error)
    boom, crash = (await api.get(f"{LETTERS}/groups")).json()["items"]
    assert boom == {
        "error_type": "Boom",
        "count": 3,
        "exact": True,
        "tasks": 2,
        "first_seen": "2030-01-01T00:00:01.000Z",
        "last_seen": "2030-01-01T00:00:04.000Z",
        "last": {"task_id": "b", "run_id": last, "task_name": "b", "reason": "attempts_exhausted"},
    }
    assert (crash["error_type"], crash["count"], crash["tasks"]) == ("Crash", 1, 1)
    one = await api.get(f"{LETTERS}/groups?limit=1&tag=team:ops")
    assert [(group["error_type"], group["count"]) for group in one.json()["items"]] == [("Boom", 1)]
    [rest] = (await api.get(one.links["next"]["url"])).json()["items"]
    assert rest["error_type"] == "Crash"


async def test_many_are_counted_before_anything_is_done(failing: Failing) -> None:
    await failing.create("t")
    runs = [await failing.fail("t", "Boom" if n < 3 else "Crash") for n in range(5)]
    counted = await failing.many("retry", filter={"error_type": "Boom"})
    assert counted == {
        "execute": False,
        "done": 0,
        "refused": [],
        "refused_count": 0,
        "remaining": 3,
        "exact": True,
        "next_cursor": None,
    }
    assert await failing.letters(retried="true") == []
    asked: dict[str, Any] = {"filter": {"error_type": "Boom"}, "execute": True, "limit": 2}
    first = await failing.many("retry", "k", **asked)
    assert (first["done"], first["remaining"], first["refused"]) == (2, 1, [])
    assert await failing.letters(retried="true") == runs[1::-1]
    repeated = await failing.many("retry", "k", **asked)
    assert repeated == first
    assert await failing.letters(retried="true") == runs[1::-1]
    rest = await failing.many("retry", "k", **asked, cursor=first["next_cursor"])
    assert (rest["done"], rest["remaining"], rest["next_cursor"]) == (1, 0, None)
    assert await failing.letters(retried="true") == runs[2::-1]
    assert (await failing.many("retry", **asked))["done"] == 0, "what was retried is retried again"
    again = await failing.many("retry", filter={"error_type": "Boom", "retried": True}, execute=True)
    assert (again["done"], again["refused_count"]) == (0, 3), "their retries have not ended"
    assert again["refused"][0]["task_id"] == "t"
    assert "retried already" in again["refused"][0]["detail"]
    purged = await failing.many("purge", filter={"from": "2030-01-01T00:00:02Z", "to": "2030-01-01T00:00:05Z"})
    assert purged["remaining"] == 3
    purged = await failing.many(
        "purge", filter={"from": "2030-01-01T00:00:02Z", "to": "2030-01-01T00:00:05Z"}, execute=True
    )
    assert (purged["done"], purged["remaining"]) == (3, 0)
    assert await failing.letters() == [runs[4], runs[0]]


async def test_many_of_one_task_and_by_tag(failing: Failing) -> None:
    await failing.create("a", tags={"team": "ops", "env": "x"})
    await failing.create("b", tags={"team": "ops"})
    for id in ("a", "b", "a"):
        await failing.fail(id)
    assert (await failing.many("purge", filter={"task_id": "a"}))["remaining"] == 2
    assert (await failing.many("purge", filter={"tags": {"team": "ops"}}))["remaining"] == 3
    assert (await failing.many("purge", filter={"tags": {"team": "ops", "env": "x"}}, execute=True))["done"] == 2
    assert (await failing.many("purge"))["remaining"] == 1


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"filter": {"error": "x"}}, ["/filter/error"]),
        ({"filter": {"from": "x", "task_id": "?"}, "execute": 1}, ["/execute", "/filter/from", "/filter/task_id"]),
        ({"filter": {"tags": {"a": 1}, "retried": "no"}}, ["/filter/retried", "/filter/tags/a"]),
        ({"limit": 1_001, "all": True}, ["/all", "/limit"]),
        ({"execute": True, "cursor": "x"}, ["/cursor"]),
    ],
)
async def test_bad_requests_change_nothing(api: httpx.AsyncClient, body: dict[str, Any], pointers: list[str]) -> None:
    response = await api.post(f"{LETTERS}/purge", json=body)
    assert response.status_code == 422
    assert sorted(error["pointer"] for error in response.json()["errors"]) == pointers


async def test_a_key_of_another_request_is_refused(api: httpx.AsyncClient, failing: Failing) -> None:
    await failing.create("t")
    run_id = await failing.fail("t")
    await failing.many("retry", "k", filter={"task_id": "t"}, execute=True)
    done = await failing.many("retry", "k", filter={"error_type": "Boom", "retried": True}, execute=True)
    assert done["done"] == 0
    assert "Idempotency-Key" in done["refused"][0]["detail"]
    assert (await api.get(f"{LETTERS}/t/{run_id}")).status_code == 200
