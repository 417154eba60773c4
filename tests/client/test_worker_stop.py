"""How a worker stops."""

import asyncio
import os
import signal
import sys
import threading
from typing import Any

import pytest
from client_stub import Stub
from fake_clock import FakeClock
from worker_kit import Gate, notify, submit

from taskscheduler.client import Job, Worker

GRACE = 20.0
SCRIPT = """
import asyncio, sys
from taskscheduler.client import Worker
worker = Worker(sys.argv[1], "q", name="w")
@worker.handler("k")
def handle(job):
    print("begun", flush=True)
    job.cancelled.wait() if job.payload == "hang" else sys.stdin.readline()
    return "done"
@worker.handler("stubborn")
async def stubborn(job):
    print("begun", flush=True)
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            print("no", flush=True)
worker.run_forever()
print("ended", flush=True)
"""


async def ended(task: "asyncio.Task[None]") -> None:
    await asyncio.wait_for(task, 20)


async def test_an_idle_worker_stops_at_once(stub: Stub, worker: Worker, start: Any) -> None:
    Gate(worker)
    task = start(worker)
    await stub.until(lambda: stub.asked("q/claims"))
    worker.stop()
    await ended(task)
    # It looks once more for what the interrupted poll may have been given.
    poll, last = (seen.body for seen in stub.asked("q/claims"))
    assert last == {**poll, "wait": "1ms"}


async def test_claims_of_an_interrupted_poll_are_given_back(stub: Stub, worker: Worker, start: Any) -> None:
    gate = Gate(worker)
    submit(stub)
    stub.fault("q/claims", lose_reply=True)
    task = start(worker)
    await stub.until(lambda: stub.held)
    worker.stop()
    await ended(task)
    assert stub.outcomes() == [{"token": next(iter(stub.held)), "release": True}]
    assert (gate.jobs, len(stub.due)) == ([], 1)


async def test_the_last_look_is_repeated_when_it_is_held_or_fails(
    stub: Stub, worker: Worker, clock: FakeClock, start: Any
) -> None:
    gate = Gate(worker)
    gate.open.set()
    submit(stub)
    stub.fault("q/claims", lose_reply=True)
    stub.fault("q/claims", hold=True)
    stub.fault("q/claims", 500)
    task = start(worker)
    await stub.until(lambda: stub.held)
    worker.stop()
    await clock.pass_wait(0.05)
    await clock.pass_wait(0.05)
    await ended(task)
    assert stub.outcomes() == [{"token": next(iter(stub.held)), "release": True}]
    assert len({seen.body["request_id"] for seen in stub.asked("q/claims")}) == 1


async def test_what_runs_may_finish_and_nothing_is_claimed(stub: Stub, worker: Worker, start: Any) -> None:
    gate = Gate(worker)
    submit(stub)
    task = start(worker)
    await gate.begun.wait()
    worker.stop()
    await stub.until(lambda: stub.asked("q/claims")[-1].body["wait"] == "1ms")
    await notify(stub)
    gate.open.set()
    await ended(task)
    assert [outcome["result"] for outcome in stub.outcomes()] == ["done"]
    assert (len(stub.held), len(stub.due)) == (1, 1)


async def test_the_last_outcomes_are_delivered_before_the_end(
    stub: Stub, worker: Worker, clock: FakeClock, start: Any
) -> None:
    gate = Gate(worker)
    submit(stub)
    task = start(worker)
    await gate.begun.wait()
    stub.fault("report", 503, times=5)
    worker.stop()
    await stub.until(lambda: stub.asked("q/claims")[-1].body["wait"] == "1ms")
    gate.open.set()
    for wait in (0.1, 0.2, 0.4, 0.8, 1.6):
        await clock.pass_wait(wait)
    await ended(task)
    assert [held.run["status"] for held in stub.held.values()] == ["succeeded"]


async def test_after_the_grace_handlers_are_interrupted_and_their_runs_given_back(
    stub: Stub, worker: Worker, clock: FakeClock, start: Any
) -> None:
    gate = Gate(worker)
    submit(stub)
    task = start(worker)
    await gate.begun.wait()
    worker.stop()
    await clock.pass_wait(GRACE)
    await ended(task)
    assert gate.interrupted.is_set()
    assert gate.jobs[0].cancelled
    (outcome,) = stub.outcomes()
    assert (outcome["error"]["type"], outcome["retryable"]) == ("WorkerStopped", True)


async def test_a_handler_that_hangs_in_a_thread_does_not_hold_up_the_end(
    stub: Stub, worker: Worker, clock: FakeClock, start: Any
) -> None:
    loop, begun, release = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    jobs: list[Job] = []

    @worker.handler("k")
    def handle(job: Job) -> None:
        jobs.append(job)
        loop.call_soon_threadsafe(begun.set)
        release.wait(20)

    submit(stub)
    task = start(worker)
    await begun.wait()
    worker.stop()
    await clock.pass_wait(GRACE)
    await clock.pass_wait(1.0)
    await ended(task)
    release.set()
    assert jobs[0].cancelled
    assert stub.outcomes() == []


async def test_a_second_stop_ends_at_once(stub: Stub, worker: Worker, start: Any) -> None:
    gate = Gate(worker)
    submit(stub)
    task = start(worker)
    await gate.begun.wait()
    await asyncio.to_thread(worker.stop)
    worker.stop()
    await ended(task)
    assert gate.interrupted.is_set()
    assert stub.outcomes() == []


async def test_a_worker_may_be_stopped_before_it_runs_and_run_again(stub: Stub, worker: Worker, start: Any) -> None:
    gate = Gate(worker)
    gate.open.set()
    worker.stop()
    await ended(start(worker))
    submit(stub)
    task = start(worker)
    await stub.until(stub.outcomes)
    worker.stop()
    await ended(task)


async def test_a_cancelled_worker_ends_its_handlers(stub: Stub, worker: Worker, start: Any) -> None:
    gate = Gate(worker)
    submit(stub)
    task = start(worker)
    await gate.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ended(task)
    assert gate.interrupted.is_set()


async def test_a_worker_announces_itself_and_drains_when_it_is_told(
    stub: Stub, worker: Worker, clock: FakeClock, start: Any
) -> None:
    gate = Gate(worker)
    submit(stub)
    task = start(worker)
    await gate.begun.wait()
    await stub.until(lambda: stub.asked("w/announce"))
    said = stub.asked("w/announce")[0].body
    assert said.pop("instance")
    assert (said["queues"], said["kinds"], said["concurrency"], said["pid"]) == (["q"], ["k"], 2, os.getpid())
    stub.drain = True
    await clock.pass_wait(10.0)
    await stub.until(lambda: stub.asked("q/claims")[-1].body["wait"] == "1ms")
    assert stub.asked("w/announce")[-1].body["running"] == 1
    gate.open.set()
    await ended(task)
    assert [outcome["result"] for outcome in stub.outcomes()] == ["done"]
    assert len(stub.asked("w/leave")) == 1


async def test_a_server_that_keeps_no_registry_is_asked_once(
    stub: Stub, worker: Worker, clock: FakeClock, start: Any
) -> None:
    gate = Gate(worker)
    stub.fault("w/announce", 404, times=9)
    submit(stub)
    task = start(worker)
    await gate.begun.wait()
    await stub.until(lambda: stub.asked("w/announce"))
    clock.advance(10.0)
    gate.open.set()
    await stub.until(stub.outcomes)
    worker.stop()
    await ended(task)
    assert (len(stub.asked("w/announce")), stub.asked("w/leave")) == (1, [])


class Process:
    """A worker in a process of its own, which prints what it does."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        assert process.stdin is not None
        self.process, self.out, self.into = process, process.stdout, process.stdin

    async def line(self) -> str:
        return (await asyncio.wait_for(self.out.readline(), 20)).decode().strip()


@pytest.fixture
async def process(stub: Stub) -> Any:
    pipe = asyncio.subprocess.PIPE
    made = await asyncio.create_subprocess_exec(sys.executable, "-I", "-c", SCRIPT, stub.url, stdin=pipe, stdout=pipe)
    yield Process(made)
    if made.returncode is None:
        made.kill()
    await made.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_handlers_finish(stub: Stub, process: Process, number: signal.Signals) -> None:
    submit(stub)
    assert await process.line() == "begun"
    process.process.send_signal(number)
    await stub.until(lambda: stub.asked("q/claims")[-1].body["wait"] == "1ms")
    process.into.write(b"\n")
    assert await process.line() == "ended"
    assert await asyncio.wait_for(process.process.wait(), 20) == 0
    assert [outcome["result"] for outcome in stub.outcomes()] == ["done"]


async def test_a_second_signal_ends_the_process_at_once(stub: Stub, process: Process) -> None:
    submit(stub)
    assert await process.line() == "begun"
    process.process.send_signal(signal.SIGTERM)
    await stub.until(lambda: stub.asked("q/claims")[-1].body["wait"] == "1ms")
    process.process.send_signal(signal.SIGTERM)
    assert await process.line() == "ended"
    assert await asyncio.wait_for(process.process.wait(), 20) == 0
    assert stub.outcomes() == []


async def test_a_second_signal_ends_a_process_whose_handler_takes_no_notice(stub: Stub, process: Process) -> None:
    submit(stub, "stubborn")
    assert await process.line() == "begun"
    process.process.send_signal(signal.SIGTERM)
    await stub.until(lambda: stub.asked("q/claims")[-1].body["wait"] == "1ms")
    process.process.send_signal(signal.SIGTERM)
    while (line := await process.line()) == "no":
        pass
    assert line == "ended"
    assert await asyncio.wait_for(process.process.wait(), 20) == 0
    assert stub.outcomes() == []
