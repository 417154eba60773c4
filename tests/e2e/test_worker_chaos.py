"""Workers that are killed in each phase, cut off, restarted or an hour off: no double claim, no lost run.

What workers did is taken from their own journals, and held against the log.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskscheduler.client import AsyncClient, Job, TaskSpec, Worker
from tests.e2e.crew import Crew
from tests.e2e.serving import Serving
from tests.support.proxy import Cut, proxied

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

RETRY = {"max_attempts": 5, "backoff": "fixed", "initial": "10ms", "jitter": 0}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    serving = Serving(tmp_path_factory.mktemp("chaos") / "data")
    asyncio.run(serving.start())
    yield serving
    serving.end()


@pytest.fixture
async def client(server: Serving) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.url) as client:
        yield client


@pytest.fixture
def crew(server: Serving, tmp_path: Path) -> Iterator[Crew]:
    made = Crew(server.url, tmp_path, "chaos_worker.py")
    yield made
    made.end()


def doings(crew: Crew) -> dict[tuple[str, int], list[tuple[str, str]]]:
    """What happened to each attempt, and where."""
    found: dict[tuple[str, int], list[tuple[str, str]]] = defaultdict(list)
    for entry in crew.entries():
        found[entry["run_id"], entry["attempt"]].append((entry["what"], entry["worker"]))
    return found


async def create(client: AsyncClient, queue: str, count: int, payload: Any = None, **fields: Any) -> list[str]:
    target = {"type": "queue", "queue": queue, "kind": "work"}
    specs = [TaskSpec(name=queue, target=target, payload=payload, retry=RETRY, **fields) for _ in range(count)]
    return [made.task.id for made in await client.create_tasks(specs) if made.task is not None]


async def all_ended(client: AsyncClient, queue: str, count: int) -> None:
    while sum([task.status == "completed" async for task in client.iter_tasks(name=queue)]) < count:
        await asyncio.sleep(0.05)


async def claims(client: AsyncClient, ids: list[str]) -> dict[tuple[str, int], str]:
    """Who was given which attempt, by the log: nothing twice."""
    found: dict[tuple[str, int], str] = {}
    for task_id in ids:
        for event in (await client.events(task_id, limit=200)).items:
            if event.type == "attempt.claimed.v1":
                attempt = event.data["run_id"], event.data["number"]
                assert attempt not in found, f"{attempt} has two claims"
                found[attempt] = event.data["worker"]
    return found


async def check(client: AsyncClient, ids: list[str], did: dict[tuple[str, int], list[tuple[str, str]]]) -> Counter[str]:
    """Every run has succeeded; each attempt was begun once, by who had claimed it. How attempts ended."""
    claimed = await claims(client, ids)
    outcomes: Counter[str] = Counter()
    for task_id in ids:
        [run] = (await client.runs(task_id)).items
        assert run.status == "succeeded"
        outcomes.update(attempt.outcome or "" for attempt in run.attempts)
        last = run.attempts[-1]
        assert did[run.id, last.number] == [("begun", last.worker), ("ended", last.worker)]
    for attempt, what in did.items():
        if attempt in claimed:
            assert Counter(step for step, _ in what)["begun"] == 1, f"{attempt} was begun twice"
            assert {worker for _, worker in what} == {claimed[attempt]}
    return outcomes


async def test_a_worker_is_killed_in_each_phase(server: Serving, client: AsyncClient, crew: Crew) -> None:
    async def phase(dies: str) -> Counter[str]:
        ids = await create(client, f"kill-{dies}", 8, 0.01)
        dying = crew.start(f"kill-{dies}", f"{dies}-dying", dies=dies)
        assert await asyncio.to_thread(dying.wait, 60) == -signal.SIGKILL
        healthy = crew.start(f"kill-{dies}", f"{dies}-healthy")
        await all_ended(client, f"kill-{dies}", len(ids))
        await crew.stop(healthy)
        return await check(client, ids, doings(crew))

    ends = dict(zip(PHASES, await asyncio.gather(*map(phase, PHASES)), strict=True))
    for dies in ("claimed", "running", "done"):
        assert ends[dies]["succeeded"] == 8
        assert ends[dies]["lost"] >= 1
    # What was reported is on the log, though its worker never heard of that.
    assert ends["reported"]["succeeded"] == 8
    did = doings(crew)
    reported = [what for what in did.values() if ("ended", "reported-dying") in what]
    assert reported
    assert set(ends["reported"]) <= {"succeeded", "lost"}


PHASES = ("claimed", "running", "done", "reported")


@pytest.mark.parametrize("how", ["refused", "requests", "replies"])
async def test_the_network_is_cut(server: Serving, client: AsyncClient, how: Cut) -> None:
    queue = f"cut-{how}"
    did: dict[tuple[str, int], list[tuple[str, str]]] = defaultdict(list)
    async with proxied(server.port) as proxy:
        workers = [
            Worker(url, queue, name=name, concurrency=3, lease=1, wait=1)
            for url, name in ((proxy.url, "far"), (server.url, "near"))
        ]
        begun = asyncio.Event()
        for worker in workers:

            @worker.handler("work")
            async def work(job: Job, name: str = worker.name) -> str:
                did[job.run_id, job.attempt].append(("begun", name))
                if name == "far":
                    begun.set()
                await asyncio.sleep(0.3)
                did[job.run_id, job.attempt].append(("ended", name))
                return name

        running = [asyncio.create_task(workers[0].run())]
        ids = await create(client, queue, 20)
        await begun.wait()
        proxy.cut(how)
        running.append(asyncio.create_task(workers[1].run()))
        lost = asyncio.create_task(_lost(client, ids))
        await asyncio.wait_for(lost, 30)
        proxy.heal()
        ids += await create(client, queue, 10)
        await all_ended(client, queue, len(ids))
        for worker in workers:
            worker.stop()
        await asyncio.gather(*running)
    claimed = await claims(client, ids)
    for task_id in ids:
        [run] = (await client.runs(task_id)).items
        assert run.status == "succeeded"
        assert run.result == run.attempts[-1].worker
    for attempt, what in did.items():
        assert [step for step, _ in what] in (["begun"], ["begun", "ended"]), f"{attempt}: {what}"
        assert {worker for _, worker in what} == {claimed[attempt]}


async def _lost(client: AsyncClient, ids: list[str]) -> None:
    """Until the log says that a claim of who is cut off is lost."""
    while True:
        for task_id in ids:
            for run in (await client.runs(task_id)).items:
                if any((attempt.worker, attempt.outcome) == ("far", "lost") for attempt in run.attempts):
                    return
        await asyncio.sleep(0.05)


async def test_a_clock_may_be_an_hour_off(server: Serving, client: AsyncClient, crew: Crew) -> None:
    workers = [crew.start("skew", f"skew{skew}", skew=skew, lease=3, concurrency=2) for skew in (3600, -3600)]
    # Each outlasts its lease, which has to be renewed meanwhile.
    ids = await create(client, "skew", 4, 4, timeout="30s")
    await all_ended(client, "skew", len(ids))
    for worker in workers:
        await crew.stop(worker)
    assert await check(client, ids, doings(crew)) == {"succeeded": 4}
    claimed = await claims(client, ids)
    assert len(set(claimed.values())) == 2


async def test_a_rolling_restart_loses_and_doubles_nothing(server: Serving, client: AsyncClient, crew: Crew) -> None:
    workers = [crew.start("roll", f"roll{n}", lease=30) for n in range(4)]
    ids: list[str] = []

    async def load() -> None:
        while len(ids) < 600:
            ids.extend(await create(client, "roll", 20, 0.02))
            await asyncio.sleep(0.1)

    loading = asyncio.create_task(load())
    for n, worker in enumerate(workers):
        while not any(worker == f"roll{n}" for what in doings(crew).values() for _, worker in what):
            await asyncio.sleep(0.05)
        await crew.stop(worker)
        workers[n] = crew.start("roll", f"roll{n}-new", lease=30)
    await loading
    await all_ended(client, "roll", len(ids))
    for worker in workers:
        await crew.stop(worker)
    outcomes = await check(client, ids, doings(crew))
    assert set(outcomes) <= {"succeeded", "released"}
    assert outcomes["succeeded"] == len(ids)
