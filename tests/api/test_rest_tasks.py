"""Tasks over REST, on a whole embedded node whose clock stands still."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from rest_kit import Clock, client_of

from taskscheduler.api.app import create_app
from taskscheduler.api.bootstrap import EmbeddedNode
from taskscheduler.commands.handler import Unavailable

LATER = {"at": "2030-06-01T00:00:00Z"}
GOOD: dict[str, Any] = {"name": "x", "schedule": LATER, "target": {"type": "noop"}}
QUEUED: dict[str, Any] = {"name": "q", "target": {"type": "queue", "queue": "mail", "kind": "send"}}


async def create(api: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await api.post("/api/tasks", json={**GOOD, **fields})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


async def test_a_task_is_created_with_every_default_and_read_again(api: httpx.AsyncClient) -> None:
    response = await api.post("/api/tasks", json={"id": "t", **GOOD})
    assert response.status_code == 201
    assert response.headers["location"] == "/api/tasks/t"
    assert response.headers["etag"] == '"r1"'
    assert response.headers["consistency-token"] == "0:1"
    assert "idempotent-replayed" not in response.headers
    task = response.json()
    assert task == {
        "id": "t",
        "name": "x",
        "schedule": {"at": "2030-06-01T00:00:00.000Z"},
        "target": {"type": "noop"},
        "payload": None,
        "retry": {
            "max_attempts": 3,
            "backoff": "exponential",
            "initial": "PT1S",
            "multiplier": 2.0,
            "max": "PT1H",
            "jitter": 0.1,
            "max_elapsed": None,
            "give_up_on": [],
            "retry_on": None,
        },
        "timeout": "PT5M",
        "overlap": "skip",
        "catch_up": {"policy": "latest", "window": "PT1H", "limit": 100},
        "priority": 5,
        "tags": {},
        "pause_on_failure": None,
        "concurrency": None,
        "queue_timeout": None,
        "heartbeat_timeout": None,
        "deadline": None,
        "unique": None,
        "status": "scheduled",
        "revision": 1,
        "version": 1,
        "created_at": "2030-01-01T00:00:00.000Z",
        "updated_at": "2030-01-01T00:00:00.000Z",
        "next_fire_at": "2030-06-01T00:00:00.000Z",
        "last_run": None,
        "counts": {"fired": 0, "succeeded": 0, "failed": 0, "cancelled": 0, "skipped": 0},
        "pause": None,
        "owed": None,
        "pending_schedule": None,
        "failures_in_row": 0,
        "backfills": [],
        "then": [],
        "on_failure": [],
        "after": None,
        "followed_by": [],
        "arrived": {},
    }
    read = await api.get("/api/tasks/t")
    assert (read.status_code, read.json(), read.headers["etag"]) == (200, task, '"r1"')


SCHEDULES: list[tuple[Any, Any, str]] = [
    ({"delay": "90s"}, {"delay": "PT1M30S"}, "2030-01-01T00:01:30.000Z"),
    ({"every": 900}, {"every": "PT15M", "anchor": "2030-01-01T00:00:00.000Z"}, "2030-01-01T00:15:00.000Z"),
    (
        {"every": "1h", "anchor": "2029-12-31T23:30:00Z"},
        {"every": "PT1H", "anchor": "2029-12-31T23:30:00.000Z"},
        "2030-01-01T00:30:00.000Z",
    ),
    ({"cron": "30 2 * * *"}, {"cron": "30 2 * * *", "timezone": "UTC"}, "2030-01-01T02:30:00.000Z"),
    (
        {"cron": "0 30 2 * * *", "timezone": "Europe/Berlin"},
        {"cron": "0 30 2 * * *", "timezone": "Europe/Berlin"},
        "2030-01-01T01:30:00.000Z",
    ),
    (
        {"cron": "0 12 13 * FRI", "dst": {"gap": "skip", "fold": "last"}, "days": "and"},
        {"cron": "0 12 13 * FRI", "timezone": "UTC", "dst": {"gap": "skip", "fold": "last"}, "days": "and"},
        "2030-09-13T12:00:00.000Z",
    ),
    (
        {"cron": "0 0 LW * *", "dst": {"fold": "both"}, "days": None},
        {"cron": "0 0 LW * *", "timezone": "UTC", "dst": {"fold": "both"}},
        "2030-01-31T00:00:00.000Z",
    ),
    ({"cron": "@every 1m30s"}, {"every": "PT1M30S", "anchor": "2030-01-01T00:00:00.000Z"}, "2030-01-01T00:01:30.000Z"),
    (
        {"cron": "CRON_TZ=Asia/Tokyo 0 0 12 ? 1 MON#1 2031"},
        {"cron": "0 0 12 ? 1 MON#1 2031", "timezone": "Asia/Tokyo"},
        "2031-01-06T03:00:00.000Z",
    ),
    (
        {"every": "1w", "timezone": "Europe/Berlin"},
        {"every": "P7D", "anchor": "2030-01-01T00:00:00.000Z", "timezone": "Europe/Berlin"},
        "2030-01-08T00:00:00.000Z",
    ),
    (
        {"every": "P1Y6M", "timezone": "UTC", "anchor": "2028-08-31T12:00:00Z", "dst": {"gap": "skip"}},
        {"every": "P18M", "anchor": "2028-08-31T12:00:00.000Z", "timezone": "UTC", "dst": {"gap": "skip"}},
        "2030-02-28T12:00:00.000Z",
    ),
    (
        {"every": "P1Y", "timezone": "UTC", "start_at": "2030-02-28T12:00:00.001Z"},
        {"every": "P1Y", "timezone": "UTC", "start_at": "2030-02-28T12:00:00.001Z"},
        "2030-02-28T12:00:01.000Z",
    ),
    (
        {"rrule": "DTSTART;TZID=Europe/Berlin:20290131T090000\r\nRRULE:freq=monthly;\r\n BYMONTHDAY=-1;"},
        {"rrule": "FREQ=MONTHLY;BYMONTHDAY=-1;", "timezone": "Europe/Berlin", "dtstart": "2029-01-31T09:00:00"},
        "2030-01-31T08:00:00.000Z",
    ),
    (
        {"rrule": "FREQ=DAILY", "dtstart": "20300102T0900", "dst": {"fold": "last"}, "max_runs": 2},
        {
            "rrule": "FREQ=DAILY",
            "timezone": "UTC",
            "dtstart": "2030-01-02T09:00:00",
            "dst": {"fold": "last"},
            "max_runs": 2,
        },
        "2030-01-02T09:00:00.000Z",
    ),
    (
        {"cron": "0 * * * *", "except": [{"from": "2030-01-01T00:00:00Z", "to": "2030-01-01T04:00:00+01:00"}]},
        {
            "cron": "0 * * * *",
            "timezone": "UTC",
            "except": [{"from": "2030-01-01T00:00:00.000Z", "to": "2030-01-01T03:00:00.000Z"}],
        },
        "2030-01-01T03:00:00.000Z",
    ),
    (
        {
            "any": [
                {"cron": "0 9 * * *"},
                {"every": "1h", "start_at": "2030-01-02T07:30:00Z"},
                {"rrule": "FREQ=DAILY", "dtstart": "2030-01-02T09:00:00", "timezone": "UTC"},
                {"at": "2029-01-01T00:00:00Z"},
            ],
            "except": [
                {"date": "2030-01-01"},
                {"from": "2030-02-01", "to": "2030-02-02"},
                {"cron": "CRON_TZ=UTC * 6 * * *"},
            ],
            "timezone": "Europe/Berlin",
            "max_runs": 5,
        },
        {
            "any": [
                {"cron": "0 9 * * *", "timezone": "Europe/Berlin"},
                {
                    "every": "PT1H",
                    "anchor": "2030-01-02T06:30:00.000Z",
                    "start_at": "2030-01-02T07:30:00.000Z",
                },
                {"rrule": "FREQ=DAILY", "timezone": "UTC", "dtstart": "2030-01-02T09:00:00"},
                {"at": "2029-01-01T00:00:00.000Z"},
            ],
            "timezone": "Europe/Berlin",
            "max_runs": 5,
            "except": [
                {"date": "2030-01-01"},
                {"from": "2030-02-01", "to": "2030-02-02"},
                {"cron": "* 6 * * *", "timezone": "UTC"},
            ],
        },
        "2030-01-02T07:30:00.000Z",
    ),
    ({"at": "2030-01-01T02:00:00+01:00"}, {"at": "2030-01-01T01:00:00.000Z"}, "2030-01-01T01:00:00.000Z"),
]


async def test_every_kind_of_schedule_is_taken(api: httpx.AsyncClient) -> None:
    for schedule, shown, next_fire in SCHEDULES:
        task = await create(api, schedule=schedule)
        assert (task["schedule"], task["next_fire_at"]) == (shown, next_fire)
        again = await api.patch(f"/api/tasks/{task['id']}", json={"schedule": task["schedule"]})
        assert (again.json()["next_fire_at"], again.json()["revision"] <= 2) == (next_fire, True)


async def test_h_follows_from_the_id_and_stays(api: httpx.AsyncClient) -> None:
    spread = {"cron": "H H(0-5) * * *", "timezone": "UTC"}
    firsts = set()
    for number in range(20):
        task = await create(api, id=f"spread-{number}", schedule=spread)
        assert task["schedule"] == spread
        firsts.add(task["next_fire_at"])
        asked = {"schedule": spread, "count": 1, "task_id": f"spread-{number}"}
        shown = (await api.post("/api/schedules/preview", json=asked)).json()["fire_times"]
        assert [fire["at"] for fire in shown] == [task["next_fire_at"]]
        moved = await api.patch(f"/api/tasks/spread-{number}", json={"schedule": {"delay": "1d"}})
        assert moved.json()["next_fire_at"] != task["next_fire_at"]
        back = await api.patch(f"/api/tasks/spread-{number}", json={"schedule": spread})
        assert back.json()["next_fire_at"] == task["next_fire_at"]
    assert len(firsts) > 15
    assert all(at < "2030-01-01T06" for at in firsts)


@pytest.mark.parametrize("expression", ["0 0 0 30 H(2-2) ?", "0 0 0 1 H ? 2029"])
async def test_an_h_that_never_fires_is_refused(api: httpx.AsyncClient, expression: str) -> None:
    body = {"name": "t", "schedule": {"cron": expression}, "target": {"type": "noop"}}
    await create(api, id="other")
    for response in (
        await api.post("/api/tasks", json=body),
        await api.patch("/api/tasks/other", json={"schedule": body["schedule"]}),
        await api.post("/api/schedules/preview", json={"schedule": body["schedule"]}),
    ):
        assert response.status_code == 422, response.text
        [error] = response.json()["errors"]
        assert error["pointer"] == "/schedule/cron"
        assert "never fires" in error["detail"]


async def test_what_leaves_nothing_is_refused(api: httpx.AsyncClient) -> None:
    nothing = {"cron": "0 2 * * *", "except": [{"cron": "0 2 * * *"}]}
    for path, body in (
        ("/api/tasks", {"name": "t", "schedule": nothing, "target": {"type": "noop"}}),
        ("/api/schedules/preview", {"schedule": nothing}),
    ):
        response = await api.post(path, json=body)
        assert response.status_code == 422
        assert [error["pointer"] for error in response.json()["errors"]] == ["/schedule/except"]


async def test_an_interval_that_outlasts_the_calendar_is_refused(api: httpx.AsyncClient) -> None:
    late = {"every": "P100Y", "timezone": "UTC", "anchor": "2150-01-01T00:00:00Z"}
    response = await api.post("/api/tasks", json={"name": "t", "schedule": late, "target": {"type": "noop"}})
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == ["/schedule/every"]


async def test_bounds_come_back_as_given_and_hold(api: httpx.AsyncClient) -> None:
    bounds = {
        "start_at": "2030-01-02T00:00:00.000Z",
        "end_at": "2030-01-02T03:30:00.000Z",
        "max_runs": 3,
        "jitter": "PT5M",
    }
    task = await create(api, id="bounded", schedule={"cron": "0 * * * *", "timezone": "UTC", **bounds})
    assert task["schedule"] == {"cron": "0 * * * *", "timezone": "UTC", **bounds}
    asked = {"schedule": task["schedule"], "task_id": "bounded"}
    fires = [fire["at"] for fire in (await api.post("/api/schedules/preview", json=asked)).json()["fire_times"]]
    assert [fire[:14] for fire in fires] == ["2030-01-02T00:", "2030-01-02T01:", "2030-01-02T02:"]
    assert fires[0] == task["next_fire_at"]
    assert all(fire[14:16] < "05" for fire in fires)
    once = await create(api, schedule={"delay": "1h", "jitter": "1h"})
    assert once["schedule"] == {"delay": "PT1H", "jitter": "PT1H"}


@pytest.mark.parametrize("overlap", ["skip", "buffer_one", "buffer_all", "cancel_other", "allow_all"])
async def test_overlap_comes_back_as_given(api: httpx.AsyncClient, overlap: str) -> None:
    task = await create(api, id="a", overlap=overlap)
    assert task["overlap"] == overlap
    await create(api, id="b")
    changed = await api.patch("/api/tasks/b", json={"overlap": overlap})
    assert (changed.status_code, changed.json()["overlap"]) == (200, overlap)


@pytest.mark.parametrize(
    ("bounds", "field"),
    [
        ({"start_at": "2031-01-01T00:00:00Z", "end_at": "2030-06-01T00:00:00Z"}, "end_at"),
        ({"end_at": "2029-01-01T00:00:00Z"}, "end_at"),
        ({"end_at": "2030-01-01T00:00:01Z"}, "end_at"),
        ({"start_at": "tomorrow"}, "start_at"),
        ({"max_runs": 0}, "max_runs"),
        ({"max_runs": 1.5}, "max_runs"),
        ({"max_runs": 10**10}, "max_runs"),
        ({"jitter": "-1s"}, "jitter"),
        ({"jitter": True}, "jitter"),
    ],
)
async def test_bad_bounds_are_refused(api: httpx.AsyncClient, bounds: dict[str, Any], field: str) -> None:
    await create(api, id="other")
    schedule = {"cron": "0 0 1 1 *", **bounds}
    for response in (
        await api.post("/api/tasks", json={"name": "t", "schedule": schedule, "target": {"type": "noop"}}),
        await api.patch("/api/tasks/other", json={"schedule": schedule}),
        await api.post("/api/schedules/preview", json={"schedule": schedule}),
    ):
        assert response.status_code == 422, response.text
        [error] = response.json()["errors"]
        assert error["pointer"] == f"/schedule/{field}"


async def test_targets_and_policies_come_back_as_given(api: httpx.AsyncClient) -> None:
    target = {
        "type": "http",
        "url": "https://example.com/a?b=c",
        "method": "PUT",
        "headers": {"X-A": "b", "X-Api-Key": {"secret": "crm-key"}},
        "body": {"k": [1, None]},
        "expect": ["200-299", 304],
        "auth": {"basic": {"user": "ada", "password": "crm-password"}},
        "sign": {"secret": "crm-hook"},
        "tls": {"cert": "crm.pem", "key": "crm.key", "ca": "ca.pem"},
    }
    retry = {
        "max_attempts": 7,
        "backoff": "fixed",
        "initial": "PT0.5S",
        "multiplier": 1.5,
        "max": "PT2M",
        "jitter": 0.0,
        "max_elapsed": "P1D",
        "give_up_on": ["http_404"],
        "retry_on": ["http_503"],
    }
    catch_up = {"policy": "all", "window": "P2D", "limit": 5}
    given = {"target": target, "retry": retry, "catch_up": catch_up, "tags": {"team": "a"}, "priority": 1}
    task = await create(api, **given, payload={"deep": [[1.5, "é", 10**25]]}, timeout="10m")
    for name, value in given.items():
        assert task[name] == value
    assert (task["payload"], task["timeout"]) == ({"deep": [[1.5, "é", 10**25]]}, "PT10M")


async def test_ids_are_made_in_order_of_time_and_are_taken_once(api: httpx.AsyncClient, clock: Clock) -> None:
    first = (await create(api))["id"]
    clock.now += 1
    assert first < (await create(api))["id"]
    response = await api.post("/api/tasks", json={**GOOD, "id": first})
    assert response.status_code == 409
    assert first in response.json()["detail"]


async def test_an_at_up_to_an_hour_ago_still_runs(api: httpx.AsyncClient) -> None:
    task = await create(api, target=QUEUED["target"], schedule={"at": "2029-12-31T23:00:00Z"})
    assert task["next_fire_at"] == "2029-12-31T23:00:00.000Z"


async def test_delete_is_soft_and_can_be_repeated_with_its_key(api: httpx.AsyncClient) -> None:
    path = f"/api/tasks/{(await create(api))['id']}"
    key = {"Idempotency-Key": "k"}
    gone = await api.delete(path, headers=key)
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await api.delete(path, headers=key)).status_code == 204
    assert (await api.delete(path)).status_code == 410
    taken = await api.post("/api/tasks", json={"id": path.rsplit("/", 1)[1], "name": "t", "target": {"type": "noop"}})
    assert (taken.status_code, "deleted task" in taken.json()["detail"]) == (409, True)
    assert (await api.get(path)).status_code == 410
    assert (await api.post(path + "/pause")).status_code == 410
    kept = (await api.get(path + "/events")).json()["items"]
    assert "task.deleted.v1" in [event["type"] for event in kept]
    assert (await api.get("/api/tasks")).json() == {"items": [], "next_cursor": None}
    assert (await api.post("/api/tasks", json={**GOOD, "id": path.rsplit("/", 1)[1]})).status_code == 409


async def test_a_patch_replaces_some_fields_whole_and_merges_the_others(api: httpx.AsyncClient) -> None:
    task = await create(api, tags={"a": "1", "b": "2"}, retry={"max_attempts": 9, "jitter": 0.5}, payload={"k": 1})
    path = f"/api/tasks/{task['id']}"
    changed = await api.patch(
        path,
        json={
            "tags": {"b": None, "c": "3"},
            "retry": {"max_attempts": 2},
            "payload": {"j": 2},
            "catch_up": {"limit": 7},
        },
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert changed.status_code == 200, changed.text
    after = changed.json()
    assert after["tags"] == {"a": "1", "c": "3"}
    assert (after["retry"]["max_attempts"], after["retry"]["jitter"]) == (2, 0.1)
    assert after["payload"] == {"j": 2}
    assert after["catch_up"] == {"policy": "latest", "window": "PT1H", "limit": 7}
    assert (after["revision"], changed.headers["etag"]) == (2, '"r2"')
    reset = (await api.patch(path, json={"tags": None, "payload": None, "catch_up": None, "timeout": None})).json()
    assert (reset["tags"], reset["payload"], reset["timeout"]) == ({}, None, "PT5M")
    assert reset["catch_up"]["limit"] == 100


async def test_only_a_patch_that_changes_something_raises_the_revision(api: httpx.AsyncClient) -> None:
    path = f"/api/tasks/{(await create(api))['id']}"
    assert (await api.patch(path, json={})).json()["revision"] == 1
    assert (await api.patch(path, json={"name": "x", "schedule": LATER})).json()["revision"] == 1
    assert (await api.patch(path, json={"name": "y"})).json()["revision"] == 2
    assert (await api.post(path + "/pause")).json()["revision"] == 2


async def test_a_patch_cannot_take_away_what_is_required(api: httpx.AsyncClient) -> None:
    path = f"/api/tasks/{(await create(api))['id']}"
    for body in ({"name": None}, {"target": None}, {"id": "other"}, {"status": "paused"}):
        response = await api.patch(path, json=body)
        assert [error["pointer"] for error in response.json()["errors"]] == [f"/{name}" for name in body]


async def test_patches_of_tags_at_the_same_time_lose_nothing(api: httpx.AsyncClient) -> None:
    path = f"/api/tasks/{(await create(api))['id']}"
    replies = await asyncio.gather(*(api.patch(path, json={"tags": {f"t{n}": "x"}}) for n in range(5)))
    assert {reply.status_code for reply in replies} == {200}
    assert set((await api.get(path)).json()["tags"]) == {f"t{n}" for n in range(5)}


async def test_if_match_guards_a_write(api: httpx.AsyncClient) -> None:
    path = f"/api/tasks/{(await create(api))['id']}"
    never = ('"r2"', 'W/"r1"', '"abc"', '"r01"', '"r999999999999999999999"')
    for value, status in [*((value, 412) for value in never), ("*", 200), ('"r9", "r2"', 200), ('"r3"', 200)]:
        name = f"named under {value}"
        response = await api.patch(path, json={"name": name}, headers={"If-Match": value})
        assert response.status_code == status, value
        assert ((await api.get(path)).json()["name"] == name) is (status == 200)
    assert (await api.post(path + "/pause", headers={"If-Match": '"r1"'})).status_code == 412
    assert (await api.delete(path, headers={"If-Match": '"r1"'})).status_code == 412


async def test_of_two_writers_with_the_same_if_match_one_wins(api: httpx.AsyncClient) -> None:
    path = f"/api/tasks/{(await create(api))['id']}"
    headers = {"If-Match": '"r1"'}
    replies = await asyncio.gather(*(api.patch(path, json={"name": f"n{n}"}, headers=headers) for n in range(2)))
    assert sorted(reply.status_code for reply in replies) == [200, 412]


async def test_verbs_answer_as_promised(api: httpx.AsyncClient) -> None:
    path = f"/api/tasks/{(await create(api, **QUEUED, schedule=LATER))['id']}"
    paused = await api.post(path + "/pause", json={"note": "tea"})
    assert paused.json()["pause"] == {"note": "tea", "at": "2030-01-01T00:00:00.000Z", "by": "anonymous"}
    assert (await api.post(path + "/pause", json={"note": "other"})).json()["pause"]["note"] == "tea"
    assert (await api.post(path + "/resume")).json()["pause"] is None
    triggered = await api.post(path + "/trigger")
    assert (triggered.status_code, triggered.json()["status"]) == (202, "running")
    run = await api.get(f"{path}/runs/{triggered.json()['run_id']}")
    assert (run.json()["cause"], run.json()["status"], run.json()["result"]) == ("manual", "queued", None)
    assert (await api.post(path + "/retry")).status_code == 409
    cancelled = await api.post(path + "/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert (await api.post(path + "/cancel")).status_code == 409
    assert (await api.patch(path, json={"name": "y"})).status_code == 409
    assert (await api.post("/api/tasks/nobody/cancel")).status_code == 404
    assert (await api.get(path + "/runs/nothing")).status_code == 404


async def test_a_write_without_verdict_says_that_its_outcome_is_unknown(
    node: EmbeddedNode, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_verdict(*_: Any, **__: Any) -> None:
        raise Unavailable("no verdict within 10 s", "unknown", retry_after=2.0)

    monkeypatch.setattr(node.handler, "handle", no_verdict)
    response = await api.post("/api/tasks", json=GOOD)
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    assert response.json()["outcome"] == "unknown"


async def test_the_trace_of_a_request_is_kept_with_its_decision(node: EmbeddedNode, api: httpx.AsyncClient) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await api.post("/api/tasks", json=GOOD, headers={"traceparent": trace})
    await api.post("/api/tasks", json=GOOD, headers={"traceparent": "nonsense"})
    first, second = await node.log.read(0, 0, 10)
    assert first.record.trace is not None
    assert first.record.trace[:36] == trace[:36]
    assert second.record.trace is not None
    assert second.record.trace[:36] != trace[:36]


async def test_every_request_is_observed_by_its_template(node: EmbeddedNode) -> None:
    seen: list[tuple[str, str, int, float]] = []
    app = create_app(node, node.settings, observe=lambda *request: seen.append(request))
    async with client_of(app) as api:
        await create(api, id="a")
        await api.get("/api/tasks/a")
        await api.get("/nowhere")
        await api.request("BREW", "/api/tasks")
    assert [request[:3] for request in seen] == [
        ("POST", "/api/tasks", 201),
        ("GET", "/api/tasks/{task_id}", 200),
        ("GET", "unmatched", 404),
        ("OTHER", "unmatched", 405),
    ]
    assert all(0 <= seconds < 60 for *_, seconds in seen)
