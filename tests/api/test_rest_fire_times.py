"""Fire times that have come, and those to come under another schedule, over REST on a whole embedded node."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from rest_kit import Clock

from taskscheduler.domain.cron import TZDATA_VERSION

HOUR = 3_600_000
DAY = 24 * HOUR
HOURLY: dict[str, Any] = {
    "id": "t",
    "name": "hourly",
    "schedule": {"cron": "0 * * * *"},
    "target": {"type": "queue", "queue": "mail", "kind": "send"},
    "retry": {"max_attempts": 1},
}
JAN = "2030-01-01T{}:00.000Z"


async def create(api: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await api.post("/api/tasks", json={**HOURLY, **fields})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


async def post(
    api: httpx.AsyncClient, path: str, body: Any = None, status: int = 200, **headers: str
) -> dict[str, Any]:
    response = await api.post(
        f"/api/tasks/t/{path}", json=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )
    assert response.status_code == status, response.text
    reply: dict[str, Any] = response.json()
    return reply


async def get(api: httpx.AsyncClient, path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = (await api.get(f"/api/tasks/t{path}")).json()
    return found


async def work(api: httpx.AsyncClient, verb: str = "complete") -> dict[str, Any]:
    """Claim what there is and report it."""
    [claim] = (await api.post("/api/queues/mail/claims", json={"worker": "w", "max": 1, "wait": 0})).json()["claims"]
    body = {"error": {"type": "E", "message": "why"}} if verb == "fail" else {}
    assert (await api.post(f"/api/claims/{claim['token']}/{verb}", json=body)).status_code == 200
    found: dict[str, Any] = claim
    return found


async def test_a_backfill_shows_how_far_it_is(api: httpx.AsyncClient, clock: Clock) -> None:
    await create(api)
    asked = {"from": "2029-12-31T21:00:00Z", "to": "2030-01-01T00:00:00Z"}
    begun = await post(api, "backfill", asked, 202)
    expected = {
        "id": begun["backfill_id"],
        "status": "running",
        "from": "2029-12-31T21:00:00.000Z",
        "to": "2030-01-01T00:00:00.000Z",
        "overlap": "buffer_all",
        "total": 3,
        "fired": 1,
        "active": 1,
        "failed": 0,
        "remaining": 2,
        "requested_at": JAN.format("00:00"),
        "by": "anonymous",
    }
    assert begun["backfills"] == [expected]
    claim = await work(api)
    assert claim["scheduled_for"] == "2029-12-31T21:00:00.000Z"
    run = await get(api, f"/runs/{claim['run_id']}")
    assert (run["cause"], run["backfill_id"], run["nominal_at"]) == (
        "backfill",
        begun["backfill_id"],
        "2029-12-31T21:00:00.000Z",
    )
    await work(api, "fail")
    assert (await get(api))["backfills"] == [expected | {"fired": 3, "remaining": 0, "failed": 1}]
    await work(api)
    task = await get(api)
    assert task["backfills"] == [
        expected | {"status": "completed", "fired": 3, "remaining": 0, "failed": 1, "active": 0}
    ]
    assert (task["next_fire_at"], task["counts"]["fired"]) == (JAN.format("01:00"), 3)
    events = (await get(api, "/events"))["items"]
    types = [event["type"] for event in events]
    assert events[types.index("backfill.requested.v1")]["data"] == {
        "backfill_id": begun["backfill_id"],
        "by": "anonymous",
        "schedule": {"cron": "0 * * * *", "timezone": "UTC"},
        "start": "2029-12-31T21:00:00.000Z",
        "until": "2030-01-01T00:00:00.000Z",
        "overlap": "buffer_all",
        "total": 3,
        "next": "2029-12-31T21:00:00.000Z",
        "tzdata": TZDATA_VERSION,
    }
    assert (types.count("backfill.requested.v1"), types.count("backfill.advanced.v1")) == (1, 3)


async def test_a_backfill_is_begun_once_under_its_key(api: httpx.AsyncClient, clock: Clock) -> None:
    await create(api)
    asked = {"from": "2029-12-31T21:00:00Z", "to": "2030-01-01T00:00:00Z", "overlap": "allow_all"}
    first = await post(api, "backfill", asked, 202, Idempotency_Key="k")
    again = await post(api, "backfill", asked, 202, Idempotency_Key="k")
    assert (again["backfill_id"], len(again["backfills"])) == (first["backfill_id"], 1)
    assert len((await get(api, "/runs"))["items"]) == 3
    await post(api, "backfill", {**asked, "overlap": "buffer_all"}, 422, Idempotency_Key="k")


async def test_a_backfill_is_cancelled(api: httpx.AsyncClient, clock: Clock) -> None:
    await create(api)
    begun = await post(api, "backfill", {"from": "2029-12-31T00:00:00Z", "to": "2030-01-01T00:00:00Z"}, 202)
    path = f"backfill/{begun['backfill_id']}/cancel"
    [backfill] = (await post(api, path))["backfills"]
    assert (backfill["status"], backfill["fired"], backfill["remaining"], backfill["active"]) == ("cancelled", 1, 23, 0)
    assert "nothing to cancel" in (await post(api, path, status=409))["detail"]
    await post(api, "backfill/none/cancel", status=404)
    [ended] = [event for event in (await get(api, "/events"))["items"] if event["type"] == "backfill.ended.v1"]
    assert ended["data"] == {
        "backfill_id": begun["backfill_id"],
        "by": "anonymous",
        "reason": "cancelled",
        "remaining": 23,
    }


@pytest.mark.parametrize(
    ("body", "pointer", "said"),
    [
        ({}, "/from", "is required"),
        ({"to": "x"}, "/to", ""),
        ({"from": "2029-12-31T00:00:00Z", "to": "2030-01-01T00:00:01Z"}, "/to", "at most now"),
        ({"from": "2029-12-31T00:00:00Z", "to": "2029-12-31T00:00:00Z"}, "/to", "after"),
        ({"from": "2019-12-01T00:00:00Z", "to": "2029-12-31T00:00:00Z"}, "/from", "3,660 days"),
        ({"from": "2029-12-31T00:01:00Z", "to": "2029-12-31T00:59:00Z"}, "/from", "preview"),
        (
            {"from": "2029-12-31T00:01:00Z", "to": "2029-12-31T00:59:00Z", "overlap": "skip"},
            "/overlap",
            "skip would drop",
        ),
        ({"from": "2029-12-31T00:01:00Z", "to": "2029-12-31T00:59:00Z", "overlap": 1}, "/overlap", "must be one of"),
        ({"from": "2029-12-31T00:01:00Z", "to": "2029-12-31T00:59:00Z", "more": 1}, "/more", ""),
    ],
)
async def test_what_cannot_be_backfilled_is_refused(
    api: httpx.AsyncClient, clock: Clock, body: Any, pointer: str, said: str
) -> None:
    await create(api)
    errors = (await post(api, "backfill", body, 422))["errors"]
    assert any(error["pointer"] == pointer and said in error["detail"] for error in errors), errors
    assert (await get(api))["version"] == 1


async def test_what_is_owed_is_shown_and_purged(api: httpx.AsyncClient, clock: Clock) -> None:
    await create(api, catch_up={"policy": "all", "window": "1d"})
    clock.now += 3 * HOUR + 60_001
    task = await post(api, "trigger", status=202)
    owed = {"from": JAN.format("02:00"), "until": "2030-01-01T03:01:00.002Z", "count": 2}
    assert (task["owed"], (await get(api))["owed"]) == (owed, owed)
    purged = await post(api, "owed/purge")
    assert (purged["owed"], purged["counts"]["skipped"]) == (None, 2)
    assert {run["reason"] for run in (await get(api, "/runs?status=skipped"))["items"]} == {"purged"}
    assert "nothing is owed" in (await post(api, "owed/purge", status=409))["detail"]


async def test_a_task_that_keeps_failing_pauses_itself(api: httpx.AsyncClient, clock: Clock) -> None:
    assert (await create(api, pause_on_failure=2))["pause_on_failure"] == 2
    for failures in (1, 2):
        await post(api, "trigger", status=202)
        await work(api, "fail")
        task = await get(api)
        assert task["failures_in_row"] == failures
    assert (task["status"], task["pause"]["by"]) == ("paused", "scheduler")
    assert task["pause"]["note"].startswith("the last 2 runs failed")
    resumed = await post(api, "resume")
    assert (resumed["status"], resumed["failures_in_row"]) == ("scheduled", 0)
    changed = await api.patch("/api/tasks/t", json={"pause_on_failure": None})
    assert changed.json()["pause_on_failure"] is None
    refused = await api.patch("/api/tasks/t", json={"pause_on_failure": 0})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/pause_on_failure")


@pytest.mark.parametrize(
    ("missed", "ran"), [(None, []), ("skip", []), ("latest", ["03:00"]), ("all", ["02:00", "03:00"])]
)
async def test_resume_says_what_becomes_of_what_was_missed(
    api: httpx.AsyncClient, clock: Clock, missed: str | None, ran: list[str]
) -> None:
    await create(api, overlap="allow_all", catch_up={"limit": 2, "window": "1s"})
    await post(api, "pause")
    clock.now += 3 * HOUR + 1
    assert (await get(api))["counts"]["skipped"] == 0
    task = await post(api, "resume", {"note": "on"} if missed is None else {"missed": missed})
    assert (task["status"], task["counts"]["skipped"]) == ("running" if ran else "scheduled", 3 - len(ran))
    runs = (await get(api, "/runs"))["items"]
    assert sorted(run["nominal_at"] for run in runs if run["cause"] == "catch_up") == [JAN.format(at) for at in ran]
    assert {run["reason"] for run in runs if run["status"] == "skipped"} == {"paused"}
    errors = (await post(api, "resume", {"missed": "some"}, 422))["errors"]
    assert errors == [{"pointer": "/missed", "detail": "must be one of skip, latest, all"}]


async def test_a_change_from_then_on_is_shown_until_it_holds(api: httpx.AsyncClient, clock: Clock) -> None:
    await create(api)
    change = {"schedule": {"cron": "15 * * * *"}, "effective_from": "2030-01-01T00:30:00Z"}
    changed = await api.patch("/api/tasks/t", json=change)
    pending = {
        "schedule": {"cron": "15 * * * *", "timezone": "UTC"},
        "effective_from": JAN.format("00:30"),
        "next_fire_at": JAN.format("01:15"),
    }
    task = changed.json()
    assert (changed.status_code, task["pending_schedule"], task["revision"]) == (200, pending, 2)
    assert (task["schedule"]["cron"], task["next_fire_at"]) == ("0 * * * *", JAN.format("01:15"))
    due = (await api.get("/api/tasks", params={"due_before": "2030-01-01T01:15:01Z"})).json()["items"]
    assert [one["id"] for one in due] == ["t"]
    clock.now += 31 * 60_000
    task = await post(api, "trigger", status=202)
    assert (task["pending_schedule"], task["schedule"]["cron"], task["revision"]) == (None, "15 * * * *", 2)
    events = (await get(api, "/events"))["items"]
    [updated] = [event for event in events if event["type"] == "task.updated.v1"]
    assert updated["data"]["pending"] == {
        "schedule": pending["schedule"],
        "effective_from": pending["effective_from"],
        "next_fire": pending["next_fire_at"],
    }
    [switched] = [event for event in events if event["type"] == "schedule.switched.v1"]
    assert switched["data"]["effective_from"] == JAN.format("00:30")


async def test_a_planned_change_is_taken_back(api: httpx.AsyncClient, clock: Clock) -> None:
    await create(api)
    change = {"schedule": {"every": "1d"}, "effective_from": "2030-01-02T00:00:00Z"}
    assert (await api.patch("/api/tasks/t", json=change)).json()["pending_schedule"] is not None
    task = (await api.patch("/api/tasks/t", json={"pending_schedule": None})).json()
    assert (task["pending_schedule"], task["schedule"]["cron"], task["revision"]) == (None, "0 * * * *", 3)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"effective_from": "2030-01-02T00:00:00Z"}, "/effective_from"),
        ({"schedule": {"every": "1d"}, "effective_from": "2030-01-01T00:00:00Z"}, "/effective_from"),
        ({"schedule": {"at": "2030-01-01T05:00:00Z"}, "effective_from": "2030-01-02T00:00:00Z"}, "/schedule/at"),
        ({"pending_schedule": {"schedule": {"every": "1d"}}}, "/pending_schedule"),
        (
            {"schedule": {"every": "1d"}, "effective_from": "2030-01-02T00:00:00Z", "pending_schedule": None},
            "/pending_schedule",
        ),
    ],
)
async def test_what_cannot_be_planned_is_refused(api: httpx.AsyncClient, clock: Clock, body: Any, pointer: str) -> None:
    await create(api)
    response = await api.patch("/api/tasks/t", json=body)
    assert (response.status_code, [error["pointer"] for error in response.json()["errors"]]) == (422, [pointer])


@pytest.mark.parametrize("target", [{"type": "queue", "queue": "post", "kind": "carry"}, {"type": "noop"}])
async def test_a_claim_that_meets_a_change_of_the_target_gets_nothing(
    api: httpx.AsyncClient, clock: Clock, target: dict[str, str]
) -> None:
    await create(api)
    await post(api, "trigger", status=202)
    changed, claimed = await asyncio.gather(
        api.patch("/api/tasks/t", json={"target": target}),
        api.post("/api/queues/mail/claims", json={"worker": "w", "wait": 0}),
    )
    assert (changed.status_code, claimed.json()) == (200, {"claims": []})


async def test_claims_asked_for_again_are_none_when_their_target_is_another_by_now(
    api: httpx.AsyncClient, clock: Clock
) -> None:
    await create(api)
    await post(api, "trigger", status=202)
    asked = {"worker": "w", "wait": 0, "request_id": "r"}
    [claim] = (await api.post("/api/queues/mail/claims", json=asked)).json()["claims"]
    assert (await api.post("/api/queues/mail/claims", json=asked)).json() == {"claims": [claim]}
    assert (await api.patch("/api/tasks/t", json={"target": {"type": "noop"}})).status_code == 200
    assert (await api.post("/api/queues/mail/claims", json=asked)).json() == {"claims": []}
    assert (await api.post(f"/api/claims/{claim['token']}/complete")).status_code == 200


async def test_a_run_keeps_what_it_was_claimed_with_and_a_later_attempt_takes_what_is_new(
    api: httpx.AsyncClient, clock: Clock
) -> None:
    await create(api, schedule=None, payload=1, timeout="10m", retry={"max_attempts": 3, "initial": "1s", "jitter": 0})
    asked = {"worker": "w", "wait": 0, "lease": "5m"}
    clock.now += 1
    await post(api, "trigger", status=202)
    first, second = (await api.post("/api/queues/mail/claims", json={**asked, "max": 2})).json()["claims"]
    change = {"payload": 2, "timeout": "1h", "target": {"type": "queue", "queue": "post", "kind": "carry"}}
    assert (await api.patch("/api/tasks/t", json=change)).status_code == 200
    clock.now += 60_000
    for claim in (first, second):
        assert claim["payload"] == 1
        beat = await api.post(f"/api/claims/{claim['token']}/heartbeat")
        assert beat.json()["cancel_requested"] is False
        [attempt] = (await get(api, f"/runs/{claim['run_id']}"))["attempts"]
        assert attempt["outcome"] is None
    assert first["deadline"] == "2030-01-01T00:10:00.001Z"
    assert (await api.post(f"/api/claims/{first['token']}/complete")).status_code == 200
    failed = await api.post(f"/api/claims/{second['token']}/fail", json={"error": {"type": "E", "message": "why"}})
    assert failed.status_code == 200
    clock.now += 1_000
    await post(api, "trigger", status=202)  # settles what is due
    assert (await api.post("/api/queues/mail/claims", json=asked)).json() == {"claims": []}
    again = (await api.post("/api/queues/post/claims", json={**asked, "max": 2})).json()["claims"]
    [retried] = [claim for claim in again if claim["run_id"] == second["run_id"]]
    assert (retried["attempt"], retried["kind"], retried["payload"]) == (2, "carry", 2)
    assert retried["deadline"] == "2030-01-01T01:01:01.001Z"
