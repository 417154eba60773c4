"""Lists, histories and previews over REST."""

from __future__ import annotations

from typing import Any

import httpx
from rest_kit import Clock

from taskscheduler.api.bootstrap import EmbeddedNode
from taskscheduler.domain.events import Error

LATER = {"at": "2030-06-01T00:00:00Z"}


async def create(api: httpx.AsyncClient, name: str, **fields: Any) -> str:
    body = {"name": name, "schedule": LATER, "target": {"type": "noop"}, **fields}
    response = await api.post("/api/tasks", json=body)
    assert response.status_code == 201, response.text
    made: str = response.json()["id"]
    return made


async def names(api: httpx.AsyncClient, query: str = "") -> list[str]:
    response = await api.get(f"/api/tasks?{query}")
    assert response.status_code == 200, response.text
    return [task["name"] for task in response.json()["items"]]


async def test_tasks_are_listed_by_every_filter_and_in_every_order(api: httpx.AsyncClient, clock: Clock) -> None:
    for day, name in [(3, "Apple"), (1, "banana"), (2, "Cherry")]:
        clock.now += 1
        schedule = {"at": f"2030-02-0{day}T00:00:00+01:00"}
        task_id = await create(api, name, schedule=schedule, tags={"kind": "fruit", "colour": name[0]})
    await api.post(f"/api/tasks/{task_id}/pause")
    assert await names(api) == ["Apple", "banana", "Cherry"]
    assert await names(api, "sort=-created_at") == ["Cherry", "banana", "Apple"]
    assert await names(api, "sort=next_fire_at") == ["banana", "Cherry", "Apple"]
    assert await names(api, "sort=name") == ["Apple", "Cherry", "banana"]
    assert await names(api, "status=paused") == ["Cherry"]
    assert await names(api, "name=AN") == ["banana"]
    assert await names(api, "tag=kind:fruit&tag=colour:A") == ["Apple"]
    assert await names(api, "due_before=2030-02-02T00:00:00%2B01:00") == ["banana"]
    assert await names(api, "due_before=2030-02-02T00:00:00+01:00") == ["banana"]
    assert await names(api, "tag=kind:stone") == []


async def test_pages_lead_from_one_to_the_next(api: httpx.AsyncClient, clock: Clock) -> None:
    for n in range(5):
        clock.now += 1
        await create(api, f"n{n}", tags={"a": "ä b&c"})
    seen: list[str] = []
    url = "/api/tasks?limit=2&tag=a:%C3%A4%20b%26c"
    while url:
        response = await api.get(url)
        seen += [task["name"] for task in response.json()["items"]]
        link = response.links.get("next")
        assert (link is None) is (response.json()["next_cursor"] is None)
        url = "" if link is None else link["url"]
    assert seen == [f"n{n}" for n in range(5)]


async def test_a_cursor_of_another_query_or_a_made_up_one_is_refused(api: httpx.AsyncClient) -> None:
    for n in range(3):
        await create(api, f"n{n}")
    cursor = (await api.get("/api/tasks?limit=1")).json()["next_cursor"]
    for query in (f"limit=1&cursor={cursor}&sort=name", "cursor=abc", "cursor=%00", "cursor=" + "x" * 5000):
        response = await api.get(f"/api/tasks?{query}")
        assert [error["pointer"] for error in response.json()["errors"]] == ["/cursor"]


async def test_the_history_of_a_task_is_told_in_api_values(api: httpx.AsyncClient) -> None:
    path = f"/api/tasks/{await create(api, 'x', payload={'k': 1}, schedule={'every': '1h'})}"
    await api.post(path + "/pause", json={"note": "tea"})
    items = (await api.get(path + "/events")).json()["items"]
    assert [(item["type"], item["version"]) for item in items] == [("task.created.v1", 1), ("task.paused.v1", 2)]
    assert items[1] == {
        "type": "task.paused.v1",
        "version": 2,
        "time": "2030-01-01T00:00:00.000Z",
        "actor": "anonymous",
        "cause": None,
        "data": {"by": "anonymous", "note": "tea"},
    }
    made = items[0]["data"]
    assert made["next_fire"] == "2030-01-01T01:00:00.000Z"
    assert made["definition"]["payload"] == {"k": 1}
    assert made["definition"]["schedule"] == {"every": "PT1H", "anchor": "2030-01-01T00:00:00.000Z"}
    first = await api.get(path + "/events?limit=1")
    assert [item["version"] for item in (await api.get(first.links["next"]["url"])).json()["items"]] == [2]
    assert (await api.get("/api/tasks/nobody/events")).status_code == 404
    assert (await api.get("/api/tasks/nobody/runs")).status_code == 404


async def test_runs_and_dead_letters_are_listed(api: httpx.AsyncClient, node: EmbeddedNode, clock: Clock) -> None:
    target = {"type": "queue", "queue": "mail", "kind": "send"}
    path = f"/api/tasks/{await create(api, 'x', target=target, retry={'max_attempts': 1}, tags={'a': 'b'})}"
    runs = []
    for error in ("Timeout", "Refused"):
        clock.now += 1000
        runs.append((await api.post(path + "/trigger")).json()["run_id"])
        [given] = await node.queue.claim("mail", worker="w")
        clock.now += 250
        await node.queue.fail(given.token, Error(error, "no"))
    listed = (await api.get(path + "/runs")).json()["items"]
    assert [run["id"] for run in listed] == runs[::-1]
    assert listed[0]["attempts"] == [
        {
            "number": 1,
            "worker": "w",
            "started_at": "2030-01-01T00:00:02.250Z",
            "finished_at": "2030-01-01T00:00:02.500Z",
            "outcome": "failed",
            "error": {"type": "Refused", "message": "no"},
            "progress": None,
        }
    ]
    assert (listed[0]["reason"], listed[0]["lateness_ms"]) == ("attempts_exhausted", 0)
    part = await api.get(path + "/runs?status=failed&from=2030-01-01T00:00:01Z&to=2030-01-01T00:00:02.250Z")
    assert [run["id"] for run in part.json()["items"]] == runs[:1]
    dead = (await api.get("/api/dead-letters")).json()["items"]
    assert [(letter["id"], letter["task_name"], letter["tags"]) for letter in dead] == [
        (runs[1], "x", {"a": "b"}),
        (runs[0], "x", {"a": "b"}),
    ]
    assert dead[0]["error"] == {"type": "Refused", "message": "no"}
    for query, expected in [
        ("error_type=Timeout", runs[:1]),
        ("tag=a:c", []),
        (f"task_id={path.rsplit('/', 1)[1]}", runs[::-1]),
        ("from=2030-01-01T00:00:02.500Z", runs[1:]),
        ("to=2030-01-01T00:00:02.500Z", runs[:1]),
    ]:
        response = await api.get(f"/api/dead-letters?{query}")
        assert [letter["id"] for letter in response.json()["items"]] == expected, query
    retried = await api.post(path + "/retry")
    assert retried.status_code == 202
    assert retried.json()["last_run"]["retry_of"] == runs[1]


async def preview(api: httpx.AsyncClient, **body: Any) -> list[dict[str, Any]]:
    response = await api.post("/api/schedules/preview", json=body)
    assert response.status_code == 200, response.text
    fires: list[dict[str, Any]] = response.json()["fire_times"]
    return fires


async def test_a_preview_shows_when_and_what_the_clocks_say(api: httpx.AsyncClient) -> None:
    cron = {"cron": "30 6 * * *", "timezone": "Europe/Berlin"}
    fires = await preview(api, schedule=cron, count=2, after="2030-03-30T05:30:00Z")
    assert fires == [
        {"at": "2030-03-31T04:30:00.000Z", "local": "2030-03-31T06:30:00.000+02:00", "note": None},
        {"at": "2030-04-01T04:30:00.000Z", "local": "2030-04-01T06:30:00.000+02:00", "note": None},
    ]
    new_york = {"cron": "0 0 * * *", "timezone": "America/New_York"}
    assert (await preview(api, schedule=new_york, count=1))[0]["local"] == "2030-01-01T00:00:00.000-05:00"


async def test_a_preview_begins_with_what_a_task_made_now_would_fire(api: httpx.AsyncClient) -> None:
    """At midnight, what jitter put off from before it is no fire time any more; `after` may still ask for it."""
    for number in range(20):
        schedule = {"every": "1h", "anchor": "2029-12-31T00:30:00Z", "jitter": "59m"}
        task = await create(api, "t", id=f"put-off-{number}", schedule=schedule)
        made = (await api.get(f"/api/tasks/{task}")).json()
        asked = {"schedule": schedule, "task_id": f"put-off-{number}", "count": 1}
        [first] = await preview(api, **asked)
        assert first["at"] == made["next_fire_at"]
        assert first["at"] >= "2030-01-01T00:30"
        [earlier] = await preview(api, **asked, after="2029-12-31T23:59:59.999Z")
        assert earlier["at"] <= first["at"]


async def test_a_preview_notes_clock_changes_of_members(api: httpx.AsyncClient) -> None:
    daily = {"every": "1d", "anchor": "2030-03-01T01:00:00Z"}
    several = {"any": [daily, {"cron": "30 2 * * *"}], "timezone": "Europe/Berlin"}
    fires = await preview(api, schedule=several, count=3, after="2030-03-30T12:00:00Z")
    assert [(fire["local"][:16], fire["note"]) for fire in fires] == [
        ("2030-03-31T03:00", "shifted: 02:30 does not exist"),
        ("2030-04-01T02:30", None),
        ("2030-04-01T03:00", None),
    ]


async def test_a_preview_says_what_a_clock_change_did(api: httpx.AsyncClient) -> None:
    nightly = {"cron": "30 2 * * *", "timezone": "Europe/Berlin"}
    spring = {"count": 1, "after": "2030-03-30T12:00:00Z"}
    [shifted] = await preview(api, schedule=nightly, **spring)
    assert shifted == {
        "at": "2030-03-31T01:00:00.000Z",
        "local": "2030-03-31T03:00:00.000+02:00",
        "note": "shifted: 02:30 does not exist",
    }
    [skipped] = await preview(api, schedule={**nightly, "dst": {"gap": "skip"}}, **spring)
    assert skipped == {
        "at": "2030-04-01T00:30:00.000Z",
        "local": "2030-04-01T02:30:00.000+02:00",
        "note": "skipped before: 02:30 on 2030-03-31 does not exist",
    }
    last = {**nightly, "dst": {"fold": "last"}}
    [second] = await preview(api, schedule=last, count=1, after="2030-10-26T12:00:00Z")
    assert second == {
        "at": "2030-10-27T01:30:00.000Z",
        "local": "2030-10-27T02:30:00.000+01:00",
        "note": "02:30 comes twice: this is the second time, the other one is skipped",
    }


async def test_a_preview_is_after_exclusive_and_until_inclusive(api: httpx.AsyncClient) -> None:
    hourly = {"every": "1h", "anchor": "2030-01-01T00:00:00Z"}
    bounds = {"after": "2030-01-01T02:00:00Z", "until": "2030-01-01T04:00:00Z"}
    assert [fire["at"][11:16] for fire in await preview(api, schedule=hourly, **bounds)] == ["03:00", "04:00"]
    assert len(await preview(api, schedule=hourly)) == 10
    assert len(await preview(api, schedule={"every": "100ms"}, count=1000)) == 1000
    assert await preview(api, schedule=hourly, until="2029-01-01T00:00:00Z") == []


async def test_a_preview_without_anchor_counts_from_now(api: httpx.AsyncClient, clock: Clock) -> None:
    clock.now += 1500
    assert [fire["at"] for fire in await preview(api, schedule={"delay": "30s"})] == ["2030-01-01T00:00:31.500Z"]
    assert [fire["at"] for fire in await preview(api, schedule={"every": "30s"}, count=1)] == [
        "2030-01-01T00:00:31.500Z"
    ]
    assert [fire["at"] for fire in await preview(api, schedule={"delay": 0})] == ["2030-01-01T00:00:01.500Z"]
    past = {"at": "2029-12-31T23:30:00Z"}
    assert [fire["at"] for fire in await preview(api, schedule=past)] == ["2029-12-31T23:30:00.000Z"]
    assert await preview(api, schedule=past, after="2030-01-01T00:00:00Z") == []
