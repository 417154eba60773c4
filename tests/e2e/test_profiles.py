"""What a scheduler does, end to end, in either profile: runs, retries, and what is asked of tasks meanwhile."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.instances import Instances
from tests.e2e.receiver import Receiver

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NOOP = {"type": "noop"}
LATER = {"at": "2099-01-01T00:00:00Z"}


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def events(users: Instances, task_id: str) -> list[str]:
    return [event["type"] for event in await users.pages(f"/api/tasks/{task_id}/events?limit=3")]


async def test_a_one_time_task_runs_once(users: Instances, name: str) -> None:
    at = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    wanted = {"now": None, "delay": {"delay": "300ms"}, "at": {"at": at}}
    for how, schedule in wanted.items():
        made = await users.create({"id": f"{name}-{how}", "name": how, "schedule": schedule, "target": NOOP})
        assert (made["status"], made["revision"], made["version"]) == ("scheduled", 1, 1)
    for how in wanted:
        task = await users.ended(f"{name}-{how}")
        assert (task["status"], task["next_fire_at"]) == ("completed", None)
        assert task["counts"] == {"fired": 1, "succeeded": 1, "failed": 0, "cancelled": 0, "skipped": 0}
        [run] = await users.pages(f"/api/tasks/{name}-{how}/runs")
        assert (run["cause"], run["status"], len(run["attempts"])) == ("schedule", "succeeded", 1)
        assert {**run, "late_reports": []} == await users.read(f"/api/tasks/{name}-{how}/runs/{run['id']}")
        assert run["lateness_ms"] >= 0
        assert task["last_run"]["id"] == run["id"]
        told = [kind for kind in await events(users, f"{name}-{how}") if kind.startswith(("run", "attempt"))]
        assert told == ["run.queued.v1", "attempt.claimed.v1", "attempt.succeeded.v1"]


async def test_recurring_tasks_call_their_target(users: Instances, receiver: Receiver, name: str) -> None:
    schedules: dict[str, Any] = {"every": {"every": "700ms"}, "cron": {"cron": "* * * * * *", "timezone": "UTC"}}
    for how, schedule in schedules.items():
        target = {"type": "http", "url": f"{receiver.url}/{how}", "headers": {"X-From": name}}
        body = {"schedule": schedule, "target": target, "payload": {"of": [how]}}
        await users.create({"id": f"{name}-{how}", "name": how, **body})
    for how in schedules:
        await users.until(f"/api/tasks/{name}-{how}", lambda task: task["counts"]["succeeded"] >= 3)
        await users.write("POST", f"/api/tasks/{name}-{how}/cancel")
        runs = {run["id"]: run for run in await users.pages(f"/api/tasks/{name}-{how}/runs?limit=2")}
        calls = receiver.calls[f"/{how}"]
        assert len({call.headers["Run-Id"] for call in calls}) == len(calls), "a run was called twice"
        for call in calls:
            assert (call.method, call.body) == ("POST", f'{{"of":["{how}"]}}')
            assert (call.headers["Task-Id"], call.headers["Attempt"]) == (f"{name}-{how}", "1")
            assert call.headers["X-From"] == name
            assert call.headers["Scheduled-For"] == runs[call.headers["Run-Id"]]["scheduled_for"]
        step = timedelta(milliseconds=700) if how == "every" else timedelta(seconds=1)
        nominal = sorted(instant(run["nominal_at"]) for run in runs.values())
        assert nominal == [nominal[0] + n * step for n in range(len(nominal))], "a fire time is missing"
        succeeded = [run for run in runs.values() if run["status"] == "succeeded"]
        assert len(succeeded) >= 3
        assert {run["result"]["status"] for run in succeeded} == {200}


async def test_a_failed_attempt_is_tried_again_when_the_target_says(
    users: Instances, receiver: Receiver, name: str
) -> None:
    receiver.answers["/busy"] = [(500, {}), (503, {"Retry-After": "2"})]
    retry = {"max_attempts": 5, "backoff": "fixed", "initial": "10ms", "jitter": 0}
    target = {"type": "http", "url": f"{receiver.url}/busy"}
    await users.create({"id": name, "name": name, "target": target, "retry": retry})
    task = await users.ended(name)
    calls = receiver.calls["/busy"]
    assert [call.headers["Attempt"] for call in calls] == ["1", "2", "3"]
    assert len({call.headers["Run-Id"] for call in calls}) == 1
    assert calls[2].at - calls[1].at >= 1.9
    run = await users.read(f"/api/tasks/{name}/runs/{task['last_run']['id']}")
    assert [attempt["outcome"] for attempt in run["attempts"]] == ["failed", "failed", "succeeded"]
    assert run["attempts"][0]["error"]["message"]
    assert task["counts"]["fired"] == task["counts"]["succeeded"] == 1


async def test_a_host_that_asks_to_wait_is_left_alone_by_all_tasks(
    users: Instances, receiver: Receiver, name: str
) -> None:
    """Their runs wait and spend no attempt; other hosts are called meanwhile. The host goes by another name here, since
    tests that run at the same time call it by its address."""
    host = receiver.url.replace("127.0.0.1", "localhost")
    receiver.answers["/full"] = [(429, {"Retry-After": "3"})]
    retry = {"max_attempts": 2, "backoff": "fixed", "initial": "10ms", "jitter": 0}
    await users.create({"id": name, "name": name, "target": {"type": "http", "url": f"{host}/full"}, "retry": retry})
    [refused] = await receiver.called("/full", 1)
    await users.until(f"/api/tasks/{name}/runs", lambda runs: runs["items"] and runs["items"][0]["status"] != "running")
    for n in range(3):
        target = {"type": "http", "url": f"{host}/other"}
        await users.create({"id": f"{name}-{n}", "name": name, "target": target, "retry": {"max_attempts": 1}})
    direct = {"type": "http", "url": f"{receiver.url}/direct"}
    await users.create({"id": f"{name}-direct", "name": name, "target": direct})
    assert (await receiver.called("/direct", 1))[0].at - refused.at < 2.9
    assert "/other" not in receiver.calls
    assert min(call.at for call in await receiver.called("/other", 3)) - refused.at >= 2.9
    for n in range(3):
        assert (await users.ended(f"{name}-{n}"))["counts"]["succeeded"] == 1
    assert (await users.ended(name))["counts"]["succeeded"] == 1


async def test_what_failed_for_good_is_a_dead_letter_and_can_be_run_again(
    users: Instances, receiver: Receiver, name: str
) -> None:
    receiver.answers["/dead"] = [(500, {}), (404, {})]
    retry = {"max_attempts": 2, "backoff": "fixed", "initial": "10ms"}
    target = {"type": "http", "url": f"{receiver.url}/dead"}
    await users.create({"id": name, "name": name, "target": target, "retry": retry, "tags": {"of": name}})
    task = await users.ended(name)
    assert (task["status"], task["last_run"]["reason"]) == ("failed", "attempts_exhausted")
    [letter] = await users.pages(f"/api/dead-letters?tag=of:{name}")
    assert (letter["task_id"], letter["id"], letter["status"]) == (name, task["last_run"]["id"], "failed")
    error_type = letter["attempts"][-1]["error"]["type"]
    assert [letter] == await users.pages(f"/api/dead-letters?task_id={name}&error_type={error_type}")
    assert await users.pages(f"/api/dead-letters?task_id={name}&error_type=other") == []
    assert await users.pages(f"/api/dead-letters?task_id={name}&to={letter['attempts'][0]['started_at']}") == []
    again = await users.send("POST", f"/api/tasks/{name}/retry")
    assert (again.status_code, again.json()["id"]) == (202, name)
    run = await users.until(
        f"/api/tasks/{name}/runs/{again.json()['run_id']}", lambda run: run["status"] == "succeeded"
    )
    assert (run["cause"], run["retry_of"], run["nominal_at"]) == ("retry", letter["id"], None)
    assert (await users.send("POST", f"/api/tasks/{name}/retry", at=-1)).status_code == 409


async def test_a_pause_lets_nothing_fire(users: Instances, name: str) -> None:
    await users.create({"id": name, "name": name, "schedule": {"every": "200ms"}, "target": NOOP})
    await users.until(f"/api/tasks/{name}", lambda task: task["counts"]["succeeded"] >= 2)
    paused = await users.write("POST", f"/api/tasks/{name}/pause", {"note": "tea"}, at=-1)
    assert (paused["status"], paused["pause"]["note"]) == ("paused", "tea")
    await users.write("POST", f"/api/tasks/{name}/pause", {"note": "more tea"})  # changes nothing
    assert (await users.read(f"/api/tasks/{name}"))["pause"] == paused["pause"]
    # A trigger runs now, whatever the schedule says.
    started = await users.write("POST", f"/api/tasks/{name}/trigger")
    await users.until(f"/api/tasks/{name}/runs/{started['run_id']}", lambda run: run["status"] == "succeeded")
    before = (await users.read(f"/api/tasks/{name}"))["counts"]
    resumed = await users.write("POST", f"/api/tasks/{name}/resume", at=-1)
    assert resumed["pause"] is None
    after = await users.until(f"/api/tasks/{name}", lambda task: task["counts"]["succeeded"] >= before["succeeded"] + 2)
    assert after["counts"]["fired"] >= before["fired"] + 2
    await users.write("POST", f"/api/tasks/{name}/cancel")
    for event in await users.pages(f"/api/tasks/{name}/events?limit=200"):
        data = event["data"]
        if event["type"] == "run.queued.v1" and data["cause"] == "schedule":
            between = paused["pause"]["at"] < data["nominal_at"] < resumed["updated_at"]
            assert not between, "it fired in the pause"


async def test_fire_times_that_are_over_run_when_they_are_asked_for(users: Instances, name: str) -> None:
    to = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    await users.create({"id": name, "name": name, "schedule": {"cron": "0 * * * *"}, "target": NOOP})
    span = {"from": (to - timedelta(hours=5)).isoformat(), "to": to.isoformat()}
    begun = await users.write("POST", f"/api/tasks/{name}/backfill", span)
    task = await users.until(f"/api/tasks/{name}", lambda task: task["backfills"][0]["status"] == "completed", at=-1)
    [backfill] = task["backfills"]
    assert (backfill["id"], backfill["fired"], backfill["remaining"]) == (begun["backfill_id"], 5, 0)
    runs = [run for run in await users.pages(f"/api/tasks/{name}/runs") if run["cause"] == "backfill"]
    assert sorted(instant(run["nominal_at"]) for run in runs) == [to - timedelta(hours=n) for n in range(5, 0, -1)]


async def test_a_planned_change_takes_force_by_itself(users: Instances, name: str) -> None:
    await users.create({"id": name, "name": name, "schedule": LATER, "target": NOOP})
    then = datetime.now(UTC) + timedelta(seconds=2)
    change = {"schedule": {"every": "200ms"}, "effective_from": then.isoformat()}
    changed = await users.write("PATCH", f"/api/tasks/{name}", change)
    assert changed["pending_schedule"]["schedule"]["every"] == "PT0.2S"
    task = await users.until(f"/api/tasks/{name}", lambda task: task["counts"]["succeeded"] >= 3, at=-1)
    assert (task["pending_schedule"], task["schedule"]["every"], task["revision"]) == (None, "PT0.2S", 2)
    runs = await users.pages(f"/api/tasks/{name}/runs")
    assert min(instant(run["nominal_at"]) for run in runs) >= instant(changed["pending_schedule"]["effective_from"])
    await users.write("POST", f"/api/tasks/{name}/cancel")


async def test_an_update_takes_effect_at_once(users: Instances, receiver: Receiver, name: str) -> None:
    first = {"type": "http", "url": f"{receiver.url}/first"}
    await users.create({"id": name, "name": name, "schedule": LATER, "target": first})
    change = {"target": {**first, "url": f"{receiver.url}/second"}, "schedule": {"delay": "100ms"}}
    changed = await users.write("PATCH", f"/api/tasks/{name}", change, at=-1)
    assert changed["revision"] == 2
    assert (await users.write("PATCH", f"/api/tasks/{name}", {"name": name}))["revision"] == 2
    await receiver.called("/second", 1)
    assert (await users.ended(name))["status"] == "completed"
    assert "/first" not in receiver.calls
    # A finished one-time task that gets a new schedule is scheduled again.
    await users.write("PATCH", f"/api/tasks/{name}", {"schedule": {"delay": "50ms"}})
    await receiver.called("/second", 2)
    await users.until(f"/api/tasks/{name}", lambda task: task["counts"]["succeeded"] == 2)


async def test_what_is_cancelled_or_deleted_runs_no_more(users: Instances, name: str) -> None:
    paths = []
    for end in ("cancel", "delete"):
        task_id = f"{name}-{end}"
        schedule = {"delay": "1s"}
        await users.create({"id": task_id, "name": end, "schedule": schedule, "target": NOOP, "tags": {"of": name}})
        paths.append(f"/api/tasks/{task_id}")
    cancelled = await users.write("POST", f"{paths[0]}/cancel")
    assert (cancelled["status"], cancelled["next_fire_at"]) == ("cancelled", None)
    assert (await users.send("POST", f"{paths[0]}/cancel", at=-1)).status_code == 409
    assert (await users.send("PATCH", paths[0], {"name": "x"}, at=-1)).status_code == 409
    assert (await users.send("DELETE", paths[1])).status_code == 204
    assert (await users.ask(paths[1])).status_code == 410
    assert (await users.send("POST", f"{paths[1]}/trigger", at=-1)).status_code == 410
    assert [task["id"] for task in await users.pages(f"/api/tasks?tag=of:{name}")] == [f"{name}-cancel"]
    # Something that is due later has run, and these have not.
    await users.create({"id": name, "name": name, "schedule": {"delay": "1s"}, "target": NOOP})
    await users.ended(name)
    assert (await users.read(paths[0]))["counts"]["fired"] == 0
    assert (await events(users, f"{name}-delete"))[:2] == ["task.created.v1", "task.deleted.v1"]


async def test_tasks_of_a_batch_are_created_each_for_itself(users: Instances, name: str) -> None:
    specs = [{"id": f"{name}-{n}", "name": str(n), "target": NOOP, "tags": {"of": name}} for n in range(40)]
    specs[7]["name"] = ""
    specs[8]["id"] = f"{name}-1"
    reply = await users.write("POST", "/api/tasks/batch", {"tasks": specs})
    statuses = [result["status"] for result in reply["results"]]
    assert (statuses[7], statuses[8]) == (422, 409)
    assert statuses.count(201) == 38
    listed = await users.pages(f"/api/tasks?tag=of:{name}&limit=7")
    assert len(listed) == len({task["id"] for task in listed}) == 38
    async with asyncio.TaskGroup() as waiting:
        for task in listed:
            waiting.create_task(users.ended(task["id"]))
    assert len(await users.pages(f"/api/tasks?tag=of:{name}&status=completed")) == 38


async def test_a_schedule_is_previewed_as_it_would_fire(users: Instances) -> None:
    schedule = {"cron": "30 2 * * *", "timezone": "Europe/Berlin"}
    body = {"schedule": schedule, "count": 2, "after": "2026-03-28T12:00:00Z"}
    preview = await users.write("POST", "/api/schedules/preview", body)
    assert [fire["at"] for fire in preview["fire_times"]] == ["2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z"]
