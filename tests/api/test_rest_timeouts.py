"""Timeouts over REST: what is asked for, what a worker is told, what a run that was ended says."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from rest_kit import Clock

from taskscheduler.api.bootstrap import EmbeddedNode

TARGET = {"type": "queue", "queue": "mail", "kind": "send"}
CLAIM = "/api/queues/mail/claims"
SECOND = 1_000


async def created(api: httpx.AsyncClient, **fields: Any) -> str:
    response = await api.post("/api/tasks", json={"name": "x", "target": TARGET, **fields})
    assert response.status_code == 201, response.text
    task_id: str = response.json()["id"]
    return task_id


async def claimed(api: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    [claim] = (await api.post(CLAIM, json={"worker": "w", "wait": "30s", **fields})).json()["claims"]
    found: dict[str, Any] = claim
    return found


async def run_of(api: httpx.AsyncClient, task_id: str, *statuses: str) -> dict[str, Any]:
    """The last run once it has one of these statuses; the server looks at the clock by itself."""
    async with asyncio.timeout(10):
        while True:
            run: dict[str, Any] | None = (await api.get(f"/api/tasks/{task_id}")).json()["last_run"]
            if run is not None and run["status"] in statuses:
                return run
            await asyncio.sleep(0.01)


async def test_timeouts_come_back_as_given_and_are_taken_back(api: httpx.AsyncClient) -> None:
    task_id = await created(api, queue_timeout="1m", heartbeat_timeout=90, deadline="PT1H")
    task = (await api.get(f"/api/tasks/{task_id}")).json()
    assert (task["queue_timeout"], task["heartbeat_timeout"], task["deadline"]) == ("PT1M", "PT1M30S", "PT1H")
    changed = await api.patch(f"/api/tasks/{task_id}", json={"queue_timeout": None, "deadline": "2h"})
    task = changed.json()
    assert (task["queue_timeout"], task["heartbeat_timeout"], task["deadline"]) == (None, "PT1M30S", "PT2H")
    body = {"tasks": [{"name": "b", "target": TARGET, "deadline": "1m", "queue_timeout": "0s"}]}
    [result] = (await api.post("/api/tasks/batch", json=body)).json()["results"]
    assert [error["pointer"] for error in result["error"]["errors"]] == ["/queue_timeout"]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"queue_timeout": 0}, "/queue_timeout"),
        ({"heartbeat_timeout": "999ms"}, "/heartbeat_timeout"),
        ({"deadline": "soon"}, "/deadline"),
        ({"retry": {"jitter": "half"}}, "/retry/jitter"),
        ({"retry": {"jitter": 2}}, "/retry/jitter"),
        ({"retry": {"retry_on": []}}, "/retry/retry_on"),
        ({"retry": {"retry_on": ["A", "B"], "give_up_on": ["B"]}}, "/retry/retry_on"),
        ({"retry": {"retry_on": [""]}}, "/retry/retry_on/0"),
    ],
)
async def test_what_cannot_be_is_refused(api: httpx.AsyncClient, fields: dict[str, Any], pointer: str) -> None:
    response = await api.post("/api/tasks", json={"name": "x", "target": TARGET, **fields})
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


async def test_jitter_has_names(api: httpx.AsyncClient) -> None:
    task_id = await created(api, retry={"jitter": "full", "retry_on": ["Busy"]})
    retry = (await api.get(f"/api/tasks/{task_id}")).json()["retry"]
    assert (retry["jitter"], retry["retry_on"]) == ("full", ["Busy"])


async def test_a_run_that_nobody_claims_becomes_a_dead_letter(
    api: httpx.AsyncClient, node: EmbeddedNode, clock: Clock
) -> None:
    task_id = await created(api, queue_timeout="1m")
    await run_of(api, task_id, "queued")
    clock.now += 60 * SECOND
    run = await run_of(api, task_id, "failed")
    error = {"type": "QueueTimeout", "message": "the run was not claimed within its queue timeout"}
    assert (run["reason"], run["attempts"], run["error"]) == ("queue_timeout", [], error)
    assert node.claimables.waiting == 0
    assert (await api.post(CLAIM, json={"worker": "w"})).json()["claims"] == []
    [letter] = (await api.get("/api/dead-letters?error_type=QueueTimeout")).json()["items"]
    assert (letter["id"], letter["error"], letter["task_id"]) == (run["id"], error, task_id)
    again = await api.post(f"/api/tasks/{task_id}/retry")
    assert again.status_code == 202
    why = (await api.get(f"/api/tasks/{task_id}/events")).json()["items"]
    assert "run.failed.v1" in [event["type"] for event in why]


async def test_a_silent_worker_is_told_when_it_comes_back(api: httpx.AsyncClient, clock: Clock) -> None:
    task_id = await created(api, heartbeat_timeout="8s", retry={"initial": "1h", "jitter": 0})
    claim = await claimed(api, lease="30s")
    assert (claim["heartbeat_timeout"], claim["lease_until"]) == ("PT8S", "2030-01-01T00:00:08.000Z")
    clock.now += 2 * SECOND
    beat = await api.post(f"/api/claims/{claim['token']}/heartbeat")
    assert beat.json()["lease_until"] == "2030-01-01T00:00:10.000Z"
    clock.now += 8 * SECOND
    run = await run_of(api, task_id, "retrying")
    [attempt] = run["attempts"]
    assert (attempt["outcome"], attempt["error"]["type"]) == ("timed_out", "HeartbeatTimeout")
    assert run["error"] == attempt["error"]
    late = await api.post(f"/api/claims/{claim['token']}/complete", json={"result": 7})
    assert (late.status_code, late.json()["type"]) == (409, "/docs#claim-lost")
    last = (await api.get(f"/api/tasks/{task_id}/events")).json()["items"][-1]
    assert (last["type"], last["data"]["result"]) == ("attempt.reported_late.v1", 7)
    assert (await run_of(api, task_id, "retrying"))["status"] == "retrying"


async def test_the_deadline_is_what_a_worker_is_told(api: httpx.AsyncClient, clock: Clock) -> None:
    task_id = await created(api, deadline="10s", timeout="1m")
    clock.now += 4 * SECOND
    claim = await claimed(api, lease="1m")
    assert claim["deadline"] == claim["lease_until"]
    run = await run_of(api, task_id, "running")
    assert run["deadline"] == claim["deadline"]
    clock.now += 10 * SECOND
    run = await run_of(api, task_id, "failed")
    assert (run["reason"], run["error"]["type"]) == ("deadline", "DeadlineExceeded")
    assert (await api.post(f"/api/claims/{claim['token']}/heartbeat")).status_code == 409
