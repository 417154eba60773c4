"""The scheduler for tests: time that is skipped is time as everything in it goes by."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from taskscheduler.client import Fail, Job, Worker
from taskscheduler.testing import BlockingTestScheduler, TestScheduler

QUEUE = {"type": "queue", "queue": "q", "kind": "k"}


async def history(seed: int = 1) -> list[Any]:
    """What happens to some tasks in a week."""
    worker = Worker(queue="q", concurrency=2, name="w")
    async with TestScheduler(seed=seed) as scheduler:

        @worker.handler("k")
        async def handle(job: Job) -> int:
            await scheduler.sleep("20m")
            if job.attempt == 1 and job.scheduled_for is not None and job.scheduled_for.hour % 3 == 0:
                raise Fail("not yet", retryable=True)
            return job.attempt

        scheduler.add(worker)
        client = scheduler.client
        for n in range(3):
            await client.create_task(
                id=f"t{n}", name="t", schedule={"cron": f"{n} */5 * * *"}, target=QUEUE, timeout="1h"
            )
        await scheduler.advance("7d")
        return [
            (run.id, run.status, run.lateness_ms, [(a.started_at, a.finished_at) for a in run.attempts])
            for n in range(3)
            for run in (await client.runs(f"t{n}", limit=200)).items
        ]


async def test_a_year_of_cron_takes_a_moment() -> None:
    worker = Worker(queue="q")
    hours: list[int] = []

    @worker.handler("k")
    async def handle(job: Job) -> None:
        assert job.scheduled_for is not None
        hours.append(job.scheduled_for.hour)

    began = time.monotonic()
    async with TestScheduler() as scheduler:
        scheduler.add(worker)
        schedule = {"cron": "0 2 * * *", "timezone": "Europe/Berlin"}
        task = await scheduler.client.create_task(name="nightly", schedule=schedule, target=QUEUE)
        scheduler.advance("365d")
        assert await scheduler.run_until_idle() == 365
        assert (await scheduler.client.get_task(task.id)).counts.succeeded == 365
        assert scheduler.now.isoformat() == "2031-01-01T00:00:00+00:00"
    # 02:00 in Berlin is 01:00 in winter, and 00:00 in summer; on the last Sunday of March it is shifted to 03:00.
    assert set(hours) == {0, 1}
    assert hours.count(0) == 210
    assert time.monotonic() - began < 60  # two seconds where nothing else runs


async def test_every_run_gives_the_same() -> None:
    first = await history()
    assert len(first) > 90
    assert await history() == first


async def test_a_retry_waits_for_its_time() -> None:
    worker = Worker(queue="q")
    started: list[str] = []
    async with TestScheduler() as scheduler:

        @worker.handler("k")
        def handle(job: Job) -> None:
            started.append(f"{scheduler.now:%H:%M:%S}")
            raise Fail("never", retryable=True)

        scheduler.add(worker)
        retry = {"max_attempts": 3, "backoff": "fixed", "initial": "10m", "jitter": 0}
        task = await scheduler.client.create_task(name="t", target=QUEUE, retry=retry)
        assert await scheduler.run_until_idle() == 1
        await scheduler.advance("9m59s")
        assert len(started) == 1
        await scheduler.advance("1h")
        assert started == ["00:00:00", "00:10:00", "00:20:00"]
        assert (await scheduler.client.get_task(task.id)).status == "failed"


async def test_a_cancelled_run_interrupts_its_handler() -> None:
    worker = Worker(queue="q")
    ended: list[str] = []
    async with TestScheduler() as scheduler:

        @worker.handler("k")
        async def handle(job: Job) -> None:
            job.progress({"half": True})
            try:
                await scheduler.sleep("1h")
            finally:
                ended.append("cancelled" if job.cancelled else "done")

        scheduler.add(worker)
        task = await scheduler.client.create_task(name="t", target=QUEUE, timeout="2h")
        await scheduler.advance("10m")
        assert ended == []
        await scheduler.client.cancel(task.id)
        await scheduler.run_until_idle()
        assert ended == ["cancelled"]


async def test_a_handler_is_heard_from_as_a_worker_would() -> None:
    worker = Worker(queue="q")
    async with TestScheduler() as scheduler:

        @worker.handler("k")
        async def handle(job: Job) -> str:
            await scheduler.sleep("20m")
            return "heard"

        scheduler.add(worker)
        task = await scheduler.client.create_task(name="t", target=QUEUE, heartbeat_timeout="1m", timeout="1h")
        await scheduler.advance("30m")
        [run] = (await scheduler.client.runs(task.id)).items
        assert ([attempt.outcome for attempt in run.attempts], run.result) == (["succeeded"], "heard")


async def test_what_is_missed_in_an_outage_goes_by_catch_up() -> None:
    async with TestScheduler() as scheduler:
        every = {"every": "1h"}
        catch_up = {"policy": "none"}
        task = await scheduler.client.create_task(name="t", schedule=every, target={"type": "noop"}, catch_up=catch_up)
        await scheduler.advance("2h")
        await scheduler.outage("2h30m")
        counts = (await scheduler.client.get_task(task.id)).counts
        assert (counts.succeeded, counts.skipped) == (2, 2)
        await scheduler.advance_to("2030-01-01T05:00:00Z")
        assert (await scheduler.client.get_task(task.id)).counts.succeeded == 3
        with pytest.raises(ValueError, match="is over"):
            scheduler.advance_to("2030-01-01T04:00:00Z")
        with pytest.raises(ValueError, match="no offset"):
            scheduler.advance_to("2030-01-01T09:00:00")


async def test_http_targets_are_kept_and_answered() -> None:
    def answer(request: Any) -> int:
        if request.attempt == 1:
            raise ConnectionError("down")
        return 204

    async with TestScheduler(http=answer) as scheduler:
        target = {"type": "http", "url": "https://example.com/a", "headers": {"X-A": "b"}}
        task = await scheduler.client.create_task(name="t", target=target, payload={"n": 1})
        await scheduler.advance("1m")
        assert [(r.method, r.url, r.headers, r.body) for r in scheduler.requests] == [
            ("POST", "https://example.com/a", {"X-A": "b"}, {"n": 1})
        ] * 2
        assert (await scheduler.client.get_task(task.id)).status == "completed"


async def test_messages_and_chains_are_kept_in_order() -> None:
    worker = Worker(queue="q")
    handled: list[str] = []

    @worker.handler("k")
    async def handle(job: Job, payload: str) -> dict[str, str]:
        handled.append(payload)
        return {"after": payload}

    async with TestScheduler() as scheduler:
        scheduler.add(worker)
        every = {"every": "1h", "max_runs": 2}
        first = await scheduler.client.create_task(name="a", schedule=every, target=QUEUE, payload="a")
        second = await scheduler.client.create_task(name="b", after=[first.id], target=QUEUE, payload="b")
        target = {"type": "kafka", "topic": "t", "key": "k"}
        last = await scheduler.client.create_task(name="c", after=[second.id], target=target, payload={"n": 1})
        await scheduler.advance("3h")
        assert handled == ["a", "b"] * 2
        assert [(m.task_id, m.topic, m.key, m.value) for m in scheduler.messages] == [(last.id, "t", "k", {"n": 1})] * 2


async def test_only_a_handler_may_sleep() -> None:
    async with TestScheduler() as scheduler:
        with pytest.raises(RuntimeError, match="advance"):
            await scheduler.sleep(1)


def test_the_fixture_is_there_without_asyncio(taskscheduler: BlockingTestScheduler) -> None:
    worker = Worker(queue="q")

    @worker.handler("k")
    def handle(job: Job) -> str:
        # Handlers may talk to the scheduler as anybody may.
        return taskscheduler.client.get_task(job.task_id).name

    taskscheduler.add(worker)
    task = taskscheduler.client.create_task(name="t", schedule={"every": "1m", "max_runs": 3}, target=QUEUE)
    assert taskscheduler.advance("10m") == 3
    assert [run.result for run in taskscheduler.client.runs(task.id).items] == ["t"] * 3
    assert taskscheduler.requests == []


async def test_what_a_rate_holds_up_goes_on_when_time_is_moved() -> None:
    async with TestScheduler() as scheduler:
        await scheduler.client.put_limit("host:example.com", rate={"count": 1, "per": "1h"})
        target = {"type": "http", "url": "https://example.com/x"}
        for _ in range(3):
            await scheduler.client.create_task(name="t", target=target)
        await scheduler.run_until_idle()
        assert len(scheduler.requests) == 1
        await scheduler.advance("59m")
        assert len(scheduler.requests) == 1
        await scheduler.advance("1m")
        assert len(scheduler.requests) == 2
        await scheduler.advance("1d")
        assert len(scheduler.requests) == 3


async def test_whoever_follows_in_a_chain_is_given_what_came_before() -> None:
    worker = Worker(queue="q")
    seen: list[Any] = []

    @worker.handler("k")
    async def handle(job: Job) -> dict[str, int]:
        seen.extend((name, run.status, run.result) for name, run in job.upstream.items())
        return {"rows": 3}

    async with TestScheduler() as scheduler:
        scheduler.add(worker)
        client = scheduler.client
        http = {"type": "http", "url": "https://example.com/a"}
        await client.create_task(id="a", name="a", schedule={"delay": "1h"}, target=QUEUE)
        await client.create_task(id="b", name="b", after=["a"], target=QUEUE)
        await client.create_task(id="c", name="c", after=["a"], target=http)
        await client.create_task(id="d", name="d", after=["a"], target={"type": "kafka", "topic": "t"})
        await scheduler.advance("1h")
        assert seen == [("a", "succeeded", {"rows": 3})]
        for given in (scheduler.requests[0].body, scheduler.messages[0].value):
            assert given["upstream"]["a"]["result"] == {"rows": 3}


@pytest.mark.parametrize("status", [None, "200", True, 99])
async def test_an_answer_that_is_no_status_fails_the_attempt_and_says_so(status: Any) -> None:
    async with TestScheduler(http=lambda request: status) as scheduler:
        target = {"type": "http", "url": "https://example.com/a"}
        task = await scheduler.client.create_task(name="t", target=target, retry={"max_attempts": 1})
        await scheduler.run_until_idle()
        run = (await scheduler.client.runs(task.id)).items[0]
        assert run.error is not None
        assert "a status is a number" in run.error.message


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError()])
@pytest.mark.parametrize("pool", ["loop", "thread"])
async def test_a_handler_that_ends_itself_fails_its_attempt(error: BaseException, pool: str) -> None:
    worker = Worker(queue="q")

    def handle(job: Job) -> None:
        raise error

    async def handle_async(job: Job) -> None:
        raise error

    worker.handler("k")(handle if pool == "thread" else handle_async)
    async with TestScheduler() as scheduler:
        scheduler.add(worker)
        task = await scheduler.client.create_task(name="t", target=QUEUE, retry={"max_attempts": 1})
        await scheduler.run_until_idle()
        run = (await scheduler.client.runs(task.id)).items[0]
        assert run.error is not None
        assert run.error.type == type(error).__name__


def test_async_handlers_sleep_there_too(taskscheduler: BlockingTestScheduler) -> None:
    worker = Worker(queue="q")

    @worker.handler("k")
    async def handle(job: Job) -> None:
        await taskscheduler.sleep("10m")

    taskscheduler.add(worker)
    task = taskscheduler.client.create_task(name="t", target=QUEUE, timeout="1h")
    taskscheduler.advance("9m")
    assert taskscheduler.client.get_task(task.id).status == "running"
    taskscheduler.advance("1m")
    assert taskscheduler.client.get_task(task.id).status == "completed"


def test_it_has_to_be_started() -> None:
    scheduler = BlockingTestScheduler()
    with pytest.raises(RuntimeError, match="with"):
        scheduler.advance("1h")
    with scheduler:
        pass
    with pytest.raises(RuntimeError, match="with"):
        scheduler.run_until_idle()
