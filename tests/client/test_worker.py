"""What a worker does when replies are lost, leases run out, runs are cancelled and servers fail."""

import asyncio
import gc
import threading
from typing import Any

import pytest
from client_stub import Stub
from fake_clock import FakeClock
from worker_kit import BEAT, GATHER, Gate, notify, submit

from taskscheduler.client import Fail, Invalid, Job, Worker


async def test_a_poll_says_what_the_worker_can_do(stub: Stub, worker: Worker, start: Any) -> None:
    Gate(worker, "b")
    Gate(worker, "a")
    start(worker)
    await stub.until(lambda: stub.asked("q/claims"))
    [asked, *_] = stub.asked("q/claims")
    assert asked.path == "/api/queues/q/claims"
    assert asked.body.pop("request_id")
    assert asked.body == {"worker": "w", "kinds": ["a", "b"], "max": 2, "wait": "30000ms", "lease": "30000ms"}


async def test_a_poll_whose_reply_was_lost_is_repeated_and_loses_no_run(
    stub: Stub, worker: Worker, clock: FakeClock, start: Any
) -> None:
    gate = Gate(worker)
    submit(stub)
    stub.fault("q/claims", lose_reply=True)
    start(worker)
    await clock.pass_wait(0.1)
    await gate.begun.wait()
    first, second = (seen.body for seen in stub.asked("q/claims")[:2])
    assert first == second
    assert len(stub.held) == 1


async def test_every_other_poll_has_an_id_of_its_own(stub: Stub, worker: Worker, start: Any) -> None:
    @worker.handler("k")
    async def handle(job: Job) -> None: ...

    start(worker)
    for n in range(3):
        await stub.until(lambda n=n: len(stub.asked("q/claims")) > n)
        await notify(stub)
        await stub.until(lambda n=n: len(stub.outcomes()) > n)
    ids = [seen.body["request_id"] for seen in stub.asked("q/claims")]
    assert len(ids) >= 3
    assert len(set(ids)) == len(ids)


async def test_only_free_slots_are_asked_for(stub: Stub, worker: Worker, start: Any) -> None:
    Gate(worker)
    start(worker)
    await stub.until(lambda: stub.asked("q/claims"))
    await notify(stub)
    await stub.until(lambda: len(stub.asked("q/claims")) == 2)
    submit(stub)
    await notify(stub)
    await stub.until(lambda: len(stub.held) == 2)
    assert [seen.body["max"] for seen in stub.asked("q/claims")] == [2, 1]


async def test_leases_are_renewed_at_every_third(stub: Stub, worker: Worker, clock: FakeClock, start: Any) -> None:
    gate = Gate(worker)
    submit(stub)
    start(worker)
    await gate.begun.wait()
    began = clock.now()
    for n in (1, 2, 3):
        await clock.pass_wait(BEAT)
        await stub.until(lambda n=n: len(stub.asked("/heartbeat")) == n)
        await clock.pass_wait(GATHER)
        assert clock.now() - began == pytest.approx(10.0 * n)
    gate.open.set()
    await stub.until(stub.outcomes)
    assert stub.outcomes() == [{"token": next(iter(stub.held)), "result": "done"}]


async def test_progress_is_told_soon_and_kept(stub: Stub, worker: Worker, clock: FakeClock, start: Any) -> None:
    gate = Gate(worker)
    submit(stub)
    start(worker)
    await gate.begun.wait()
    await asyncio.to_thread(gate.jobs[0].heartbeat, {"rows": 1})
    gate.jobs[0].heartbeat({"rows": 2})
    await stub.until(lambda: stub.asked("/heartbeat"))
    await clock.pass_wait(GATHER)
    await clock.pass_wait(BEAT)
    await stub.until(lambda: len(stub.asked("/heartbeat")) >= 2)
    assert stub.asked("/heartbeat")[-1].body == {"progress": {"rows": 2}}
    with pytest.raises(TypeError):
        gate.jobs[0].heartbeat(object())


async def test_progress_that_the_server_refuses_does_not_lose_the_claim(
    stub: Stub, worker: Worker, clock: FakeClock, start: Any
) -> None:
    gate = Gate(worker)
    submit(stub)
    start(worker)
    await gate.begun.wait()
    stub.fault("/heartbeat", 422)
    gate.jobs[0].heartbeat("x" * 10)
    await clock.pass_wait(GATHER)
    await stub.until(lambda: len(stub.asked("/heartbeat")) == 2)
    assert [seen.body for seen in stub.asked("/heartbeat")] == [{"progress": "x" * 10}, {}]
    assert not gate.jobs[0].cancelled


async def test_a_cancelled_run_interrupts_its_handler(stub: Stub, worker: Worker, clock: FakeClock, start: Any) -> None:
    gate = Gate(worker)
    submit(stub)
    start(worker)
    await gate.begun.wait()
    next(iter(stub.held.values())).cancel = True
    await clock.pass_wait(BEAT)
    await gate.interrupted.wait()
    assert gate.jobs[0].cancelled
    await stub.until(stub.outcomes)
    assert stub.outcomes()[0]["error"]["type"] == "Cancelled"
    assert stub.outcomes()[0]["retryable"] is False


async def test_a_handler_in_a_thread_sees_that_it_was_cancelled(
    stub: Stub, worker: Worker, clock: FakeClock, start: Any
) -> None:
    loop, begun = asyncio.get_running_loop(), asyncio.Event()

    @worker.handler("k")
    def handle(job: Job) -> str:
        before = bool(job.cancelled)
        loop.call_soon_threadsafe(begun.set)
        return f"{before}, then {job.cancelled.wait(20)}"

    submit(stub)
    start(worker)
    await begun.wait()
    next(iter(stub.held.values())).cancel = True
    await clock.pass_wait(BEAT)
    await stub.until(stub.outcomes)
    assert stub.outcomes()[0]["result"] == "False, then True"


async def test_a_lost_claim_stops_its_handler_and_drops_its_result(
    stub: Stub, worker: Worker, clock: FakeClock, start: Any
) -> None:
    gate = Gate(worker)
    submit(stub)
    start(worker)
    await gate.begun.wait()
    gate.begun.clear()
    stub.take_back(next(iter(stub.held)))
    await clock.pass_wait(BEAT)
    await gate.interrupted.wait()
    assert gate.jobs[0].cancelled
    # The next attempt comes to the same worker, and only that one is reported.
    await gate.begun.wait()
    gate.open.set()
    await stub.until(stub.outcomes)
    assert [job.attempt for job in gate.jobs] == [1, 2]
    assert [(outcome["token"], outcome["result"]) for outcome in stub.outcomes()] == [(list(stub.held)[1], "done")]


async def test_a_lost_claim_tells_a_handler_in_a_thread_and_drops_its_result(
    stub: Stub, worker: Worker, clock: FakeClock, start: Any
) -> None:
    loop, begun, ended = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    @worker.handler("k")
    def handle(job: Job) -> str:
        loop.call_soon_threadsafe(begun.set)
        job.cancelled.wait(20)
        loop.call_soon_threadsafe(ended.set)
        return "too late"

    submit(stub)
    task = start(worker)
    await begun.wait()
    token = next(iter(stub.held))
    stub.take_back(token)
    stub.due.clear()
    await clock.pass_wait(BEAT)
    await ended.wait()
    worker.stop()
    await asyncio.wait_for(task, 20)
    assert stub.outcomes() == []


async def test_a_heartbeat_that_failed_is_repeated_soon(
    stub: Stub, worker: Worker, clock: FakeClock, start: Any
) -> None:
    gate = Gate(worker)
    submit(stub)
    start(worker)
    await gate.begun.wait()
    began = clock.now()
    stub.fault("/heartbeat", 503)
    stub.fault("/heartbeat", lose_reply=True)
    await clock.pass_wait(BEAT)
    await clock.pass_wait(GATHER)
    await clock.pass_wait(GATHER)
    await stub.until(lambda: len(stub.asked("/heartbeat")) == 3)
    assert clock.now() - began == pytest.approx(11.0)
    assert not gate.jobs[0].cancelled


async def test_a_claim_is_lost_once_its_lease_has_surely_run_out(
    stub: Stub, worker: Worker, clock: FakeClock, start: Any
) -> None:
    gate = Gate(worker)
    submit(stub)
    start(worker)
    await gate.begun.wait()
    began = clock.now()
    stub.fault("/heartbeat", 503, times=1000)
    await clock.pass_wait(BEAT)
    while not gate.interrupted.is_set():
        assert clock.now() - began < 31
        await clock.pass_wait(GATHER)
        await stub.until(lambda: stub.asked("/heartbeat"))
        await asyncio.wait({asyncio.ensure_future(gate.interrupted.wait())}, timeout=0)
    assert clock.now() - began >= 29


async def test_each_heartbeat_renews_the_lease(stub: Stub, worker: Worker, clock: FakeClock, start: Any) -> None:
    gate = Gate(worker)
    submit(stub)
    start(worker)
    await gate.begun.wait()
    for _ in range(2):
        await clock.pass_wait(BEAT)
        await clock.pass_wait(GATHER)
    stub.fault("/heartbeat", 503, times=1000)
    await clock.pass_wait(BEAT)
    beats = len(stub.asked("/heartbeat"))
    # The first 30 s are over, but the last renewal holds until 49.
    for n in range(10):
        await clock.pass_wait(GATHER)
        await stub.until(lambda n=n: len(stub.asked("/heartbeat")) > beats + n)
    assert not gate.jobs[0].cancelled


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("bad"), {"error": {"type": "ValueError", "message": "bad"}, "retryable": True}),
        (Fail("no"), {"error": {"type": "Fail", "message": "no"}, "retryable": False}),
        (
            Fail("busy", retry_after="1m30s", type="Busy"),
            {"error": {"type": "Busy", "message": "busy"}, "retryable": True, "retry_after": 90.0},
        ),
        (Fail("again", retryable=True), {"error": {"type": "Fail", "message": "again"}, "retryable": True}),
        (StopIteration(), {"error": {"type": "StopIteration", "message": ""}, "retryable": True}),
        (SystemExit(3), {"error": {"type": "SystemExit", "message": "3"}, "retryable": True}),
    ],
)
async def test_how_failures_are_reported(
    stub: Stub, worker: Worker, start: Any, error: BaseException, expected: dict[str, Any]
) -> None:
    @worker.handler("k")
    def handle(job: Job) -> None:
        raise error

    submit(stub)
    start(worker)
    await stub.until(stub.outcomes)
    outcome = stub.outcomes()[0]
    outcome.pop("token")
    assert outcome == expected


@pytest.mark.parametrize(
    ("result", "error_type"),
    [(object(), "ResultNotJson"), ("\udcff", "ResultNotJson"), ("x" * 65_536, "ResultTooLarge")],
)
async def test_a_result_that_cannot_be_kept_fails_for_good(
    stub: Stub, worker: Worker, start: Any, result: Any, error_type: str
) -> None:
    @worker.handler("k")
    async def handle(job: Job) -> Any:
        return result

    submit(stub)
    start(worker)
    await stub.until(stub.outcomes)
    assert stub.outcomes()[0]["error"]["type"] == error_type
    assert stub.outcomes()[0]["retryable"] is False


async def test_an_awaitable_object_counts_as_async(stub: Stub, worker: Worker, start: Any) -> None:
    class Handler:
        async def __call__(self, job: Job) -> str:
            return threading.current_thread().name

    worker.handler("k")(Handler())
    submit(stub)
    start(worker)
    await stub.until(stub.outcomes)
    assert stub.outcomes()[0]["result"] == threading.current_thread().name


async def test_a_worker_that_the_server_refuses_ends_with_its_reason(stub: Stub, worker: Worker) -> None:
    Gate(worker)
    stub.fault("q/claims", 422)
    with pytest.raises(Invalid, match="made to fail"):
        await asyncio.wait_for(worker.run(), 20)


async def test_a_server_that_is_away_is_asked_with_growing_waits(
    stub: Stub, worker: Worker, clock: FakeClock, start: Any
) -> None:
    gate = Gate(worker)
    submit(stub)
    stub.fault("q/claims", lose_reply=True, times=2)
    stub.fault("q/claims", 503, headers={"Retry-After": "5"})
    stub.fault("q/claims", 500)
    start(worker)
    for wait in (0.1, 0.2, 5.0, 0.8):
        await clock.pass_wait(wait)
    await gate.begun.wait()
    assert len({seen.body["request_id"] for seen in stub.asked("q/claims")[:5]}) == 1


async def test_a_server_that_does_not_hold_polls_is_not_asked_in_a_loop(
    stub: Stub, worker: Worker, clock: FakeClock, start: Any
) -> None:
    Gate(worker)
    stub.fault("q/claims", 200, times=1000, body={"claims": []})
    start(worker)
    await clock.pass_wait(0.1)
    await clock.pass_wait(0.2)
    await clock.pass_wait(0.4)
    assert len(stub.asked("q/claims")) == 3


@pytest.mark.parametrize("handler", [5, lambda: 1, lambda job, payload, more: 1, lambda *, job: 1])
def test_what_cannot_be_called_with_a_job_is_refused(handler: Any) -> None:
    with pytest.raises(ValueError, match="a handler is called with the job, its payload or both"):
        Worker().handler("k")(handler)


@pytest.mark.filterwarnings("error")
async def test_a_running_loop_takes_the_async_methods() -> None:
    worker = Worker()
    worker.handler("k")(lambda job: 1)
    for method in (worker.run_forever, worker.run_until_idle):
        with pytest.raises(RuntimeError, match="await"):
            method()
    gc.collect()


def test_what_a_worker_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="concurrency"):
        Worker(concurrency=0)
    with pytest.raises(ValueError, match="lease"):
        Worker(lease=0)
    with pytest.raises(ValueError, match="not a duration"):
        Worker(lease="soon")
    worker = Worker()
    worker.handler("k")(print)
    with pytest.raises(ValueError, match="already"):
        worker.handler("k")(print)
    with pytest.raises(ValueError, match="no handlers"):
        Worker().run_forever()
