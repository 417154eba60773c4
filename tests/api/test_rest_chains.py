"""Chains over REST on a whole embedded node: what is asked, what runs, what is shown."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from taskscheduler.domain import chains

MANUAL = {"manual": True}
NOOP = {"type": "noop"}
QUEUE = {"type": "queue", "queue": "mail", "kind": "send"}


async def make(api: httpx.AsyncClient, id: str, status: int = 201, **fields: Any) -> dict[str, Any]:
    body = {"id": id, "name": id, "target": NOOP, **({} if "after" in fields else {"schedule": MANUAL}), **fields}
    response = await api.post("/api/tasks", json=body)
    assert response.status_code == status, response.text
    found: dict[str, Any] = response.json()
    return found


async def trigger(api: httpx.AsyncClient, id: str) -> str:
    response = await api.post(f"/api/tasks/{id}/trigger")
    assert response.status_code == 202
    return str(response.json()["run_id"])


async def get(api: httpx.AsyncClient, path: str) -> dict[str, Any]:
    response = await api.get(f"/api/tasks/{path}")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def runs(api: httpx.AsyncClient, id: str, count: int, **query: str) -> list[dict[str, Any]]:
    """The runs of a task that have ended, the newest first, as soon as there are so many."""
    for _ in range(500):
        response = await api.get(f"/api/tasks/{id}/runs", params=query)
        found: list[dict[str, Any]] = [run for run in response.json()["items"] if run["finished_at"]]
        if len(found) >= count:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(f"{id} has not {count} runs: {found}")


async def work(api: httpx.AsyncClient, verb: str = "complete", **body: Any) -> dict[str, Any]:
    asked = {"worker": "w", "max": 1, "wait": "5s"}
    [claim] = (await api.post("/api/queues/mail/claims", json=asked)).json()["claims"]
    assert (await api.post(f"/api/claims/{claim['token']}/{verb}", json=body)).status_code == 200
    found: dict[str, Any] = claim
    return found


async def test_a_chain_hands_on_results(api: httpx.AsyncClient) -> None:
    await make(api, "mail", target=QUEUE, payload={"own": 1})
    first = await make(api, "extract", target=QUEUE, then=["mail"])
    assert first["then"] == ["mail"]
    joined = await make(api, "join", target=QUEUE, after={"tasks": ["extract", "mail"]})
    assert (joined["schedule"], joined["status"]) == (MANUAL, "scheduled")
    assert joined["after"] == {"tasks": ["extract", "mail"], "when": "all", "on": "success"}
    assert (await get(api, "extract"))["followed_by"] == ["join"]
    run_id = await trigger(api, "extract")
    await work(api, result={"rows": 3})
    claim = await work(api, result="sent")
    assert (claim["task_id"], claim["payload"]) == ("mail", {"own": 1})
    assert (claim["upstream"]["extract"]["run_id"], claim["upstream"]["extract"]["result"]) == (run_id, {"rows": 3})
    claim = await work(api)
    assert (claim["task_id"], [run["result"] for run in claim["upstream"].values()]) == ("join", [{"rows": 3}, "sent"])
    [run] = await runs(api, "join", 1)
    assert (run["cause"], run["nominal_at"], run["caused_by"]["task_id"]) == ("chain", None, "mail")
    task = await get(api, "join")
    assert task["last_run"]["upstream"]["extract"]["result"] is None, "a summary shows no results"
    ledger = (await api.get("/api/tasks/join/ledger")).json()
    assert (ledger["nominal"], ledger["balanced"]) == (0, True)


async def test_a_failure_leads_elsewhere_and_a_retry_that_succeeds_on(api: httpx.AsyncClient) -> None:
    await make(api, "alarm")
    await make(api, "next")
    await make(api, "job", target=QUEUE, then=["next"], on_failure=["alarm"], retry={"max_attempts": 1})
    await trigger(api, "job")
    await work(api, "fail", error={"type": "E", "message": "why"})
    [alarm] = await runs(api, "alarm", 1)
    assert alarm["upstream"]["job"]["status"] == "failed"
    assert (await api.post("/api/tasks/job/retry")).status_code == 202
    await work(api)
    await runs(api, "next", 1)
    assert len(await runs(api, "alarm", 1)) == 1


async def test_events_tell_of_steps(api: httpx.AsyncClient) -> None:
    await make(api, "b")
    await make(api, "a", then=["b"])
    run_id = await trigger(api, "a")
    await runs(api, "b", 1)
    events = {event["type"]: event["data"] for event in (await api.get("/api/tasks/a/events")).json()["items"]}
    step = events["steps.made.v1"]["step"]
    assert (step["run_id"], step["at"]) == (run_id, (await runs(api, "a", 1))[0]["finished_at"])
    heard = {event["type"]: event for event in (await api.get("/api/tasks/b/events")).json()["items"]}
    assert heard["run.queued.v1"]["cause"] == "a#2"
    assert heard["run.queued.v1"]["data"]["upstream"]["a"]["run_id"] == run_id
    assert heard["upstream.heard.v1"]["data"]["ended_at"] == step["at"]


async def test_what_comes_in_a_pause_is_shown_as_skipped(api: httpx.AsyncClient) -> None:
    await make(api, "b")
    await make(api, "a", then=["b"])
    await api.post("/api/tasks/b/pause")
    await trigger(api, "a")
    [row] = await runs(api, "b", 1, cause="chain")
    assert (row["status"], row["reason"], row["caused_by"]["task_id"]) == ("skipped", "paused", "a")
    why = (await api.get("/api/tasks/b/why", params={"at": row["scheduled_for"]})).json()
    assert why["outcome"] == "ignored"
    assert "of a had ended" in why["answer"]
    assert (await get(api, "b"))["counts"]["skipped"] == 0, "no fire time was skipped"
    await api.post("/api/tasks/b/resume")
    await trigger(api, "b")
    await runs(api, "b", 2)
    assert len(await runs(api, "b", 1, cause="manual")) == 1


async def test_circles_and_tasks_that_are_not_there_are_refused(api: httpx.AsyncClient) -> None:
    await make(api, "a")
    await make(api, "b", after=["a"])
    await make(api, "c", after=["b"])
    refused = await make(api, "d", 422, then=["a"], after=["c"])
    [error] = refused["errors"]
    assert (error["pointer"], "d → a → b → c → d" in error["detail"]) == ("/then", True)
    response = await api.patch("/api/tasks/a", json={"after": ["c"]})
    assert (response.status_code, "circle" in response.text) == (422, True)
    assert (await api.patch("/api/tasks/a", json={"then": ["a"]})).status_code == 422
    errors = (await make(api, "e", 422, then=["a", "no"], on_failure=["nor"], after=["nothing"]))["errors"]
    assert [error["pointer"] for error in errors] == ["/then/1", "/on_failure/0", "/after"]
    await api.post("/api/tasks/c/cancel")
    assert "cancelled" in (await make(api, "e", 422, then=["c"]))["errors"][0]["detail"]
    assert (await api.patch("/api/tasks/a", json={"after": ["c"]})).status_code == 422


async def test_after_is_an_array_or_an_object(api: httpx.AsyncClient) -> None:
    response = await api.post("/api/tasks", json={"name": "b", "target": NOOP, "after": "a"})
    assert response.json()["errors"] == [{"pointer": "/after", "detail": "must be an array of 1 to 100 items"}]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"then": ["a", "a"]}, "/then"),
        ({"then": "a"}, "/then"),
        ({"then": ["no id"]}, "/then/0"),
        ({"after": []}, "/after"),
        ({"after": ["a"] * 101}, "/after"),
        ({"after": {"tasks": "a"}}, "/after/tasks"),
        ({"after": {"tasks": ["no id"]}}, "/after/tasks/0"),
        ({"after": {"on": "end"}}, "/after/tasks"),
        ({"after": {"tasks": []}}, "/after/tasks"),
        ({"after": {"tasks": ["a"], "when": "some"}}, "/after/when"),
        ({"after": {"tasks": ["a"], "on": "ever"}}, "/after/on"),
        ({"after": {"tasks": ["a"], "x": 1}}, "/after/x"),
        ({"schedule": {"manual": False}}, "/schedule/manual"),
        ({"schedule": {"manual": True, "jitter": "1s"}}, "/schedule/jitter"),
    ],
)
async def test_what_cannot_be_meant_is_refused(api: httpx.AsyncClient, body: dict[str, Any], pointer: str) -> None:
    await make(api, "a")
    response = await api.post("/api/tasks", json={"name": "b", "target": NOOP, **body})
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


async def test_links_follow_a_patch(api: httpx.AsyncClient) -> None:
    for name in "ab":
        await make(api, name)
    await make(api, "c", after=["a"])
    changed = await api.patch("/api/tasks/c", json={"after": {"tasks": ["b"], "when": "any", "on": "end"}})
    assert changed.status_code == 200
    assert ((await get(api, "a"))["followed_by"], (await get(api, "b"))["followed_by"]) == ([], ["c"])
    assert (await api.patch("/api/tasks/c", json={"schedule": None})).json()["schedule"] == MANUAL
    freed = (await api.patch("/api/tasks/c", json={"after": None, "schedule": {"every": "1h"}})).json()
    assert (freed["after"], (await get(api, "b"))["followed_by"]) == (None, [])


async def test_a_follower_that_is_full_holds_up_no_change(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "MAX_ACTIVE_RUNS", 1)
    await make(api, "b", target=QUEUE)
    await make(api, "a", then=["b"])
    for _ in range(2):
        await trigger(api, "a")
    await runs(api, "a", 2)
    assert (await api.patch("/api/tasks/a", json={"name": "other", "on_failure": ["b"]})).status_code == 200
    for _ in range(2):
        assert (await work(api))["task_id"] == "b"


async def test_tasks_of_a_batch_may_name_each_other(api: httpx.AsyncClient) -> None:
    tasks = [
        {"id": "c", "name": "c", "target": NOOP, "after": ["b"]},
        {"id": "a", "name": "a", "target": NOOP, "schedule": MANUAL, "then": ["b"]},
        {"id": "b", "name": "b", "target": NOOP, "schedule": MANUAL},
        {"id": "x", "name": "x", "target": NOOP, "schedule": MANUAL, "then": ["y"]},
        {"id": "y", "name": "y", "target": NOOP, "schedule": MANUAL, "then": ["x"]},
    ]
    results = (await api.post("/api/tasks/batch", json={"tasks": tasks})).json()["results"]
    assert [result["status"] for result in results] == [201, 201, 201, 422, 422]
    await trigger(api, "a")
    await runs(api, "c", 1)


async def test_the_graph_shows_what_is_around(api: httpx.AsyncClient) -> None:
    await make(api, "b")
    await make(api, "z")
    await make(api, "a", then=["b"], on_failure=["z"])
    await make(api, "c", after={"tasks": ["b", "z"], "when": "any", "on": "end"})
    await make(api, "d", after=["c"])
    graph = await get(api, "b/graph")
    assert [(node["id"], node["hops"]) for node in graph["nodes"]] == [("a", -1), ("b", 0), ("c", 1), ("d", 2)]
    edges = [(e["from"], e["to"], e["kind"], e["when"], e["on"]) for e in graph["edges"]]
    assert sorted(edges) == [
        ("a", "b", "then", None, None),
        ("b", "c", "after", "any", "end"),
        ("c", "d", "after", "all", "success"),
    ]
    assert graph["complete"] is True
    near = await get(api, "b/graph?hops=1")
    assert ([node["id"] for node in near["nodes"]], near["complete"]) == (["a", "b", "c"], False)
    await api.delete("/api/tasks/c")
    graph = await get(api, "d/graph")
    assert [(node["id"], node["status"]) for node in graph["nodes"]] == [("c", "deleted"), ("d", "scheduled")]
    for wrong in ("x", "-1", "21"):
        assert (await api.get(f"/api/tasks/b/graph?hops={wrong}")).status_code == 422


async def test_a_key_gives_the_answer_again_though_a_task_has_gone(api: httpx.AsyncClient) -> None:
    await make(api, "a")
    body = {"id": "b", "name": "b", "target": NOOP, "after": ["a"]}
    first = await api.post("/api/tasks", json=body, headers={"Idempotency-Key": "k"})
    await api.delete("/api/tasks/a")
    again = await api.post("/api/tasks", json=body, headers={"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code, again.headers["idempotent-replayed"]) == (201, 201, "true")
