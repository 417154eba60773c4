"""Queue workers in either profile: the packaged worker at any instance, claims that are known to all of them."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from taskscheduler.client import Fail, Job, Worker
from tests.e2e.conftest import Scheduler
from tests.e2e.instances import Instances

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def work(name: str, kind: str = "work", **more: Any) -> dict[str, Any]:
    """A task for workers of a queue."""
    return {"name": name, "target": {"type": "queue", "queue": name, "kind": kind}, "tags": {"of": name}, **more}


@asynccontextmanager
async def working(*workers: Worker) -> AsyncIterator[None]:
    """Workers that run meanwhile."""
    running = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield
    finally:
        for worker in workers:
            worker.stop()
        await asyncio.gather(*running)


async def claimed(users: Instances, name: str, *, at: int = -1, **fields: Any) -> list[dict[str, Any]]:
    body = {"worker": "w", "wait": "30s", **fields}
    reply = await users.write("POST", f"/api/queues/{name}/claims", body, at=at)
    claims: list[dict[str, Any]] = reply["claims"]
    return claims


async def test_workers_at_all_instances_share_a_queue(scheduler: Scheduler, users: Instances, name: str) -> None:
    attempts: Counter[tuple[str, int]] = Counter()
    workers = [
        Worker(url, name, concurrency=4, wait="1s", name=f"{name}-{n}")
        for n, url in enumerate((scheduler.urls[0], scheduler.urls[-1]))
    ]
    for worker in workers:

        @worker.handler("work")
        async def handle(job: Job, by: str = worker.name) -> Any:
            attempts[job.run_id, job.attempt] += 1
            job.heartbeat({"half": True})
            if job.attempt == 1 and job.payload["n"] % 5 == 0:
                raise Fail("not yet", retry_after="100ms")
            if job.payload["n"] == 7:
                raise Fail("never", retryable=False, type="Never")
            return {"by": by, "n": job.payload["n"]}

    async with working(*workers):
        for n in range(40):
            await users.create(work(name, payload={"n": n}), at=n % 2 - 1)
        await users.until(f"/api/tasks?tag=of:{name}&status=completed&limit=200", lambda page: len(page["items"]) == 39)
        [failed] = await users.pages(f"/api/tasks?tag=of:{name}&status=failed")
    assert set(attempts.values()) == {1}, "an attempt was given twice"
    assert len(attempts) == 40 + 8
    [letter] = await users.pages(f"/api/dead-letters?tag=of:{name}&error_type=Never")
    assert (letter["task_id"], letter["reason"], len(letter["attempts"])) == (failed["id"], "gave_up", 1)
    by: Counter[str] = Counter()
    for task in await users.pages(f"/api/tasks?tag=of:{name}&status=completed"):
        run = await users.read(f"/api/tasks/{task['id']}/runs/{task['last_run']['id']}")
        assert run["result"]["by"] == run["attempts"][-1]["worker"]
        by[run["result"]["by"]] += 1
    assert set(by) <= {worker.name for worker in workers}


async def test_a_claim_is_known_to_every_instance(users: Instances, name: str) -> None:
    made = await users.create(work(name, payload={"to": "a"}))
    [claim] = await claimed(users, name, at=0, request_id="r1", lease="20s")
    assert (claim["task_id"], claim["attempt"], claim["payload"]) == (made["id"], 1, {"to": "a"})
    path = f"/api/claims/{claim['token']}"
    beat = await users.write("POST", f"{path}/heartbeat", {"progress": 1}, at=-1)
    assert not beat["cancel_requested"]
    assert await claimed(users, name, at=-1, wait=0, request_id="r1") == [
        {**claim, "lease_until": beat["lease_until"]}
    ], "a lost reply has lost a run"
    assert await claimed(users, name, at=-1, wait=0, request_id="r2") == []
    await users.write("POST", f"{path}/complete", {"result": [1]}, at=-1)
    await users.write("POST", f"{path}/complete", {"result": [1]}, at=0)  # the same again
    late = await users.send("POST", f"{path}/fail", {"error": {"type": "x", "message": "y"}}, at=0)
    assert (late.status_code, late.json()["type"]) == (409, "/docs#claim-lost")
    run = await users.read(f"/api/tasks/{made['id']}/runs/{claim['run_id']}")
    assert (run["status"], run["result"]) == ("succeeded", [1])
    assert claim["token"] not in (await users.ask(f"/api/tasks/{made['id']}/events")).text


async def test_a_worker_hears_that_its_run_was_cancelled(users: Instances, name: str) -> None:
    made = await users.create(work(name))
    [claim] = await claimed(users, name)
    await users.write("POST", f"/api/tasks/{made['id']}/cancel", at=0)
    beat = await users.write("POST", f"/api/claims/{claim['token']}/heartbeat", at=-1)
    assert beat["cancel_requested"] is True
    late = await users.send("POST", f"/api/claims/{claim['token']}/complete", at=-1)
    assert late.status_code == 409
    assert (await users.ended(made["id"]))["status"] == "cancelled"


async def test_a_claim_that_nobody_renews_is_given_to_another(users: Instances, name: str) -> None:
    retry = {"max_attempts": 2, "backoff": "fixed", "initial": "10ms"}
    made = await users.create(work(name, retry=retry))
    [lost] = await claimed(users, name, at=0, lease="1s", worker="gone")
    [claim] = await claimed(users, name, at=-1)
    assert (claim["run_id"], claim["attempt"]) == (lost["run_id"], 2)
    assert (await users.send("POST", f"/api/claims/{lost['token']}/complete")).status_code == 409
    await users.write("POST", f"/api/claims/{claim['token']}/complete")
    run = await users.read(f"/api/tasks/{made['id']}/runs/{claim['run_id']}")
    assert [(attempt["worker"], attempt["outcome"]) for attempt in run["attempts"]] == [
        ("gone", "lost"),
        ("w", "succeeded"),
    ]


async def test_runs_are_claimed_by_kind_and_reported_together(users: Instances, name: str) -> None:
    for n in range(6):
        await users.create(work(name, kind=f"k{n % 2}", retry={"max_attempts": 1}), at=n % 2 - 1)
    tokens: list[str] = []
    while len(tokens) < 3:
        claims = await claimed(users, name, kinds=["k1"], max=10, at=len(tokens) % 2 - 1)
        assert {claim["kind"] for claim in claims} == {"k1"}
        tokens += [claim["token"] for claim in claims]
    assert await claimed(users, name, kinds=["k1"], wait=0) == []
    outcomes: list[dict[str, Any]] = [{"token": token} for token in tokens]
    outcomes[1]["error"] = {"type": "Bad", "message": "no"}
    reply = await users.write("POST", "/api/claims/report", {"outcomes": [*outcomes, {"token": "x"}]}, at=-1)
    assert [result["status"] for result in reply["results"]] == [200, 200, 200, 404]
    statuses = Counter(task["status"] for task in await users.pages(f"/api/tasks?tag=of:{name}"))
    assert statuses == {"completed": 2, "failed": 1, "running": 3}


async def test_what_a_worker_gives_back_is_another_s_at_once(users: Instances, name: str) -> None:
    made = await users.create(work(name, retry={"max_attempts": 1}))
    [given] = await claimed(users, name, at=0, worker="leaving")
    await users.write("POST", f"/api/claims/{given['token']}/release", at=-1)
    [claim] = await claimed(users, name, at=-1)
    assert (claim["run_id"], claim["attempt"]) == (given["run_id"], 2)
    await users.write("POST", f"/api/claims/{claim['token']}/complete", at=0)
    run = await users.read(f"/api/tasks/{made['id']}/runs/{claim['run_id']}")
    assert [attempt["outcome"] for attempt in run["attempts"]] == ["released", "succeeded"]


async def test_a_worker_is_seen_everywhere_and_drains(scheduler: Scheduler, users: Instances, name: str) -> None:
    worker = Worker(scheduler.urls[0], name, concurrency=3, wait="1s", name=f"{name}-worker")
    begun, go_on = asyncio.Event(), asyncio.Event()

    @worker.handler("work")
    async def handle(job: Job) -> None:
        begun.set()
        await go_on.wait()

    running = asyncio.create_task(worker.run())
    made = await users.create(work(name))
    await begun.wait()
    page = await users.until(f"/api/workers?queue={name}", lambda page: bool(page["items"]))
    [seen] = page["items"]
    assert (seen["name"], seen["status"], seen["kinds"], seen["concurrency"]) == (worker.name, "online", ["work"], 3)
    await users.write("POST", f"/api/workers/{worker.name}/drain", at=-1)
    assert (await users.read(f"/api/workers/{worker.name}"))["status"] == "draining"
    await users.create(work(name, kind="other"))
    go_on.set()
    await asyncio.wait_for(running, 30)
    await users.until(f"/api/workers/{worker.name}", lambda seen: seen["status"] == "gone")
    assert (await users.ended(made["id"]))["status"] == "completed"


async def test_a_command_is_run_and_followed(scheduler: Scheduler, users: Instances, name: str, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\necho begun $1; while [ ! -e open ]; do sleep 0.05; done; cat; exit 0\n")
    script.chmod(0o700)
    command = [str(Path(sys.executable).with_name("taskscheduler")), "worker", "exec", "--queue", name]
    command += ["--allow", f"job={script} *", "--cwd", str(tmp_path), "--url", scheduler.urls[-1]]
    working = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        target = {"type": "exec", "queue": name, "argv": ["job", "well"]}
        made = await users.create({"name": name, "target": target, "payload": {"n": 1}})
        [run] = (await users.until(f"/api/tasks/{made['id']}/runs", _progressed))["items"]
        assert run["attempts"][0]["progress"]["output_tail"] == "begun well\n"
        (tmp_path / "open").touch()
        ended = await users.ended(made["id"])
        assert ended["status"] == "completed"
        run = await users.read(f"/api/tasks/{made['id']}/runs/{run['id']}")
        assert (run["result"]["exit_code"], run["result"]["output_tail"]) == (0, 'begun well\n{"n":1}')
        other = await users.create({"name": name, "target": {**target, "argv": ["rm", "-rf"]}})
        assert (await users.ended(other["id"]))["status"] == "failed"
        [run] = await users.pages(f"/api/tasks/{other['id']}/runs")
        assert (run["reason"], run["attempts"][0]["error"]["type"]) == ("gave_up", "CommandNotAllowed")
    finally:
        working.terminate()
        assert await asyncio.wait_for(working.wait(), 60) == 0


def _progressed(page: dict[str, Any]) -> bool:
    return any(attempt["progress"] for run in page["items"] for attempt in run["attempts"])


async def test_what_takes_too_long_ends_by_itself_and_can_be_looked_into(users: Instances, name: str) -> None:
    once = {"retry": {"max_attempts": 1}, "payload": {"n": 1}}
    unclaimed = await users.create(work(f"{name}-1", **once, queue_timeout="500ms"))
    silent = await users.create(work(f"{name}-2", **once, heartbeat_timeout="1s"))
    slow = await users.create(work(f"{name}-3", **once, deadline="1500ms"))
    [quiet] = await claimed(users, f"{name}-2", at=0)
    [long] = await claimed(users, f"{name}-3", at=0)
    assert quiet["heartbeat_timeout"] == "PT1S"
    errors = {}
    for task in (unclaimed, silent, slow):
        run = (await users.until(f"/api/tasks/{task['id']}", lambda task: task["status"] == "failed"))["last_run"]
        errors[run["error"]["type"]] = (run["reason"], run["id"])
    assert {kind: reason for kind, (reason, _) in errors.items()} == {
        "QueueTimeout": "queue_timeout",
        "HeartbeatTimeout": "attempts_exhausted",
        "DeadlineExceeded": "deadline",
    }
    for claim in (quiet, long):
        late = await users.send("POST", f"/api/claims/{claim['token']}/complete", {"result": 7}, at=-1)
        assert late.status_code == 409
    letters = f"/api/dead-letters/{silent['id']}/{errors['HeartbeatTimeout'][1]}"
    # A refusal carries no token to read on from.
    story = await users.until(letters, lambda story: story["late_reports"])
    assert [report["result"] for report in story["late_reports"]] == [7]
    assert story["definition"]["payload"] == {"n": 1}
    [group] = await users.pages(f"/api/dead-letters/groups?task_id={slow['id']}")
    assert (group["error_type"], group["count"]) == ("DeadlineExceeded", 1)
    again = await users.write("POST", f"{letters}/retry", at=-1)
    assert (await users.read(letters))["retried"]["run_id"] == again["run_id"]
    body = {"filter": {"tags": {"of": f"{name}-3"}}}
    assert (await users.write("POST", "/api/dead-letters/retry", body))["remaining"] == 1
    assert (await users.write("POST", "/api/dead-letters/purge", {**body, "execute": True}))["done"] == 1
    assert await users.pages(f"/api/dead-letters?tag=of:{name}-3") == []
    assert (await users.send("DELETE", letters)).status_code == 204
    assert (await users.ask(letters)).status_code == 404


async def test_of_many_who_want_the_same_key_one_gets_it(users: Instances, name: str) -> None:
    """At all instances at once, which decide on their own."""
    unique = {"key": name, "on_conflict": "return_existing"}
    body = work(name, unique=unique, schedule={"at": "2099-01-01T00:00:00Z"})

    async def ask(number: int) -> Any:
        on_conflict = "return_existing" if number % 2 else "reject"
        return await users.send(
            "POST", "/api/tasks", {**body, "unique": {**unique, "on_conflict": on_conflict}}, at=number % 2 - 1
        )

    replies = await asyncio.gather(*[ask(number) for number in range(12)])
    [made] = [reply.json() for reply in replies if reply.status_code == 201]
    for reply in replies:
        match reply.status_code:
            case 200:
                assert reply.json()["id"] == made["id"]
            case 409:
                assert reply.json()["task_id"] == made["id"]
            case status:
                assert status == 201
    other = await users.write("POST", "/api/tasks", {**body, "unique": {**unique, "on_conflict": "replace"}}, at=-1)
    assert (await users.read(f"/api/tasks/{made['id']}"))["status"] == "cancelled"
    await users.write("POST", f"/api/tasks/{other['id']}/cancel", at=0)
    assert (await users.send("POST", "/api/tasks", body, at=-1)).status_code == 201
