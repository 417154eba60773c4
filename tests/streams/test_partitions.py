"""Replicas of several partitions as one: shared verdicts, each partition at its own position."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from taskscheduler.commands.handler import Ask, CommandHandler, Done
from taskscheduler.commands.ports import Entry, LogUnavailable, Receipt
from taskscheduler.domain.decision import Accepted, Record, Verdict
from taskscheduler.domain.definition import Definition, NoopTarget
from taskscheduler.domain.entities import stream_of
from taskscheduler.domain.messages import Create, Pause
from taskscheduler.domain.schedule import Every
from taskscheduler.domain.state import Task
from taskscheduler.domain.values import HOUR, Instant
from taskscheduler.streams.partitions import Replicas
from taskscheduler.streams.replica import Kept, LogDiverged, Position
from tests.streams.conformance.log import decision
from tests.support.memory_log import MemoryLog

NOW = 1_772_366_400_000
COUNT = 3


class Memory:
    """A store in memory. What is not flushed is lost with it."""

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}
        self.at = Position()
        self.flushes = 0

    def load(self, task_id: str) -> Kept | None:
        return self.kept.get(task_id)

    def save(self, task_id: str, kept: Kept, run_ids: object, keys: object) -> None:
        self.kept[task_id] = kept

    def position(self) -> Position:
        return self.at

    def set_position(self, position: Position) -> None:
        self.at = position

    def flush(self) -> int:
        self.flushes += 1
        return 0

    @property
    def dirty(self) -> int:
        return 0


class PartitionedMemoryLog:
    """As many logs in memory as there are partitions; a task's partition is the last figure of its name."""

    def __init__(self) -> None:
        self.logs = [MemoryLog(lambda: NOW) for _ in range(COUNT)]

    def partition_of(self, stream: str) -> int:
        return int(stream[-1]) % COUNT

    async def append(self, records: Sequence[Record]) -> list[Receipt]:
        receipts = []
        for record in records:
            partition = self.partition_of(record.stream)
            [receipt] = await self.logs[partition].append([record])
            receipts.append(Receipt(partition, receipt.position, receipt.appended_at))
        return receipts

    async def read(self, partition: int, after: int, limit: int) -> list[Entry]:
        entries = await self.logs[partition].read(0, after, limit)
        return [Entry(partition, entry.position, entry.appended_at, entry.record) for entry in entries]

    async def wait(self, partition: int, after: int) -> None:
        await self.logs[partition].wait(0, after)

    async def end(self, partition: int) -> int:
        return await self.logs[partition].end(0)

    def known_end(self, partition: int) -> int:
        return len(self.logs[partition].entries)


class Seen:
    def __init__(self) -> None:
        self.partitions: Counter[int] = Counter()

    def apply(self, accepted: Sequence[Accepted]) -> None:
        self.partitions.update(change.partition for change in accepted)


def replicas_of(log: PartitionedMemoryLog, stores: list[Memory], **given: object) -> Replicas:
    return Replicas(log, dict(enumerate(stores)), **given)  # type: ignore[arg-type]


def handler_of(log: PartitionedMemoryLog, replicas: Replicas, name: str = "n") -> CommandHandler:
    return CommandHandler(log, replicas, clock=lambda: NOW, seed=lambda: 1, instance=name)


def creation(number: int) -> Ask:
    definition = Definition(name="t", schedule=Every(every=HOUR, anchor=0), target=NoopTarget())
    return Ask(f"t{number}", Create(definition))


@pytest.fixture
async def run() -> AsyncIterator[Callable[[Replicas], asyncio.Task[None]]]:
    running: list[asyncio.Task[None]] = []

    def start(replicas: Replicas) -> asyncio.Task[None]:
        running.append(asyncio.create_task(replicas.run()))
        return running[-1]

    yield start
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


Run = Callable[[Replicas], Awaitable[None]]


async def test_a_batch_spans_partitions(run: Run) -> None:
    log, stores, seen = PartitionedMemoryLog(), [Memory() for _ in range(COUNT)], Seen()
    replicas = replicas_of(log, stores)
    replicas.observe(seen)
    run(replicas)
    handler = handler_of(log, replicas)
    answers = await handler.handle_many([creation(number) for number in range(10)])
    assert [answer.token for answer in answers if isinstance(answer, Done)] == [
        f"{number % COUNT}:{1 + number // COUNT}" for number in range(10)
    ]
    assert {replicas.state(f"t{number}").version for number in range(10)} == {1}
    assert replicas.state("x9") == Task("x9")
    assert [sorted(store.kept) for store in stores] == [
        ["t0", "t3", "t6", "t9"],
        ["t1", "t4", "t7"],
        ["t2", "t5", "t8"],
    ]
    assert seen.partitions == {0: 4, 1: 3, 2: 3}
    assert replicas.tokens() == ["0:4", "1:3", "2:3"]
    assert [replicas.token(f"t{number}") for number in range(3)] == replicas.tokens()


async def test_verdicts_wait_for_the_slowest_partition_and_keep_their_order(run: Run) -> None:
    log = PartitionedMemoryLog()
    replicas = replicas_of(log, [Memory() for _ in range(COUNT)])
    records = [decision(stream_of(f"t{number}"), number % 2, name=f"r{number}") for number in range(4)]
    waiting = asyncio.ensure_future(replicas.expect([record.record_id for record in records]))
    await log.append(records)
    for partition in (2, 0):
        await replicas.by_partition[partition].catch_up()
        await asyncio.sleep(0)
        assert not waiting.done()
    assert replicas.lag() == {0: 0, 1: 1, 2: 0}
    await replicas.catch_up()
    assert await waiting == [Verdict.ACCEPTED, Verdict.CONFLICT, Verdict.ACCEPTED, Verdict.CONFLICT]
    assert replicas.lag() == {0: 0, 1: 0, 2: 0}


async def test_who_gives_up_is_forgotten_in_every_partition() -> None:
    log = PartitionedMemoryLog()
    replicas = replicas_of(log, [Memory() for _ in range(COUNT)])
    record = decision("task/t1", 0)
    waiting = asyncio.ensure_future(replicas.expect([record.record_id]))
    replicas.drafted(record, Task("t1"), Task("t1"))
    waiting.cancel()
    await asyncio.sleep(0)
    assert not replicas._expectations.expected
    assert not replicas._expectations.drafts


async def test_the_barrier_is_that_of_the_tasks_partition(run: Run) -> None:
    log = PartitionedMemoryLog()
    replicas = replicas_of(log, [Memory() for _ in range(COUNT)])
    run(replicas)
    log.logs[0].down = True
    await log.append([decision("task/t1", 0)])
    await replicas.caught_up("t1")
    assert replicas.by_partition[1].position == 1
    await replicas.reached(1, 1)
    with pytest.raises(LogUnavailable):
        await replicas.caught_up("t0")


async def test_an_instance_that_is_behind_decides_on_the_newest(run: Run) -> None:
    log = PartitionedMemoryLog()
    ahead, behind = (replicas_of(log, [Memory() for _ in range(COUNT)]) for _ in range(2))
    run(ahead)
    await handler_of(log, ahead).handle_many([creation(number) for number in range(6)])
    handler = handler_of(log, behind, "m")
    waiting = asyncio.ensure_future(handler.handle_many([Ask(f"t{number}", Pause()) for number in range(6)]))
    await asyncio.sleep(0)
    assert not waiting.done()
    run(behind)
    assert all(isinstance(answer, Done) for answer in await waiting)


async def test_an_entry_without_a_record_is_passed_over(run: Run) -> None:
    log, store = PartitionedMemoryLog(), Memory()
    await log.append([decision("task/t0", 0)])
    log.logs[0].entries.append(Entry(0, 2, Instant(0), None))
    replicas = replicas_of(log, [store, Memory(), Memory()])
    assert await replicas.catch_up() == 2
    assert (store.at.position, store.at.record_id) == (2, "")
    await replicas.check()
    await log.append([decision("task/t0", 1)])
    await replicas.catch_up()
    assert (store.at.position, replicas.state("t0").version) == (3, 2)


async def test_a_log_that_is_another_is_noticed_in_any_partition() -> None:
    log, stores = PartitionedMemoryLog(), [Memory() for _ in range(COUNT)]
    stores[2].set_position(Position(4, "elsewhere"))
    with pytest.raises(LogDiverged):
        await replicas_of(log, stores).check()


async def test_one_partition_that_cannot_be_followed_ends_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    log = PartitionedMemoryLog()
    replicas = replicas_of(log, [Memory() for _ in range(COUNT)])
    running = run(replicas)
    await asyncio.sleep(0)
    assert replicas.failure is None

    async def broken(partition: int, after: int, limit: int) -> list[Entry]:
        raise LogDiverged("gone")

    monkeypatch.setattr(log, "read", broken)
    await log.append([decision("task/t1", 0)])
    with pytest.raises(LogDiverged):
        await running
    assert replicas.failure == "partition 1: LogDiverged: gone"


async def test_flushing_flushes_every_partition() -> None:
    stores = [Memory() for _ in range(COUNT)]
    replicas_of(PartitionedMemoryLog(), stores).flush()
    assert [store.flushes for store in stores] == [1] * COUNT
