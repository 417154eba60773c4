"""The server's own dispatch: claim, call, report; leases, stops, crashes and outages."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import Definition, HttpTarget, NoopTarget
from taskscheduler.domain.events import AttemptRenewed, Error
from taskscheduler.domain.retry import Retry
from taskscheduler.domain.schedule import Every, OneTime
from taskscheduler.domain.state import Run
from taskscheduler.domain.values import HOUR, SECOND
from taskscheduler.streams.dispatch.dispatcher import Attempted, Outcome
from tests.support.memory_log import MemoryLog
from tests.support.node import Node
from tests.support.virtual_time import clock, virtual


class Target:
    """Takes `seconds` for each call, then gives `outcome`."""

    group = "http"

    def __init__(self, seconds: float = 1.0, at_once: int = 100) -> None:
        self.at_once = at_once
        self.seconds = seconds
        self.outcome = Outcome(result="1")
        self.started: list[tuple[str, int]] = []
        self.running = self.most = self.ended = self.cut = 0

    async def call(self, attempt: Attempted) -> Outcome:
        self.started.append((attempt.task_id, attempt.number))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.seconds)
            self.ended += 1
            return self.outcome
        except asyncio.CancelledError:
            self.cut += 1
            raise
        finally:
            self.running -= 1


async def create(node: Node, name: str = "a", **fields: object) -> None:
    target = fields.pop("target", HttpTarget("http://x"))
    schedule = fields.pop("schedule", OneTime(at=0))
    retry = fields.pop("retry", Retry(jitter=0))
    definition = Definition(name=name, target=target, schedule=schedule, retry=retry, **fields)  # type: ignore[arg-type]
    await node.do(msg.Create(definition), name)


def last(node: Node, name: str = "a") -> Run:
    run = node.state(name).last_run
    assert run is not None
    return run


async def start(path: Path, log: MemoryLog, *targets: Target, **more: object) -> Node:
    node = Node(path, log, clock, targets=targets, **more)  # type: ignore[arg-type]
    await node.start()
    return node


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(clock)


@virtual
async def test_a_due_run_is_called_and_its_outcome_recorded(tmp_path: Path, log: MemoryLog) -> None:
    target = Target(2.0)
    node = await start(tmp_path, log, target)
    began = clock()
    await create(node)
    await asyncio.sleep(3)
    run = last(node)
    assert (run.status, len(run.attempts)) == ("succeeded", 1)
    assert (run.attempts[0].worker, run.attempts[0].started_at, run.finished_at) == ("server", began, began + 2000)
    assert [[type(event).__name__ for event in record.events] for record in log.records] == [
        ["TaskCreated"],
        ["RunQueued", "ScheduleAdvanced", "AttemptClaimed"],
        ["AttemptSucceeded", "RetentionPlanned"],
    ]
    await node.stop()


@virtual
async def test_failures_are_retried_by_policy(tmp_path: Path, log: MemoryLog) -> None:
    target = Target(1.0)
    target.outcome = Outcome(error=Error("E", "why"), retry_after=10 * SECOND)
    node = await start(tmp_path, log, target)
    await create(node)
    await asyncio.sleep(60)
    assert target.started == [("a", 1), ("a", 2), ("a", 3)]
    assert [a.started_at - last(node).attempts[0].started_at for a in last(node).attempts] == [0, 11_000, 22_000]
    assert node.state().status == "failed"
    await node.stop()


@virtual
async def test_no_more_calls_at_once_than_allowed(tmp_path: Path, log: MemoryLog) -> None:
    target = Target(1.0, at_once=3)
    node = await start(tmp_path, log, target)
    for number in range(10):
        await create(node, f"t{number}")
    await asyncio.sleep(10)
    assert (target.most, target.ended) == (3, 10)
    await node.stop()


@virtual
async def test_the_lease_of_a_long_call_is_renewed(tmp_path: Path, log: MemoryLog) -> None:
    target = Target(200.0)
    node = await start(tmp_path, log, target)
    await create(node)
    await asyncio.sleep(201)
    assert target.started == [("a", 1)]
    assert last(node).status == "succeeded"
    renewals = [e for r in log.records for e in r.events if isinstance(e, AttemptRenewed)]
    assert 9 <= len(renewals) <= 14
    await node.stop()


@virtual
async def test_a_cancelled_task_stops_its_call(tmp_path: Path, log: MemoryLog) -> None:
    target = Target(1000.0)
    node = await start(tmp_path, log, target)
    await create(node, timeout=HOUR)
    await asyncio.sleep(5)
    await node.do(msg.Cancel())
    await asyncio.sleep(11)
    assert (target.cut, target.running) == (1, 0)
    assert last(node).status == "cancelled"
    await node.stop()


@virtual
async def test_stopping_lets_calls_end_and_gives_up_the_rest(tmp_path: Path, log: MemoryLog) -> None:
    target = Target(2.0)
    node = await start(tmp_path, log, target)
    await create(node, "short")
    await asyncio.sleep(1)
    target.seconds = 100.0
    await create(node, "long")
    await asyncio.sleep(0.1)
    began = clock()
    await node.stop(grace=5.0)
    assert clock() - began == 5_000
    assert (target.ended, target.cut) == (1, 1)
    target.seconds = 1.0
    node = await start(tmp_path, log, target)
    await asyncio.sleep(5)
    assert last(node, "short").status == last(node, "long").status == "succeeded"
    assert [a.outcome for a in last(node, "long").attempts] == ["lost", "succeeded"]
    assert target.started == [("short", 1), ("long", 1), ("long", 2)]
    await node.stop()


@virtual
async def test_after_a_crash_held_attempts_are_lost_at_once(tmp_path: Path, log: MemoryLog) -> None:
    target = Target(100.0)
    node = await start(tmp_path, log, target)
    await create(node)
    await asyncio.sleep(1)
    await node.crash()
    target.seconds = 1.0
    node = await start(tmp_path, log, target)
    began = clock()
    await asyncio.sleep(3)
    assert [a.outcome for a in last(node).attempts] == ["lost", "succeeded"]
    assert last(node).finished_at == began + 2_000
    await node.stop()


@virtual
async def test_outcomes_wait_for_the_log_to_come_back(tmp_path: Path, log: MemoryLog) -> None:
    target = Target(1.0)
    node = await start(tmp_path, log, target)
    await create(node)
    await asyncio.sleep(0.5)
    log.down = True
    await asyncio.sleep(20)
    log.down = False
    await asyncio.sleep(5)
    assert target.started == [("a", 1)]
    assert last(node).status == "succeeded"
    await node.stop()


@virtual
@pytest.mark.parametrize("kind", ["noop", "http"])
async def test_an_outage_does_not_make_dispatch_spin(tmp_path: Path, log: MemoryLog, kind: str) -> None:
    target = Target(1.0)
    node = await start(tmp_path, log, target)
    log.failing = set(range(3, 2_000))
    await create(node, target=NoopTarget() if kind == "noop" else HttpTarget("http://x"))
    await asyncio.sleep(60)
    assert [type(r.events[0]).__name__ for r in log.records] == ["TaskCreated", "RunQueued"]
    assert 5 < log.appends < 100
    log.failing = set()
    await asyncio.sleep(5)
    assert last(node).status == "succeeded"
    await node.stop()


@virtual
async def test_a_lost_reply_to_a_claim_is_found_out_by_the_lease(tmp_path: Path, log: MemoryLog) -> None:
    target = Target(1.0)
    node = await start(tmp_path, log, target)
    log.losing = {2}
    await create(node)
    await asyncio.sleep(2)
    assert [type(r.events[-1]).__name__ for r in log.records] == ["TaskCreated", "AttemptClaimed"]
    assert target.started == []
    await asyncio.sleep(35)
    assert [a.outcome for a in last(node).attempts] == ["lost", "succeeded"]
    assert target.started == [("a", 2)]
    await node.stop()


@virtual
async def test_noop_runs_are_claimed_and_completed_in_batches(tmp_path: Path, log: MemoryLog) -> None:
    node = await start(tmp_path, log)
    due = clock() + 10_000
    for number in range(600):
        await create(node, f"t{number}", target=NoopTarget(), schedule=OneTime(at=due, kind="at"))
    before = log.appends
    await asyncio.sleep(11)
    assert all(last(node, f"t{number}").status == "succeeded" for number in range(600))
    assert log.appends - before < 30, "what is due together is decided and appended together"
    await node.stop()


@virtual
async def test_a_minute_of_fires_for_an_hour(tmp_path: Path, log: MemoryLog) -> None:
    node = await start(tmp_path, log)
    await create(node, target=NoopTarget(), schedule=Every(every=60 * SECOND, anchor=0))
    await asyncio.sleep(3601)
    counts = node.state().counts
    assert (counts.fired, counts.succeeded, counts.skipped) == (60, 60, 0)
    await node.stop()


@virtual
async def test_a_deadline_ends_a_call(tmp_path: Path, log: MemoryLog) -> None:
    target = Target(200.0)
    node = await start(tmp_path, log, target)
    await create(node, deadline=45 * SECOND)
    await asyncio.sleep(60)
    run = last(node)
    error = run.attempts[0].error
    assert error is not None
    assert (run.status, run.reason, error.type) == ("failed", "deadline", "DeadlineExceeded")
    assert (target.cut, target.running) == (1, 0), "the call goes on for nobody"
    await node.stop()


@virtual
async def test_a_call_is_heard_from_as_often_as_the_task_wants(tmp_path: Path, log: MemoryLog) -> None:
    target = Target(20.0)
    node = await start(tmp_path, log, target)
    await create(node, heartbeat_timeout=3 * SECOND)
    await asyncio.sleep(25)
    assert (last(node).status, len(last(node).attempts)) == ("succeeded", 1)
    await node.stop()
