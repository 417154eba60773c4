"""What clients are promised, in either profile: keys, revisions, tokens, lists, live events, problems, a command line.

Writes go through one instance and reads through another, where there are two.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from taskscheduler.api.cli.main import run as command_line
from taskscheduler.client import AsyncClient, LiveEvent
from tests.e2e.conftest import Scheduler
from tests.e2e.instances import PATIENCE, Instances

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NOOP = {"type": "noop"}
LATER = {"at": "2099-01-01T00:00:00Z"}


async def test_a_key_makes_one_task_whichever_instance_is_asked(users: Instances, name: str) -> None:
    body = {"name": name, "target": NOOP, "schedule": LATER, "tags": {"of": name}}
    both = [users.send("POST", "/api/tasks", body, at=at, idempotency_key=name) for at in (0, -1) * 5]
    replies = await asyncio.gather(*both)
    assert {reply.status_code for reply in replies} == {201}
    assert len({reply.headers["location"] for reply in replies}) == 1
    assert sum("idempotent-replayed" not in reply.headers for reply in replies) == 1
    assert len({reply.text for reply in replies}) == 1
    assert len(await users.pages(f"/api/tasks?tag=of:{name}")) == 1
    other = await users.send("POST", "/api/tasks", {**body, "name": "other"}, at=-1, idempotency_key=name)
    assert (other.status_code, other.json()["type"]) == (422, "/docs#key-reused")
    # The same holds for what is asked of a task.
    path = f"/api/tasks/{replies[0].json()['id']}"
    again = [users.send("POST", f"{path}/trigger", at=at, idempotency_key=f"{name}-t") for at in (0, -1) * 3]
    started = await asyncio.gather(*again)
    assert {(reply.status_code, reply.json()["run_id"]) for reply in started} == {(202, started[0].json()["run_id"])}
    assert len(await users.pages(f"{path}/runs")) == 1


async def test_one_of_many_changes_of_a_revision_wins(users: Instances, name: str) -> None:
    await users.create({"id": name, "name": "0", "schedule": LATER, "target": NOOP})
    for revision in range(1, 6):
        changes = [
            users.send(
                "PATCH", f"/api/tasks/{name}", {"name": f"{revision}-{n}"}, at=n % 2 - 1, if_match=f'"r{revision}"'
            )
            for n in range(10)
        ]
        replies = await asyncio.gather(*changes)
        assert Counter(reply.status_code for reply in replies) == {200: 1, 412: 9}
        [won] = [reply for reply in replies if reply.status_code == 200]
        assert won.headers["etag"] == f'"r{revision + 1}"'
        read = await users.ask(f"/api/tasks/{name}")
        assert (read.headers["etag"], read.json()["name"]) == (won.headers["etag"], won.json()["name"])
    assert (await users.send("DELETE", f"/api/tasks/{name}", at=-1, if_match='"r2"')).status_code == 412
    assert (await users.send("DELETE", f"/api/tasks/{name}", at=-1, if_match='"r6", "r9"')).status_code == 204


async def test_who_brings_a_token_sees_what_was_written(users: Instances, name: str) -> None:
    for n in range(30):
        at = n % 2 - 1
        made = await users.create({"name": f"{name} {n}", "schedule": LATER, "target": NOOP}, at=at)
        path = f"/api/tasks/{made['id']}"
        assert (await users.read(path, at=-1 - at))["name"] == f"{name} {n}"
        await users.write("PATCH", path, {"priority": 1}, at=-1 - at)
        assert (await users.read(path, at=at))["priority"] == 1
        await users.write("POST", f"{path}/cancel", at=at)
        assert [task["status"] for task in await users.pages(f"/api/tasks?name={name}%20{n}")][:1] == ["cancelled"]


async def test_tasks_are_listed_by_every_filter_and_in_every_order(users: Instances, name: str) -> None:
    for n, what in enumerate(["Apple", "banana", "Cherry", "date", "Elder"]):
        body = {"id": f"{name}-{n}", "name": f"{what} {name}", "target": NOOP, "tags": {"of": name, "even": str(n % 2)}}
        await users.create({**body, "schedule": {"at": f"2099-01-0{5 - n}T00:00:00Z"}}, at=n % 2 - 1)
    await users.write("POST", f"/api/tasks/{name}-2/pause")
    await users.write("POST", f"/api/tasks/{name}-3/cancel")

    async def listed(query: str) -> str:
        tasks = await users.pages(f"/api/tasks?tag=of:{name}&limit=2&{query}")
        return "".join(task["id"][-1] for task in tasks)

    assert await listed("") == "01234"
    assert await listed("sort=-created_at") == "43210"
    assert await listed("sort=name") == "02413"
    assert await listed("sort=-name") == "31420"
    assert (await listed("sort=next_fire_at"))[:4] == "4210"
    assert await listed("status=paused") == "2"
    assert await listed("status=cancelled") == "3"
    assert await listed("status=scheduled") == "014"
    assert await listed("tag=even:1") == "13"
    assert await listed("name=AN") == "1"
    assert await listed(f"name=e%20{name}&sort=-name") == "30"
    assert await listed("due_before=2099-01-04T00:00:00Z") == "24"
    assert await listed("status=failed") == ""
    assert await users.pages(f"/api/tasks?name=PPLE%20{name}") != []


async def test_runs_and_events_are_listed_page_by_page(users: Instances, name: str) -> None:
    path = f"/api/tasks/{name}"
    await users.create({"id": name, "name": name, "schedule": LATER, "target": NOOP})
    started = [(await users.write("POST", f"{path}/trigger", at=n % 2 - 1))["run_id"] for n in range(7)]
    await users.until(path, lambda task: task["counts"]["succeeded"] == 7)
    runs = await users.pages(f"{path}/runs?limit=3")
    assert [run["id"] for run in runs] == started[::-1]
    middle = [run["scheduled_for"] for run in runs[4:1:-1]]
    part = await users.pages(f"{path}/runs?from={middle[0]}&to={middle[-1]}")
    assert [run["id"] for run in part] == [run["id"] for run in runs if middle[0] <= run["scheduled_for"] < middle[-1]]
    assert len(await users.pages(f"{path}/runs?status=succeeded&limit=2")) == 7
    assert await users.pages(f"{path}/runs?status=failed") == []
    events = await users.pages(f"{path}/events?limit=4")
    versions = [event["version"] for event in events]
    assert sorted(set(versions)) == list(range(1, max(versions) + 1))
    assert versions == sorted(versions)
    assert sum(event["type"] == "attempt.succeeded.v1" for event in events) == 7


@asynccontextmanager
async def watching(url: str, **filter: Any) -> AsyncIterator[AsyncIterator[LiveEvent]]:
    """Live events, as the packaged client gives them."""
    async with AsyncClient(url) as client:
        yield client.watch(**filter)


async def told(events: AsyncIterator[LiveEvent], last: str, version: int = 0) -> list[LiveEvent]:
    """The events up to the first of a type, of this version or a later one."""
    found: list[LiveEvent] = []
    async with asyncio.timeout(PATIENCE):
        async for event in events:
            found.append(event)
            if event.type == last and event.data["version"] >= version:
                break
    return found


async def test_live_events_of_all_instances_are_told_by_each(scheduler: Scheduler, users: Instances, name: str) -> None:
    first, other = scheduler.urls[0], scheduler.urls[-1]
    path = f"/api/tasks/{name}"
    await users.create({"id": name, "name": name, "schedule": LATER, "target": NOOP})
    async with watching(other, task_id=name) as events:
        waiting = asyncio.create_task(told(events, "attempt.succeeded.v1"))
        while not waiting.done():
            # Nothing tells when a listener is heard; from then on it must miss nothing.
            await users.write("POST", f"{path}/trigger")
            await asyncio.wait([waiting], timeout=0.5)
        heard = waiting.result()
    assert {event.data["task_id"] for event in heard} == {name}
    # From there on at each instance: the same, without a gap.
    place = heard[-1].id
    await users.write("POST", f"{path}/pause", at=-1)
    await users.write("POST", f"{path}/resume")
    await users.write("POST", f"{path}/cancel", at=-1)
    known = await users.pages(f"{path}/events?limit=200")
    expected = [(event["version"], event["type"]) for event in known if event["version"] > heard[-1].data["version"]]
    for url in (first, other):
        async with watching(url, task_id=name, last_event_id=place) as events:
            resumed = await told(events, expected[-1][1], expected[-1][0])
        assert not any(event.data["gap"] for event in resumed)
        # Of a decision that was cut off in the middle everything comes again.
        new = [event for event in resumed if event.data["version"] > heard[-1].data["version"]]
        assert [(event.data["version"], event.type) for event in new] == expected
    async with watching(other, task_id=name, last_event_id=place, event_type=["task.resumed.v1"]) as events:
        assert len(await told(events, "task.resumed.v1")) == 1


PROBLEMS: list[tuple[str, str, Any, dict[str, str], dict[str, Any]]] = [
    ("GET", "/api/nothing", None, {}, {"status": 404, "type": "/docs#not-found"}),
    ("GET", "/api/tasks/{name}-no", None, {}, {"status": 404, "detail": "there is no task '{name}-no'"}),
    ("GET", "/api/tasks/{name}/runs/no", None, {}, {"status": 404, "type": "/docs#not-found"}),
    ("GET", "/api/tasks/{name}-no/events", None, {}, {"status": 404, "type": "/docs#not-found"}),
    ("PUT", "/api/tasks", {}, {}, {"status": 405, "type": "/docs#method-not-allowed"}),
    ("POST", "/api/tasks/{name}/retry", {}, {}, {"status": 409, "type": "/docs#conflict"}),
    ("POST", "/api/tasks/{name}-no/cancel", {}, {}, {"status": 404, "detail": "there is no task '{name}-no'"}),
    ("POST", "/api/tasks", {"id": "{name}", "name": "x", "target": NOOP}, {}, {"status": 409, "type": "/docs#exists"}),
    ("PATCH", "/api/tasks/{name}", {"name": "x"}, {"if-match": '"r9"'}, {"status": 412}),
    ("PATCH", "/api/tasks/{name}", {"name": "x"}, {"if-match": "r9"}, {"status": 400, "type": "/docs#malformed"}),
    ("POST", "/api/claims/never/complete", {}, {}, {"status": 404, "type": "/docs#not-found"}),
    ("GET", "/api/tasks?limit=0&sort=x", None, {}, {"status": 422, "pointers": ["/sort", "/limit"]}),
    ("GET", "/api/tasks?cursor=abc", None, {}, {"status": 422, "pointers": ["/cursor"]}),
    (
        "POST",
        "/api/tasks",
        {"name": "", "target": {"type": "http", "url": "ftp://x"}, "schedule": {"cron": "61 * * * *"}, "more": 1},
        {"idempotency-key": ""},
        {"status": 422, "type": "/docs#invalid"},
    ),
]


async def test_problems_are_told_alike(users: Instances, name: str) -> None:
    await users.create({"id": name, "name": name, "schedule": LATER, "target": NOOP})

    def filled(value: Any) -> Any:
        return json.loads(json.dumps(value).replace("{name}", name))

    for method, path, body, headers, expected in PROBLEMS:
        sent = {**headers, "consistency-token": users.token}
        documents = []
        for client in users.clients:
            reply = await client.request(method, filled(path), json=filled(body), headers=sent)
            assert reply.headers["content-type"] == "application/problem+json"
            documents.append(reply.json())
        assert all(document == documents[0] for document in documents)
        pointers = [error["pointer"] for error in documents[0].get("errors", [])]
        wanted = {"instance": path.split("?")[0], **expected}
        found = {**documents[0], "pointers": pointers}
        assert {key: found[key] for key in wanted} == filled(wanted), (method, path)


def test_the_command_line_works_on_it(
    scheduler: Scheduler, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cli(*arguments: str, url: str = scheduler.urls[0]) -> Any:
        monkeypatch.setenv("TASKSCHEDULER_URL", url)
        code = command_line(["task", *arguments])
        out, err = capsys.readouterr()
        return (code, json.loads(out)) if out.strip() else (code, err)

    other = scheduler.urls[-1]
    code, ended = cli("create", name, "--id", name, "--noop", "--tag", f"of={name}", "--wait")
    assert (code, ended["status"], ended["cause"]) == (0, "succeeded", "schedule")
    assert cli("get", name, url=other)[1]["status"] == "completed"
    code, ended = cli("trigger", name, "--wait", url=other)
    assert (code, ended["cause"]) == (0, "manual")
    assert cli("runs", name)[1][0]["id"] == ended["id"]
    assert cli("update", name, "--priority", "1", "--if-match", "7")[0] == 4
    assert cli("update", name, "--priority", "1", url=other)[1]["revision"] == 2
    assert [task["id"] for task in cli("list", "--tag", f"of={name}")[1]] == [name]
    assert cli("delete", name)[0] == 0
    assert cli("trigger", name, url=other)[0] == 3
