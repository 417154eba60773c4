"""The worker protocol over REST."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from rest_kit import Clock

from taskscheduler.api.bootstrap import EmbeddedNode

TARGET = {"type": "queue", "queue": "mail", "kind": "send"}
CLAIM = "/api/queues/mail/claims"


async def created(api: httpx.AsyncClient, **fields: Any) -> str:
    response = await api.post("/api/tasks", json={"name": "x", "target": TARGET, **fields})
    task_id: str = response.json()["id"]
    return task_id


async def claimed(api: httpx.AsyncClient, **fields: Any) -> list[dict[str, Any]]:
    response = await api.post(CLAIM, json={"worker": "w", "wait": "30s", **fields})
    assert response.status_code == 200, response.text
    claims: list[dict[str, Any]] = response.json()["claims"]
    return claims


async def test_a_run_is_claimed_kept_alive_and_completed(api: httpx.AsyncClient, clock: Clock) -> None:
    task_id = await created(api, payload={"to": "a"}, timeout="1m")
    [claim] = await claimed(api, lease="10s")
    token = claim.pop("token")
    assert claim == {
        "task_id": task_id,
        "run_id": claim["run_id"],
        "attempt": 1,
        "kind": "send",
        "payload": {"to": "a"},
        "upstream": {},
        "scheduled_for": "2030-01-01T00:00:00.000Z",
        "deadline": "2030-01-01T00:01:00.000Z",
        "heartbeat_timeout": None,
        "timeout": "PT1M",
        "lease_until": "2030-01-01T00:00:10.000Z",
    }
    clock.now += 6000
    beat = await api.post(f"/api/claims/{token}/heartbeat", json={"progress": {"done": 1}})
    assert beat.json() == {"cancel_requested": False, "lease_until": "2030-01-01T00:00:16.000Z"}
    for _ in range(2):
        done = await api.post(f"/api/claims/{token}/complete", json={"result": {"sent": 1}})
        assert (done.status_code, done.json()) == (200, {})
    run = (await api.get(f"/api/tasks/{task_id}/runs/{claim['run_id']}")).json()
    assert (run["status"], run["result"]) == ("succeeded", {"sent": 1})
    assert "result" not in (await api.get(f"/api/tasks/{task_id}")).json()["last_run"]
    assert (await api.post(f"/api/claims/{token}/fail", json={"error": {"type": "x"}})).status_code == 409
    events = (await api.get(f"/api/tasks/{task_id}/events")).text
    assert token not in events
    assert '"progress":{"done":1}' in events


async def test_a_failure_is_retried_as_the_worker_asks(api: httpx.AsyncClient) -> None:
    task_id = await created(api)
    [claim] = await claimed(api)
    body = {"error": {"type": "Busy", "message": "later"}, "retry_after": "10m"}
    assert (await api.post(f"/api/claims/{claim['token']}/fail", json=body)).json() == {}
    last = (await api.get(f"/api/tasks/{task_id}")).json()["last_run"]
    assert (last["status"], last["retry_at"]) == ("retrying", "2030-01-01T00:10:00.000Z")


async def test_a_token_that_was_never_given_is_unknown(api: httpx.AsyncClient) -> None:
    await created(api)
    [claim] = await claimed(api)
    for token in ("abc", "%00", "x" * 2000, claim["token"][:-1], "é", claim["token"].swapcase()):
        for verb in ("heartbeat", "complete"):
            assert (await api.post(f"/api/claims/{token}/{verb}")).status_code == 404


async def test_a_cancelled_run_is_told_at_the_next_heartbeat(api: httpx.AsyncClient) -> None:
    task_id = await created(api)
    [claim] = await claimed(api)
    await api.post(f"/api/tasks/{task_id}/cancel")
    beat = await api.post(f"/api/claims/{claim['token']}/heartbeat")
    assert beat.json()["cancel_requested"] is True
    late = await api.post(f"/api/claims/{claim['token']}/complete")
    assert (late.status_code, late.json()["type"]) == (409, "/docs#claim-lost")


async def test_the_same_request_gets_the_same_claims_again(api: httpx.AsyncClient) -> None:
    for _ in range(3):
        await created(api)
    first = await claimed(api, max=2, request_id="r1")
    assert await claimed(api, max=2, request_id="r1") == first
    headers = {"Idempotency-Key": "k"}
    by_key = [(await api.post(CLAIM, json={"worker": "w", "wait": 30}, headers=headers)).json() for _ in range(2)]
    assert by_key[0] == by_key[1]
    assert len({claim["run_id"] for claim in [*first, *by_key[0]["claims"]]}) == 3


async def test_a_poll_without_work_ends_with_nothing(api: httpx.AsyncClient) -> None:
    assert await claimed(api, wait=0) == []
    assert await claimed(api, wait="1ms", kinds=["other"]) == []


async def test_a_worker_that_hung_up_is_given_nothing(served: tuple[EmbeddedNode, Any], api: httpx.AsyncClient) -> None:
    hung_up, polling = asyncio.Event(), asyncio.Event()
    body = [{"type": "http.request", "body": b'{"worker": "gone", "wait": "60s"}', "more_body": False}]

    async def receive() -> dict[str, Any]:
        if body:
            return body.pop()
        polling.set()
        await hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    scope = {
        "type": "http",
        "method": "POST",
        "path": CLAIM,
        "raw_path": CLAIM.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    poll = asyncio.create_task(served[1](scope, receive, send))
    await polling.wait()
    hung_up.set()
    await poll
    await created(api)
    assert len(await claimed(api)) == 1


async def test_each_outcome_of_a_report_is_judged_on_its_own(api: httpx.AsyncClient) -> None:
    ids = [await created(api, retry={"max_attempts": 1}) for _ in range(3)]
    tokens: dict[str, str] = {}
    while len(tokens) < 3:
        tokens |= {claim["task_id"]: claim["token"] for claim in await claimed(api, max=10)}
    await api.post(f"/api/tasks/{ids[2]}/cancel")
    outcomes = [
        {"token": tokens[ids[0]], "result": 7},
        {"token": tokens[ids[1]], "error": {"type": "x", "message": "y"}, "retryable": False},
        {"token": tokens[ids[2]]},
        {"token": "unknown"},
        {"token": tokens[ids[0]], "result": 7, "x": 1},
        5,
    ]
    for _ in range(2):
        response = await api.post("/api/claims/report", json={"outcomes": outcomes})
        assert [result["status"] for result in response.json()["results"]] == [200, 200, 409, 404, 422, 422]
    statuses = [(await api.get(f"/api/tasks/{task_id}")).json()["status"] for task_id in ids]
    assert statuses == ["completed", "failed", "cancelled"]


async def test_what_has_not_begun_is_given_back_and_costs_no_attempt(api: httpx.AsyncClient) -> None:
    task_id = await created(api, retry={"max_attempts": 1})
    [claim] = await claimed(api)
    for _ in range(2):
        done = await api.post(f"/api/claims/{claim['token']}/release", json={})
        assert (done.status_code, done.json()) == (200, {})
    [again] = await claimed(api, worker="other")
    assert (again["run_id"], again["attempt"]) == (claim["run_id"], 2)
    reply = await api.post("/api/claims/report", json={"outcomes": [{"token": again["token"], "release": True}]})
    assert reply.json() == {"results": [{"status": 200}]}
    wrong = await api.post("/api/claims/report", json={"outcomes": [{"token": again["token"], "release": 1}]})
    assert wrong.json()["results"][0]["status"] == 422
    [third] = await claimed(api)
    late = await api.post(f"/api/claims/{claim['token']}/complete", json={})
    assert late.status_code == 409
    assert (await api.post(f"/api/claims/{third['token']}/complete", json={})).status_code == 200
    run = (await api.get(f"/api/tasks/{task_id}/runs/{claim['run_id']}")).json()
    assert [attempt["outcome"] for attempt in run["attempts"]] == ["released", "released", "succeeded"]
    assert run["status"] == "succeeded"


async def test_progress_is_shown_while_a_run_goes_on(api: httpx.AsyncClient, clock: Clock) -> None:
    task_id = await created(api)
    [claim] = await claimed(api)
    clock.now += 2000
    await api.post(f"/api/claims/{claim['token']}/heartbeat", json={"progress": {"done": 1}})
    run = (await api.get(f"/api/tasks/{task_id}/runs/{claim['run_id']}")).json()
    assert run["attempts"][0]["progress"] == {"done": 1}
    assert (await api.get(f"/api/tasks/{task_id}")).json()["last_run"]["attempts"][0]["progress"] is None
    await api.post(f"/api/claims/{claim['token']}/complete", json={})
    run = (await api.get(f"/api/tasks/{task_id}/runs/{claim['run_id']}")).json()
    assert run["attempts"][0]["progress"] == {"done": 1}


async def test_commands_go_to_who_asks_for_them_only(api: httpx.AsyncClient) -> None:
    target = {"type": "exec", "queue": "mail", "argv": ["rsync", "-a"], "env": {"A": "1"}, "cwd": "/srv"}
    made = await api.post("/api/tasks", json={"name": "x", "target": target, "payload": {"n": 1}})
    assert made.json()["target"] == target
    task_id = made.json()["id"]
    assert await claimed(api, wait=0) == []
    assert await claimed(api, wait=0, kinds=["exec"]) == []
    [claim] = await claimed(api, kinds=["$exec"])
    assert (claim["task_id"], claim["kind"], claim["payload"]) == (task_id, "$exec", {"n": 1})
    assert claim["exec"] == {name: value for name, value in target.items() if name != "type"}
    refused = await api.post(
        "/api/tasks", json={"name": "x", "target": {"type": "queue", "queue": "q", "kind": "$exec"}}
    )
    assert refused.status_code == 422
