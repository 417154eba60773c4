"""Handlers in processes: what they give back, how they die, and that they can be ended."""

import asyncio
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pool_handlers
import pytest
from client_stub import Stub
from fake_clock import FakeClock
from worker_kit import BEAT, submit

from taskscheduler.client import Job, Worker, child, processes
from taskscheduler.client.handlers import pickled
from taskscheduler.client.job import Claim

pytestmark = pytest.mark.timeout(60)


async def outcome_of(stub: Stub, count: int = 1) -> dict[str, Any]:
    await stub.until(lambda: len(stub.outcomes()) >= count)
    return stub.outcomes()[-1]


async def begun(file: Path) -> list[int]:
    """The processes of a handler that hangs."""
    while not file.exists() or len(file.read_text().split()) < 2:
        await asyncio.sleep(0.01)
    return [int(pid) for pid in file.read_text().split()]


async def gone(pids: list[int]) -> None:
    while any(pool_handlers.alive(pid) for pid in pids):
        await asyncio.sleep(0.01)


async def test_a_process_serves_one_run_after_another(stub: Stub, worker: Worker, start: Any) -> None:
    worker.handler("k", pool="process")(pool_handlers.pid)
    submit(stub)
    start(worker)
    first = (await outcome_of(stub))["result"]
    submit(stub)
    await stub.changed()
    assert (await outcome_of(stub, 2))["result"] == first != os.getpid()


async def test_payload_and_result_have_types_there_too(stub: Stub, worker: Worker, start: Any) -> None:
    worker.handler("k", pool="process")(pool_handlers.typed)
    submit(stub, payload={"number": 6})
    start(worker)
    assert (await outcome_of(stub))["result"] == {"number": 7, "tags": ["attempt 1"]}
    submit(stub, payload={"number": "six"})
    await stub.changed()
    refused = await outcome_of(stub, 2)
    assert refused["error"] == {"type": "InvalidPayload", "message": "Expected `int`, got `str` - at `$.number`"}
    assert refused["retryable"] is False


async def test_an_exception_there_is_reported_and_logged(
    stub: Stub, worker: Worker, start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    worker.handler("k", pool="process")(pool_handlers.raises)
    submit(stub)
    start(worker)
    outcome = await outcome_of(stub)
    assert (outcome["error"], outcome["retryable"]) == ({"type": "KeyError", "message": "'gone'"}, True)
    assert "in raises" in caplog.text


async def test_a_process_that_dies_fails_the_attempt_and_is_replaced(stub: Stub, worker: Worker, start: Any) -> None:
    worker.handler("k", pool="process")(pool_handlers.dies)
    submit(stub)
    start(worker)
    await outcome_of(stub, 2)
    first, second = stub.outcomes()
    assert first["error"] == {"type": "ProcessDied", "message": "the process of the handler was ended by SIGSEGV"}
    assert first["retryable"] is True
    assert second["result"] == "the second time it lives"


async def test_a_process_that_exits_says_with_which_code(stub: Stub, worker: Worker, start: Any) -> None:
    worker.handler("k", pool="process")(pool_handlers.exits)
    submit(stub)
    start(worker)
    assert "ended with code 3" in (await outcome_of(stub))["error"]["message"]


async def test_a_process_that_died_idle_costs_no_attempt(stub: Stub, worker: Worker, start: Any) -> None:
    worker.handler("k", pool="process")(pool_handlers.pid)
    submit(stub)
    start(worker)
    first = (await outcome_of(stub))["result"]
    os.kill(first, signal.SIGKILL)
    await gone([first])
    submit(stub)
    await stub.changed()
    second = (await outcome_of(stub, 2))["result"]
    assert second != first


async def test_progress_comes_out_of_the_process(stub: Stub, worker: Worker, start: Any, tmp_path: Path) -> None:
    worker.handler("k", pool="process")(pool_handlers.reports)
    submit(stub, payload={"open": str(tmp_path / "open")})
    start(worker)
    await stub.until(lambda: [held.progress for held in stub.held.values()] == [{"half": True}])
    (tmp_path / "open").touch()
    await outcome_of(stub)


async def test_cancelling_kills_the_process_and_what_it_started(
    stub: Stub, worker: Worker, clock: FakeClock, start: Any, tmp_path: Path
) -> None:
    worker.handler("k", pool="process")(pool_handlers.hangs)
    submit(stub, payload={"begun": str(tmp_path / "begun")})
    start(worker)
    pids = await begun(tmp_path / "begun")
    next(iter(stub.held.values())).cancel = True
    await clock.pass_wait(BEAT)
    assert (await outcome_of(stub))["error"]["type"] == "Cancelled"
    await gone(pids)


async def test_a_timeout_kills_the_process_by_the_time_that_has_passed(
    stub: Stub, worker: Worker, clock: FakeClock, start: Any, tmp_path: Path
) -> None:
    worker.handler("k", pool="process")(pool_handlers.hangs)
    target = {"type": "queue", "queue": "q", "kind": "k"}
    stub.make({"name": "k", "target": target, "timeout": "PT4S", "payload": {"begun": str(tmp_path / "begun")}})
    start(worker)
    pids = await begun(tmp_path / "begun")
    await clock.pass_wait(4.0)
    assert (await outcome_of(stub))["error"]["type"] == "TimedOut"
    await gone(pids)


async def test_no_process_outlives_its_worker(stub: Stub, worker: Worker, start: Any, tmp_path: Path) -> None:
    worker.handler("k", pool="process")(pool_handlers.hangs)
    submit(stub, payload={"begun": str(tmp_path / "begun")})
    task = start(worker)
    pids = await begun(tmp_path / "begun")
    worker.stop()
    worker.stop()
    await asyncio.wait_for(task, 20)
    await gone(pids)


async def test_no_process_outlives_a_worker_that_was_killed(stub: Stub, tmp_path: Path) -> None:
    script = tmp_path / "killed_worker.py"
    script.write_text(
        "import sys\n"
        f"sys.path.append({str(Path(__file__).parent)!r})\n"
        "import pool_handlers\n"
        "from taskscheduler.client import Worker\n"
        "worker = Worker(sys.argv[1], 'q')\n"
        "worker.handler('k', pool='process')(pool_handlers.hangs)\n"
        "if __name__ == '__main__':\n"
        "    worker.run_forever()\n"
    )
    submit(stub, payload={"begun": str(tmp_path / "begun")})
    made = await asyncio.create_subprocess_exec(sys.executable, str(script), stub.url)
    pids = await begun(tmp_path / "begun")
    made.kill()
    await made.wait()
    await gone(pids)


async def test_a_process_that_is_left_alone_takes_along_what_its_handlers_started(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=child.serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    claim = Claim(token="t", task_id="t", run_id="r", attempt=1, kind="k", payload={"begun": str(tmp_path / "begun")})
    ours.send_bytes(pickle.dumps(pool_handlers.leaves))
    ours.send_bytes(msgspec.json.encode(claim))
    while ours.recv_bytes()[:1] != child.OUTCOME:
        pass
    ours.close()
    await asyncio.wait_for(gone(await begun(tmp_path / "begun")), 20)


def test_what_cannot_run_in_a_process_is_refused(worker: Worker) -> None:
    with pytest.raises(ValueError, match="pool is 'fibre'"):
        worker.handler("k", pool="fibre")(print)  # type: ignore[arg-type]

    async def loops(job: Job) -> None: ...

    with pytest.raises(ValueError, match="event loop"):
        worker.handler("k", pool="process")(loops)

    @worker.handler("k", pool="process")
    def inside(job: Job) -> None: ...

    with pytest.raises(ValueError, match="at the top of a module"):
        worker.run_until_idle()


async def test_the_pipe_of_a_process_that_is_killed_is_closed_by_the_thread_that_reads_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed_by: list[int] = []
    close = processes._Child.close

    def noted(child: Any) -> None:
        closed_by.append(threading.get_ident())
        close(child)

    monkeypatch.setattr(processes._Child, "close", noted)
    pool = processes.Processes()
    claim = Claim(token="t", task_id="t", run_id="r", attempt=1, kind="k", payload={"begun": str(tmp_path / "begun")})
    reading: list[int] = []

    def run() -> object:
        reading.append(threading.get_ident())
        call = processes.Call(lambda progress: None, lambda trace: None)
        return pool.run(pickled("k", pool_handlers.hangs), msgspec.json.encode(claim), call)

    running = asyncio.create_task(asyncio.to_thread(run))
    pids = await begun(tmp_path / "begun")
    pool.close()
    await running
    await gone(pids)
    assert closed_by == reading
