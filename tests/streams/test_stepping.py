"""Steps are carried out exactly once, whatever dies and whoever does it, and none is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from taskscheduler.domain import chains
from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import After, Definition, NoopTarget
from taskscheduler.domain.events import RunQueued, StepsTaken, UpstreamHeard
from taskscheduler.domain.schedule import Manual
from taskscheduler.domain.steps import Link, Told
from taskscheduler.streams.rocksdb.buffer import Buffer
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.outbox_table import FAMILY, RocksOutboxTable
from taskscheduler.streams.stepping import Stepping
from tests.support.memory_log import MemoryLog
from tests.support.node import Node
from tests.support.virtual_time import run, virtual


def create(**fields: object) -> msg.Create:
    return msg.Create(Definition("t", Manual(), NoopTarget(), **fields))  # type: ignore[arg-type]


def clock() -> int:
    return 1_700_000_000_000 + int(asyncio.get_running_loop().time() * 1000)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[RocksOutboxTable]:
    with Database(tmp_path, (FAMILY,)) as database:
        yield RocksOutboxTable(Buffer(database))


def test_the_table_keeps_steps_in_order_until_they_are_taken(table: RocksOutboxTable) -> None:
    told = [Told(number, Link(("then",)), "1") for number in (1, 2, 300)]
    for one in reversed(told):
        table.put("a", "b", one)
        table.put("a.b", "limit/x", one)
    table.put("a", "bb", told[0])
    assert (table.senders(), table.receivers("a"), table.receivers("a.b")) == (["a", "a.b"], ["b", "bb"], ["limit/x"])
    assert table.first("a", "b", 2) == told[:2]
    table.delete_up_to("a", "b", 2)
    assert (table.first("a", "b", 9), table.count(99), table.count(2)) == (told[2:], 5, 2)
    table.clear("a")
    assert (table.senders(), table.count(99)) == (["a.b"], 3)


def started(log: MemoryLog, task_id: str) -> list[str]:
    """Of which runs the runs of a task were made by chains, in order."""
    found: dict[int, list[str]] = {}
    version = 0
    for record in log.records:
        if record.stream != f"task/{task_id}" or record.expected_version != version:
            continue
        version += 1
        found[version] = [
            event.upstream[event.caused_by].run_id
            for event in record.events
            if isinstance(event, RunQueued) and event.cause == "chain" and event.caused_by is not None
        ]
    return [run_id for runs in found.values() for run_id in runs]


async def settle(node: Node) -> None:
    """Until nothing is left to do."""
    while node.outbox.count(1) or any(node.state(name).runs for name in "abcd"):
        await asyncio.sleep(0.1)


@virtual
async def test_a_chain_goes_on(tmp_path: Path) -> None:
    log = MemoryLog(clock)
    node = Node(tmp_path, log, clock)
    await node.start()
    for name, command in (("a", create()), ("b", create()), ("c", create(after=After(("a", "b"))))):
        await node.do(command, name)
    assert await node.stepping.deliver("c")
    assert node.state("a").links == {"c": ("after_success",)}
    first = (await node.do(msg.Trigger(), "a")).decided.run_id
    second = (await node.do(msg.Trigger(), "b")).decided.run_id
    await settle(node)
    await node.do(msg.Trigger(), "a")
    await settle(node)
    made = node.state("c")
    assert made.counts.succeeded == 1 and set(made.arrived) == {"a"}
    [end] = {run.run_id for run in made.last_finished.upstream.values()} ^ {first, second} or {None}  # type: ignore[union-attr]
    assert end is None
    await node.stop()


@virtual
async def test_a_receiver_that_is_gone_is_written_down(tmp_path: Path) -> None:
    log = MemoryLog(clock)
    node = Node(tmp_path, log, clock)
    await node.start()
    await node.do(create(), "b")
    await node.do(create(then=("b", "never")), "a")
    await node.do(msg.Delete(), "b")
    await node.do(msg.Trigger(), "a")
    await settle(node)
    refused = [event.refused for record in log.records for event in record.events if isinstance(event, StepsTaken)]
    assert {name for one in refused for name in one} == {"b", "never"}
    assert any("deleted" in one.get("b", "") for one in refused)
    await node.stop()


@virtual
async def test_who_waits_for_room_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "MAX_ACTIVE_RUNS", 1)
    log = MemoryLog(clock)
    node = Node(tmp_path, log, clock, noop=False)
    await node.start()
    await node.do(create(), "b")
    await node.do(create(), "c")
    await node.do(create(then=("b", "c")), "a")
    for number in range(3):
        done = await node.do(msg.Trigger(), "a")
        run_id = done.decided.run_id or ""
        await node.do(msg.Claim(run_id, "w", "t", 60_000), "a")
        await node.do(msg.Complete(run_id, 1, "t", str(number)), "a")
    for count in range(1, 4):
        await asyncio.sleep(2)
        assert len(started(log, "b")) == count
        assert len(started(log, "c")) == 1
        [made] = node.state("b").runs.values()
        assert made.upstream["a"].result == str(count - 1)
        await node.do(msg.Claim(made.id, "w", "t", 60_000), "b")
        await node.do(msg.Complete(made.id, 1, "t"), "b")
    await node.stop()


@settings(max_examples=12, deadline=None)
@given(
    seed=some.integers(0, 1 << 16),
    deaths=some.lists(some.integers(1, 40), max_size=4),
    losing=some.sets(some.integers(1, 60), max_size=6),
    other=some.booleans(),
)
def test_each_success_leads_to_one_run_whatever_dies(
    seed: int, deaths: list[int], losing: set[int], other: bool
) -> None:
    async def story(folder: Path) -> None:
        log = MemoryLog(clock)
        log.losing = losing
        lives = iter([*deaths, 0])
        made = 0
        for life, steps in enumerate(lives):
            node = Node(folder, log, clock, name=f"n{life}", seed=seed + life, timeout=2.0, flush_after=0.003)
            await node.start()
            if other:  # a process that takes the partition for its own, too
                second = Stepping({0: node.outbox}, node.handler, lambda sender: 0, lambda: (0,))
                node.outbox.made, first = second._mark, node.outbox.made
                mark = second._mark
                node.outbox.made = lambda sender, first=first, mark=mark: (first(sender), mark(sender))[0]
                node._loops.append(asyncio.create_task(second.run()))
            asking = asyncio.create_task(ask(node, made))
            made += 10
            if steps:
                await asyncio.sleep(steps * 0.002)
                asking.cancel()
                await node.crash()
                continue
            await asking
            await asyncio.sleep(60)
            await settle(node)
            succeeded = node.state("a").counts.succeeded
            assert len(started(log, "b")) == succeeded == len(set(started(log, "b")))
            assert len(started(log, "c")) == succeeded, "it runs after b"
            assert not node.state("a").unsent and not node.state("b").unsent
            await node.stop()

    async def ask(node: Node, number: int) -> None:
        for name, command in (("b", create()), ("c", create(after=After(("b",)))), ("a", create(then=("b",)))):
            try:
                if node.state(name).definition is None:
                    await node.do(command, name)
            except Exception:
                await asyncio.sleep(1)
                if node.state(name).definition is None:
                    await node.do(command, name)
            while not await node.stepping.deliver(name):
                await asyncio.sleep(0.5)
        for nth in range(10):
            try:
                await node.do(msg.Trigger(), "a", key=msg.Key(f"k{number + nth}", ""))
            except Exception:
                await asyncio.sleep(0.1)

    with TemporaryDirectory() as folder:
        run(story(Path(folder)))


@virtual
async def test_a_process_that_starts_carries_out_what_waits(tmp_path: Path) -> None:
    log = MemoryLog(clock)
    node = Node(tmp_path, log, clock)
    await node.start(work=False)
    await node.do(create(), "b")
    await node.do(create(then=("b",)), "a")
    assert node.outbox.count(9) == 1
    await node.crash()
    node = Node(tmp_path, log, clock, name="n2")
    await node.start()
    await asyncio.sleep(1)
    assert (node.state("b").links, node.outbox.count(9)) == ({"a": ("then",)}, 0)
    await node.stop()


@virtual
async def test_a_loop_that_failed_begins_with_everything_that_waits(tmp_path: Path) -> None:
    log = MemoryLog(clock)
    node = Node(tmp_path, log, clock)
    await node.start(work=False)
    await node.do(create(), "b")
    send, failures = node.stepping._send, [1]

    async def failing(senders: Sequence[str]) -> list[str] | None:
        if failures:
            raise RuntimeError(failures.pop())
        return await send(senders)

    node.stepping._send = failing  # type: ignore[method-assign]
    running = asyncio.create_task(node.stepping.run())
    await node.do(create(then=("b",)), "a")
    with pytest.raises(RuntimeError):
        await running
    node._loops.append(asyncio.create_task(node.stepping.run()))
    await asyncio.sleep(1)
    assert node.state("b").links == {"a": ("then",)}
    await node.stop()


@virtual
async def test_a_circle_that_two_changes_closed_comes_to_an_end(tmp_path: Path) -> None:
    log = MemoryLog(clock)
    node = Node(tmp_path, log, clock)
    await node.start()
    await node.do(create(then=("b",)), "a")
    await node.do(create(then=("a",)), "b")
    await node.do(msg.Trigger(), "a")
    await settle(node)
    heard = [event for record in log.records for event in record.events if isinstance(event, UpstreamHeard)]
    assert [event.outcome for event in heard].count("started") == chains.MAX_DEPTH
    assert [(event.outcome, event.reason) for event in heard if event.outcome != "started"] == [("ignored", "too_deep")]
    await node.stop()


@virtual
async def test_what_was_ignored_is_on_the_log(tmp_path: Path) -> None:
    log = MemoryLog(clock)
    node = Node(tmp_path, log, clock)
    await node.start()
    await node.do(create(), "b")
    await node.do(create(then=("b",)), "a")
    await node.do(msg.Pause(), "b")
    await node.do(msg.Trigger(), "a")
    await settle(node)
    heard = [event for record in log.records for event in record.events if isinstance(event, UpstreamHeard)]
    assert [(event.outcome, event.reason) for event in heard] == [("ignored", "paused")]
    await node.stop()
