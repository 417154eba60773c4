"""Runs that somebody waits for: claimed in the decision that makes them, or made and claimed one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from taskscheduler.commands.handler import Ask
from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import (
    Concurrency,
    Definition,
    DefinitionPatch,
    HttpTarget,
    Lane,
    NoopTarget,
    QueueTarget,
    lane_of,
)
from taskscheduler.domain.limit_definition import LimitDefinition, limit_id
from taskscheduler.domain.retry import Retry
from taskscheduler.domain.schedule import OneTime
from taskscheduler.domain.state import Task
from taskscheduler.domain.values import HOUR, MINUTE, SECOND
from taskscheduler.streams.dispatch.queue import Given
from taskscheduler.streams.handing import Handing, Hands
from tests.streams.test_dispatch import Target
from tests.support.memory_log import MemoryLog
from tests.support.node import Node
from tests.support.virtual_time import clock, virtual

TOGETHER = ["RunQueued", "ScheduleAdvanced", "AttemptClaimed"]


@asynccontextmanager
async def running(path: Path, log: MemoryLog | None = None, *targets: Target) -> AsyncIterator[Node]:
    node = Node(path, log or MemoryLog(clock), clock, targets=targets)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


async def due(node: Node, name: str = "a", seconds: int = 3, kind: str = "k", **fields: object) -> None:
    """A task of a queue that is due in so many seconds."""
    target = fields.pop("target", QueueTarget("q", kind))
    schedule = OneTime(at=clock() + seconds * SECOND, kind="at")
    definition = Definition(name=name, schedule=schedule, target=target, retry=Retry(jitter=0), **fields)  # type: ignore[arg-type]
    await node.do(msg.Create(definition), name)


def decided(log: MemoryLog, task_id: str = "a") -> list[list[str]]:
    """The kinds of events of each decision on the task, after the one that made it."""
    records = [record for record in log.records if record.stream == f"task/{task_id}"]
    return [[type(event).__name__ for event in record.events] for record in records[1:]]


async def poll(node: Node, worker: str = "w", **more: object) -> list[Given]:
    return await node.queue.claim("q", worker=worker, wait=HOUR, **more)  # type: ignore[arg-type]


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(clock)


@virtual
async def test_a_waiting_request_gets_its_claim_with_the_decision_that_makes_the_run(
    tmp_path: Path, log: MemoryLog
) -> None:
    async with running(tmp_path, log) as node:
        await due(node, payload='{"p":1}')
        at = clock() + 3 * SECOND
        [given] = await poll(node, lease=20 * SECOND)
        assert decided(log) == [TOGETHER]
        assert (given.task_id, given.attempt, given.payload, given.scheduled_for) == ("a", 1, '{"p":1}', at)
        assert given.lease_until == log.records[-1].recorded_at + 20 * SECOND
        assert (log.records[-1].actor, log.records[-1].cause) == ("w", "timer")
        await node.queue.complete(given.token, "1")
        assert node.state().status == "completed"


@virtual
async def test_the_server_takes_over_too(tmp_path: Path, log: MemoryLog) -> None:
    target = Target(1.0)
    async with running(tmp_path, log, target) as node:
        await due(node, target=HttpTarget("http://x"))
        await due(node, "b", target=NoopTarget())
        await asyncio.sleep(5)
        assert decided(log) == decided(log, "b") == [TOGETHER, ["AttemptSucceeded", "RetentionPlanned"]]
        assert target.started == [("a", 1)]


@virtual
async def test_who_waits_longest_and_takes_the_kind_gets_it_and_no_more_than_it_asked_for(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        asked = {
            "other": {"kinds": ["other"]},
            "first": {"max": 2},
            "second": {"kinds": ["k"], "max": 9},
            "third": {"max": 9},
        }
        polls = {}
        for worker, more in asked.items():
            polls[worker] = asyncio.create_task(poll(node, worker, **more))
            await asyncio.sleep(0.01)
        for number in range(5):
            await due(node, f"t{number}")
        await asyncio.sleep(5)
        given = {worker: [one.task_id for one in task.result()] for worker, task in polls.items() if task.done()}
        assert given == {"first": ["t0", "t1"], "second": ["t2", "t3", "t4"]}
        for task in polls.values():
            task.cancel()


@virtual
async def test_without_anybody_the_run_waits(tmp_path: Path, log: MemoryLog) -> None:
    async with running(tmp_path, log) as node:
        await due(node)
        assert await node.queue.claim("q", worker="w", wait=SECOND) == [], "it has left before"
        await asyncio.sleep(3)
        [given] = await poll(node)
        assert given.task_id == "a"
        assert decided(log) == [TOGETHER[:2], ["AttemptClaimed"]]


@virtual
async def test_what_waits_already_goes_before(tmp_path: Path) -> None:
    lane = lane_of(Definition(name="t", schedule=OneTime(at=0), target=QueueTarget("q", "k")))
    async with running(tmp_path) as node:
        assert node.claimables.spare(lane, 9) == 9
        await due(node, seconds=1)
        await asyncio.sleep(2)
        assert node.claimables.spare(lane, 9) == 0
        assert node.claimables.spare(lane._replace(kind="other"), 9) == 9
        await poll(node)
        assert node.claimables.spare(lane, 9) == 9


@virtual
async def test_slots_are_granted_before_anything_is_claimed(tmp_path: Path, log: MemoryLog) -> None:
    async with running(tmp_path, log) as node:
        await due(node, concurrency=Concurrency("c", 1))
        await due(node, "b")
        await node.handler.handle(limit_id("queue:other"), msg.DefineLimit(LimitDefinition(concurrency=1)))
        assert {one.task_id for _ in range(2) for one in await poll(node)} == {"a", "b"}
        assert decided(log)[0] == decided(log, "b")[0] == TOGETHER[:2]


@virtual
async def test_what_turns_out_otherwise_is_triggered_and_claimed_as_ever(tmp_path: Path, log: MemoryLog) -> None:
    async with running(tmp_path, log) as node:
        await due(node)
        waits = asyncio.create_task(poll(node))
        await asyncio.sleep(2)
        # The claim says where the run was expected to wait, and the task is decided on with the change before it.
        log.held.clear()
        patch = asyncio.create_task(node.do(msg.Update(DefinitionPatch(target=QueueTarget("q", "another")))))
        await asyncio.sleep(1.5)
        log.held.set()
        await patch
        [given] = await waits
        assert (given.kind, given.attempt) == ("another", 1)
        assert decided(log)[1:] == [TOGETHER[:2], ["AttemptClaimed"]]


@virtual
async def test_a_reply_that_is_lost_leaves_no_request_waiting_for_ever(tmp_path: Path, log: MemoryLog) -> None:
    async with running(tmp_path, log) as node:
        await due(node)
        log.losing = {2}
        waits = asyncio.create_task(poll(node, lease=20 * SECOND))
        [given] = await waits
        assert given.attempt == 2, "nobody knows who has the first: its lease ran out"
        assert clock() < log.entries[0].appended_at + MINUTE


@virtual
async def test_the_same_request_gets_what_was_handed_over_to_nobody(tmp_path: Path, log: MemoryLog) -> None:
    async with running(tmp_path, log) as node:
        await due(node)
        first = asyncio.create_task(poll(node, request_id="r"))
        await asyncio.sleep(2.9)
        log.held.clear()
        await asyncio.sleep(0.2)
        first.cancel()
        again = asyncio.create_task(node.queue.claim("q", worker="w", request_id="r"))
        await asyncio.sleep(0.1)
        log.held.set()
        [given] = await again
        assert (given.task_id, given.attempt) == ("a", 1)
        assert decided(log) == [TOGETHER]


@virtual
async def test_stopping_waits_for_what_is_being_handed_over(tmp_path: Path, log: MemoryLog) -> None:
    target = Target(1.0)
    async with running(tmp_path, log, target) as node:
        await due(node, target=HttpTarget("http://x"))
        await asyncio.sleep(2.9)
        log.held.clear()
        await asyncio.sleep(0.2)
        stopping = asyncio.create_task(node.dispatchers[0].stop(10.0))
        await asyncio.sleep(0.1)
        log.held.set()
        await stopping
        assert (target.ended, target.cut) == (1, 0)
        assert node.dispatchers[0].hands(Lane("http", "x")) is not None
        assert node.noop is not None and node.noop.hands(Lane("noop")) is not None
    assert node.dispatchers[0].hands(Lane("http", "x")) is None, "it takes nothing more"
    assert node.noop.hands(Lane("noop")) is None


class Few:
    """Takes no more than so many, and says what it was asked."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.asked: list[Ask] = []

    def spare(self, lane: Lane, most: int) -> int:
        return min(self.most, most)

    def entity(self, id: str) -> Task:
        definition = Definition(name="t", schedule=OneTime(at=7), target=QueueTarget("q", "k"))
        return Task(id, definition=definition, next_fire=7)

    def submit(self, asks: Sequence[Ask], done: object) -> None:
        self.asked += asks

    def hands(self, lane: Lane) -> Hands:
        claim = msg.Claim("r", "w", "t", SECOND)
        return Hands(9, lambda lane, item: Ask(item.task_id, claim, actor="w"), lambda handed: None)


@pytest.mark.parametrize(("most", "limits", "claims"), [(9, 0, 3), (1, 0, 1), (0, 0, 0), (9, 1, 0)])
def test_no_more_is_handed_over_than_would_be_taken_now(most: int, limits: int, claims: int) -> None:
    few = Few(most)
    handing = Handing(few, few, SimpleNamespace(defined=limits), seed=lambda: 5)  # type: ignore[arg-type]
    handing.takers = [few]
    handing.submit([Ask(f"t{n}", msg.Wake(), actor="s", cause="timer", due_at=7) for n in range(3)], lambda left: None)
    assert [type(ask.command) for ask in few.asked] == [msg.Claim] * claims + [msg.Wake] * (3 - claims)
    assert {(ask.cause, ask.due_at) for ask in few.asked} == {("timer", 7)}, "it is decided no earlier than it is due"
