"""Claims under limits, on a node in virtual time: who waits, what is given back, and what is taken back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import Concurrency, Definition, HttpTarget, NoopTarget, QueueTarget, Target
from taskscheduler.domain.limit_definition import Granted, LimitDefinition, Rate, limit_id
from taskscheduler.domain.schedule import OneTime
from taskscheduler.domain.values import MINUTE, SECOND
from taskscheduler.streams import claimable
from taskscheduler.streams.dispatch.dispatcher import Attempted, Outcome
from tests.support.memory_log import MemoryLog
from tests.support.node import Node
from tests.support.virtual_time import clock, virtual

MAIL = QueueTarget("mail", "send")


class Slow:
    """An http target whose calls take a second; `most` is how many there were at once."""

    group = "http"
    at_once = 100

    def __init__(self) -> None:
        self.now = self.most = self.done = 0

    async def call(self, attempt: Attempted) -> Outcome:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(1)
        self.now -= 1
        self.done += 1
        return Outcome()


def node_on(path: Path, log: MemoryLog, **more: Any) -> Node:
    return Node(path, log, clock, name=path.name, **more)


async def create(node: Node, count: int, target: Target, prefix: str = "t", **fields: Any) -> None:
    for number in range(count):
        await node.do(
            msg.Create(Definition(name="t", schedule=OneTime(at=0), target=target, **fields)), f"{prefix}{number}"
        )
    await asyncio.sleep(0.5)


async def define(node: Node, name: str, **fields: Any) -> None:
    await node.do(msg.DefineLimit(LimitDefinition(**fields)), limit_id(name))


def in_use(node: Node, name: str) -> int:
    return len(node.handler.limit(name).slots)


def events_of(log: MemoryLog, kind: type) -> list[Any]:
    return [event for record in log.records for event in record.events if isinstance(event, kind)]


@virtual
async def _no_more_calls_than_a_host_allows(path: Path) -> None:
    target = Slow()
    node = node_on(path / "n", MemoryLog(clock), targets=[target])
    await node.start()
    await define(node, "host:a.example", concurrency=3)
    await create(node, 10, HttpTarget("http://a.example/x"))
    await create(node, 4, HttpTarget("http://b.example/x"), "other")
    await asyncio.sleep(10)
    assert (target.done, in_use(node, "host:a.example")) == (14, 0)
    assert target.most <= 3 + 4
    await node.stop()


def test_no_more_calls_than_a_host_allows(tmp_path: Path) -> None:
    _no_more_calls_than_a_host_allows(tmp_path)


@virtual
async def _runs_that_a_tag_holds_up(path: Path) -> None:
    target = Slow()
    node = node_on(path / "n", MemoryLog(clock), targets=[target])
    await node.start()
    await define(node, "tag:team=red", concurrency=2)
    await create(node, 30, HttpTarget("http://a.example/x"), tags={"team": "red"})
    await create(node, 1, HttpTarget("http://a.example/x"), "blue")
    await asyncio.sleep(2)
    assert target.most == 3
    assert not node.state("blue0").runs, "it waits behind thirty that a limit holds up"
    await asyncio.sleep(30)
    assert (target.done, target.most, in_use(node, "tag:team=red")) == (31, 3, 0)
    await node.stop()


@pytest.mark.parametrize("most", [4_096, 5])
def test_runs_that_a_tag_holds_up_are_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(claimable, "MOST_PARKED", most)
    _runs_that_a_tag_holds_up(tmp_path)


@virtual
async def _a_rate(path: Path) -> None:
    target = Slow()
    node = node_on(path / "n", MemoryLog(clock), targets=[target])
    await node.start()
    began = clock()
    await define(node, "host:a.example", rate=Rate(1, 10 * SECOND, 2))
    await create(node, 6, HttpTarget("http://a.example/x"))
    await asyncio.sleep(0.5)
    assert target.now + target.done == 2
    while target.done < 6:
        await asyncio.sleep(0.5)
    assert 40 * SECOND <= clock() - began <= 45 * SECOND
    assert not node.handler.limit("host:a.example").slots
    await node.stop()


def test_a_rate_holds_calls_up_until_it_is_time(tmp_path: Path) -> None:
    _a_rate(tmp_path)


@virtual
async def _slots_that_nobody_claimed_with(path: Path) -> None:
    log = MemoryLog(clock)
    node = node_on(path / "n", log)
    await node.start()
    await create(node, 2, MAIL, concurrency=Concurrency("c", 1))
    run_id = node.state("t0").last_run_id or ""
    lost = msg.GrantSlots((msg.Want(Granted("lost", "t0", run_id, 1), 1),))
    await node.do(lost, limit_id("key:c"))
    assert await node.queue.claim("mail", worker="w", max=5) == []
    poll = asyncio.create_task(node.queue.claim("mail", worker="w", max=5, wait=MINUTE))
    await asyncio.sleep(29)
    assert not poll.done()
    await asyncio.sleep(2)
    assert len(await poll) == 1
    [revoked] = events_of(log, ev.GrantsRevoked)
    released = events_of(log, ev.SlotsReleased)
    assert (revoked.run_id, released[0].ids) == (run_id, ("lost",))
    kinds = [type(event) for record in log.records for event in record.events]
    assert kinds.index(ev.GrantsRevoked) < kinds.index(ev.SlotsReleased), "released before a late claim had to lose"
    await node.stop()


def test_slots_that_nobody_claimed_with_are_revoked_and_then_released(tmp_path: Path) -> None:
    _slots_that_nobody_claimed_with(tmp_path)


@virtual
async def _what_a_process_left(path: Path) -> None:
    log = MemoryLog(clock)
    node = node_on(path / "n", log)
    await node.start()
    await define(node, "queue:mail", concurrency=2)
    await create(node, 3, MAIL)
    claims = await node.queue.claim("mail", worker="w", max=5)
    assert len(claims) == 2
    node.releasing._marked = {}
    node.releasing.run = node.replica.run  # type: ignore[method-assign]
    for loop in node._loops[1:]:
        loop.cancel()
    for claim in claims:
        await node.queue.complete(claim.token)
    assert in_use(node, "queue:mail") == 2
    await node.crash()
    again = node_on(path / "n", log)
    await again.start()
    await asyncio.sleep(1)
    assert in_use(again, "queue:mail") == 0
    assert len(await again.queue.claim("mail", worker="w", max=5)) == 1
    await again.stop()


def test_what_a_process_left_is_released_by_the_next(tmp_path: Path) -> None:
    _what_a_process_left(tmp_path)


@virtual
async def _of_two_limits(path: Path) -> None:
    log = MemoryLog(clock)
    node = node_on(path / "n", log)
    await node.start()
    await define(node, "queue:mail", concurrency=5)
    await define(node, "tag:a=b", concurrency=1)
    await create(node, 3, MAIL, tags={"a": "b"})
    [claim] = await node.queue.claim("mail", worker="w", max=5)
    assert (in_use(node, "queue:mail"), in_use(node, "tag:a=b")) == (1, 1)
    [attempt] = node.state(claim.task_id).runs[claim.run_id].attempts
    assert list(attempt.grants) == ["queue:mail", "tag:a=b"]
    # An instance that knows less asks, is refused by the second and gives back what it has of the first.
    asked = msg.GrantSlots((msg.Want(Granted("x", "t9", "r", 1)),))
    assert (await node.do(asked, limit_id("tag:a=b"))).decided.granted == ()
    await node.queue.fail(claim.token, ev.Error("E", "why"), retryable=False)
    await asyncio.sleep(0.5)
    assert (in_use(node, "queue:mail"), in_use(node, "tag:a=b")) == (0, 0)
    await node.stop()


def test_an_attempt_holds_a_slot_of_each_of_its_limits(tmp_path: Path) -> None:
    _of_two_limits(tmp_path)


@virtual
async def _tasks_that_differ(path: Path) -> None:
    log = MemoryLog(clock)
    node = node_on(path / "n", log)
    await node.start()
    await create(node, 2, MAIL, "low", concurrency=Concurrency("c", 1))
    await create(node, 2, MAIL, "high", concurrency=Concurrency("c", 3))
    appends = log.appends
    first = await node.queue.claim("mail", worker="w", max=9)
    first += await node.queue.claim("mail", worker="w", max=9)
    assert sorted(claim.task_id[:3] for claim in first) in (["hig", "hig"], ["hig", "hig", "low"])
    assert log.appends - appends < 20, "what cannot be claimed is asked for again and again"
    for claim in first:
        await node.queue.complete(claim.token)
    ended = len(first)
    while ended < 4:
        for claim in await node.queue.claim("mail", worker="w", max=9, wait=MINUTE):
            await node.queue.complete(claim.token)
            ended += 1
    await node.stop()


def test_tasks_of_a_key_that_name_different_limits_do_not_keep_each_other_waiting_for_ever(tmp_path: Path) -> None:
    _tasks_that_differ(tmp_path)


@virtual
async def _without_limits(path: Path) -> None:
    log = MemoryLog(clock)
    node = node_on(path / "n", log, noop=False)
    await node.start()
    await create(node, 5, NoopTarget(), tags={"a": "b"})
    taken = node.claimables.take("noop", None, 9)
    assert len(taken) == 5
    assert not node.limiter.concerns(taken)
    await define(node, "tag:other=1", concurrency=1)
    assert node.limiter.concerns(taken)
    await node.do(msg.DeleteLimit(), limit_id("tag:other=1"))
    assert not node.limiter.concerns(taken)
    await node.stop()


def test_where_no_limit_is_defined_claims_are_not_looked_at(tmp_path: Path) -> None:
    _without_limits(tmp_path)
