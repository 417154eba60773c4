"""What a worker does, against any server that keeps to the API."""

import asyncio
import uuid
from typing import Any

import pytest

from taskscheduler.client import AsyncClient, Fail, Job, Run, Task, Worker

Start = Any


@pytest.fixture
async def api(base_url: str) -> Any:
    async with AsyncClient(base_url) as client:
        yield client


class Site:
    """A queue of its own, a worker for it, and tasks to run there."""

    def __init__(self, base_url: str, api: AsyncClient, start: Start) -> None:
        self.api = api
        self.queue = f"q-{uuid.uuid4().hex[:12]}"
        self.worker = Worker(base_url, self.queue, concurrency=4)
        self._start = start
        self._task: asyncio.Task[None] | None = None

    async def submit(self, kind: str, payload: Any = None, **fields: Any) -> Task:
        target = {"type": "queue", "queue": self.queue, "kind": kind}
        retry = {"max_attempts": 3, "backoff": "fixed", "initial": "1ms", "jitter": 0}
        return await self.api.create_task(name=kind, target=target, payload=payload, retry=retry, **fields)

    def start(self) -> None:
        self._task = self._start(self.worker)

    async def finish(self) -> None:
        """Stop gracefully: then all outcomes have been reported."""
        assert self._task is not None
        self.worker.stop()
        await asyncio.wait_for(self._task, 20)

    async def last_run(self, task: Task) -> Run:
        return (await self.api.runs(task.id)).items[0]


@pytest.fixture
def site(base_url: str, api: AsyncClient, start: Start) -> Site:
    return Site(base_url, api, start)


async def test_a_run_ends_with_what_its_handler_returns(site: Site) -> None:
    jobs: list[Job] = []
    done = asyncio.Event()

    @site.worker.handler("double")
    async def double(job: Job) -> dict[str, int]:
        jobs.append(job)
        done.set()
        return {"doubled": job.payload["n"] * 2}

    task = await site.submit("double", {"n": 21})
    site.start()
    await done.wait()
    await site.finish()
    run = await site.last_run(task)
    assert (run.status, run.result) == ("succeeded", {"doubled": 42})
    job = jobs[0]
    assert (job.task_id, job.run_id, job.attempt, job.kind) == (task.id, run.id, 1, "double")
    assert job.scheduled_for == run.scheduled_for
    assert job.deadline is not None
    assert not job.cancelled
    assert (await site.api.get_task(task.id)).status == "completed"


async def test_a_function_that_is_not_async_runs_in_a_thread(site: Site) -> None:
    loop = asyncio.get_running_loop()
    both = asyncio.Event()
    seen: list[int] = []

    @site.worker.handler("block")
    def block(job: Job) -> str:
        seen.append(job.payload)
        if len(seen) == 2:
            loop.call_soon_threadsafe(both.set)
        # Each waits until both are there: they run side by side, and do not hold up the loop.
        return "together" if asyncio.run_coroutine_threadsafe(both.wait(), loop).result(20) else ""

    tasks = [await site.submit("block", n) for n in range(2)]
    site.start()
    await both.wait()
    await site.finish()
    assert [(await site.last_run(task)).result for task in tasks] == ["together", "together"]


async def test_an_exception_fails_the_attempt_and_the_next_may_succeed(site: Site) -> None:
    done = asyncio.Event()

    @site.worker.handler("flaky")
    async def flaky(job: Job) -> str:
        if job.attempt == 1:
            raise KeyError("not yet")
        done.set()
        return f"at attempt {job.attempt}"

    task = await site.submit("flaky")
    site.start()
    await done.wait()
    await site.finish()
    run = await site.last_run(task)
    assert (run.status, run.result) == ("succeeded", "at attempt 2")
    first, second = run.attempts
    assert (first.number, first.outcome, second.number, second.outcome) == (1, "failed", 2, "succeeded")
    assert first.error is not None
    assert (first.error.type, first.error.message) == ("KeyError", "'not yet'")
    assert first.worker == site.worker.name


async def test_a_failure_for_good_is_not_tried_again(site: Site) -> None:
    done = asyncio.Event()

    @site.worker.handler("hopeless")
    async def hopeless(job: Job) -> None:
        done.set()
        raise Fail("no such customer", type="UnknownCustomer")

    task = await site.submit("hopeless")
    site.start()
    await done.wait()
    await site.finish()
    run = await site.last_run(task)
    assert (run.status, run.reason, len(run.attempts)) == ("failed", "gave_up", 1)
    assert run.attempts[0].error is not None
    assert run.attempts[0].error.type == "UnknownCustomer"
    letters = (await site.api.dead_letters(task_id=task.id)).items
    assert run.id in [letter.id for letter in letters]


async def test_what_is_claimed_at_the_stop_is_finished(site: Site) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    @site.worker.handler("slow")
    async def slow(job: Job) -> str:
        started.set()
        await go_on.wait()
        return "finished"

    task = await site.submit("slow")
    site.start()
    await started.wait()
    site.worker.stop()
    go_on.set()
    assert site._task is not None
    await asyncio.wait_for(site._task, 20)
    assert (await site.last_run(task)).result == "finished"


async def test_a_worker_that_ended_takes_nothing_from_the_next(site: Site, base_url: str, start: Start) -> None:
    done, taken = asyncio.Event(), asyncio.Event()
    jobs: list[Job] = []

    @site.worker.handler("k")
    async def first(job: Job) -> None:
        # Meanwhile the worker asks for more, and that request is held when it stops.
        await site.api.health()
        done.set()

    await site.submit("k")
    site.start()
    await done.wait()
    await site.finish()
    successor = Worker(base_url, site.queue, name="successor")

    @successor.handler("k")
    async def second(job: Job) -> None:
        jobs.append(job)
        taken.set()

    # The run is there before the successor asks: whoever else waits would take it first.
    task = await site.submit("k", schedule={"at": "2099-01-01T00:00:00Z"})
    await site.api.trigger(task.id)
    await site.api.get_task(task.id)
    running = start(successor)
    await asyncio.wait_for(taken.wait(), 20)
    successor.stop()
    await asyncio.wait_for(running, 20)
    assert [job.attempt for job in jobs] == [1]
    assert (await site.last_run(task)).attempts[0].worker == "successor"


async def test_only_runs_of_the_handlers_kinds_are_claimed(site: Site) -> None:
    done = asyncio.Event()

    @site.worker.handler("mine")
    async def mine(job: Job) -> None:
        done.set()

    other = await site.submit("another")
    task = await site.submit("mine")
    site.start()
    await done.wait()
    await site.finish()
    assert (await site.last_run(task)).status == "succeeded"
    assert (await site.last_run(other)).status == "queued"
