"""How much a worker claims: what begins at once, and no more."""

import asyncio
from typing import Any

import pytest
from client_stub import Stub
from fake_clock import FakeClock
from worker_kit import notify, submit

from taskscheduler.client import Job, Worker
from taskscheduler.client.pace import Pace


def asked(stub: Stub) -> list[int]:
    return [seen.body["max"] for seen in stub.asked("q/claims")]


@pytest.mark.parametrize(
    ("took", "ahead"),
    [([], 0), ([0.0], 100), ([0.01], 100), ([0.05], 50), ([0.2], 12), ([0.26], 0), ([0.0, 30.0], 0), ([5.0, 0.0], 0)],
)
def test_what_is_claimed_ahead_begins_within_a_quarter_of_a_second(took: list[float], ahead: int) -> None:
    pace = Pace(10, 30.0)
    for seconds in took:
        pace.took(seconds)
    assert pace.ahead == ahead


def test_a_short_lease_allows_less() -> None:
    pace = Pace(10, 1.0)
    pace.took(0.005)
    assert pace.ahead == 20


async def test_a_fast_handler_gets_many_claims_and_reports_them_together(stub: Stub, worker: Worker) -> None:
    @worker.handler("k")
    async def handle(job: Job) -> None: ...

    for _ in range(302):
        submit(stub)
    assert await worker.until_idle() == 302
    assert (asked(stub)[0], max(asked(stub))) == (2, 100)
    assert len(asked(stub)) < 30
    reports = [len(seen.body["outcomes"]) for seen in stub.asked("/report")]
    assert max(reports) > 1
    assert all(len(held.run["attempts"]) == 1 for held in stub.held.values())


async def test_a_slow_handler_gets_what_it_can_begin(stub: Stub, worker: Worker, clock: FakeClock, start: Any) -> None:
    go_on, begun = asyncio.Semaphore(0), asyncio.Semaphore(0)

    @worker.handler("k")
    async def handle(job: Job) -> None:
        begun.release()
        await go_on.acquire()

    for _ in range(9):
        submit(stub)
    start(worker)
    await begun.acquire()
    for n in range(9):
        if n < 8:
            await begun.acquire()
        clock.advance(1.0)
        go_on.release()
    await stub.until(lambda: len(stub.outcomes()) == 9)
    assert max(asked(stub)) == 2


async def test_what_cannot_begin_after_all_is_given_back(
    stub: Stub, worker: Worker, clock: FakeClock, start: Any
) -> None:
    hanging = asyncio.Event()

    @worker.handler("k")
    async def handle(job: Job) -> None:
        if job.payload:
            await hanging.wait()

    submit(stub)
    start(worker)
    await stub.until(stub.outcomes)
    for _ in range(6):
        submit(stub, payload="hang")
    await notify(stub, payload="hang")
    await stub.until(lambda: len(stub.held) == 8)
    await clock.pass_wait(1.0)
    await stub.until(lambda: len(stub.outcomes()) == 6)
    assert [outcome.get("release") for outcome in stub.outcomes()] == [None, *[True] * 5]
    assert len(stub.due) == 5
