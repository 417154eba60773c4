"""A replica goes on where it was, never tears state from position, and refuses a log that is another one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from taskscheduler.domain import messages as msg
from taskscheduler.domain.decision import FOLD_VERSION, Accepted, Record
from taskscheduler.domain.definition import Definition, QueueTarget
from taskscheduler.domain.entities import stream_of
from taskscheduler.domain.events import TaskPaused
from taskscheduler.domain.schedule import Every
from taskscheduler.domain.values import HOUR, MINUTE
from taskscheduler.streams.replica import LogDiverged, Position
from tests.support.memory_log import MemoryLog
from tests.support.node import Node
from tests.support.virtual_time import clock, virtual

HOURLY = msg.Create(
    Definition(name="t", schedule=Every(every=HOUR, anchor=0), target=QueueTarget("q", "k"), timeout=HOUR)
)


class Reads(MemoryLog):
    """Remembers from where it was read."""

    def __init__(self) -> None:
        super().__init__(clock)
        self.read_after: list[int] = []

    async def read(self, partition: int, after: int, limit: int) -> list:  # type: ignore[type-arg]
        self.read_after.append(after)
        return await super().read(partition, after, limit)


class Seen:
    """An observer that remembers, and can fail."""

    def __init__(self) -> None:
        self.positions: list[int] = []
        self.fail_at = 0

    def apply(self, accepted: Sequence[Accepted]) -> None:
        if any(change.position == self.fail_at for change in accepted):
            raise RuntimeError("an observer with a bug")
        self.positions += [change.position for change in accepted]


async def history(node: Node) -> None:
    """Tasks in every state that has rows of its own."""
    for number in range(5):
        name = f"t{number}"
        await node.do(HOURLY, name, key=msg.Key(f"k{number}", "b"))
        for _ in range(number):
            run_id = (await node.do(msg.Trigger(), name)).decided.run_id
            assert run_id is not None
            if number % 2:
                await node.do(msg.Claim(run_id, "w", f"h{number}", MINUTE, "req"), name)
    await node.do(msg.Pause(), "t1")
    await node.do(msg.Cancel(), "t2")
    await node.do(msg.Delete(), "t3")


@virtual
async def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    log, seen = Reads(), Seen()
    node = Node(tmp_path, log, clock)
    await node.start(work=False)
    await history(node)
    before, position, digest = (
        {n: node.state(n) for n in ("t0", "t1", "t4")},
        node.replica.position,
        node.store.digest(),
    )
    await node.stop()
    log.read_after.clear()
    node = Node(tmp_path, log, clock, observers=[seen])
    await node.start(work=False)
    assert min(log.read_after) == position - 1, "only the last record is read again, to compare"
    assert {name: node.state(name) for name in before} == before
    assert node.store.digest() == digest
    assert seen.positions == []
    await node.do(msg.Trigger(), "t0")
    assert seen.positions == [position + 1]
    await node.stop()


@virtual
async def test_what_was_not_flushed_is_folded_again_and_told_again(tmp_path: Path) -> None:
    log, seen = Reads(), Seen()
    node = Node(tmp_path, log, clock, flush_after=1e9)
    await node.start(work=False)
    await node.do(HOURLY)
    node.replica.flush()
    await node.do(msg.Trigger())
    await node.do(msg.Trigger())
    expected = node.state()
    await node.crash()
    node = Node(tmp_path, log, clock, observers=[seen])
    assert node.replica.position == 1
    await node.start(work=False)
    assert node.state() == expected
    assert seen.positions == [2, 3]
    await node.stop()


@virtual
async def test_the_state_is_the_same_after_any_crash_as_after_a_full_fold(tmp_path: Path) -> None:
    log = MemoryLog(clock)
    node = Node(tmp_path / "whole", log, clock)
    await node.start(work=False)
    await history(node)
    digest = node.store.digest()
    await node.stop()
    entries = log.entries
    for cut in range(1, len(entries) + 1, 5):
        part = MemoryLog(clock)
        part.entries = entries[:cut]
        path = tmp_path / f"cut{cut}"
        node = Node(path, part, clock, flush_after=1e9)
        await node.replica.catch_up()
        if cut % 2:
            node.replica.flush()
        await node.crash()
        part.entries = entries
        node = Node(path, part, clock)
        assert node.replica.position in (0, cut)
        await node.replica.check()
        await node.replica.catch_up()
        assert node.store.digest() == digest
        await node.crash()


@virtual
async def test_rows_of_timers_runs_and_holdings_are_the_same_after_a_full_fold(tmp_path: Path) -> None:
    log = MemoryLog(clock)
    node = Node(tmp_path / "one", log, clock)
    await node.start(work=False)
    await history(node)
    other = Node(tmp_path / "other", log, clock)
    await other.replica.catch_up()
    for one in (node, other):
        one.replica.flush()
    for family in ("state", "state_runs", "state_keys", "position", "timers", "claimable", "holders"):
        rows = list(node.database.family(family).scan(b""))
        assert rows == list(other.database.family(family).scan(b"")), family
        assert rows, family
    await node.stop()
    await other.crash()


@virtual
async def test_another_log_is_refused(tmp_path: Path) -> None:
    log = MemoryLog(clock)
    node = Node(tmp_path, log, clock)
    await node.start(work=False)
    await node.do(HOURLY)
    await node.do(msg.Trigger())
    await node.stop()
    for entries in ([], log.entries[:1], [log.entries[0], log.entries[0]]):
        other = MemoryLog(clock)
        other.entries = list(entries)
        node = Node(tmp_path, other, clock)
        with pytest.raises(LogDiverged, match="position 2"):
            await node.start(work=False)
        await node.crash()


@virtual
async def test_the_fold_version_is_kept_and_another_one_starts_over(tmp_path: Path) -> None:
    log, seen = MemoryLog(clock), Seen()
    node = Node(tmp_path, log, clock)
    await node.start(work=False)
    await history(node)
    digest, end = node.store.digest(), node.replica.position
    node.store.set_position(Position(end, log.records[-1].record_id, FOLD_VERSION + 1))
    node.store.flush()
    await node.crash()
    node = Node(tmp_path, log, clock, observers=[seen])
    assert node.store.position().fold_version == FOLD_VERSION + 1
    node.store.start_over()
    await node.crash()
    node = Node(tmp_path, log, clock, observers=[seen])
    assert node.replica.position == 0
    await node.start(work=False)
    assert node.store.position() == Position(end, log.records[-1].record_id, FOLD_VERSION)
    assert node.store.digest() == digest
    assert seen.positions == list(range(1, end + 1))
    await node.stop()


@virtual
async def test_a_fold_that_failed_is_never_flushed_in_part(tmp_path: Path) -> None:
    log, seen = MemoryLog(clock), Seen()
    node = Node(tmp_path, log, clock, observers=[seen])
    await node.start(work=False)
    await node.do(HOURLY)
    node.replica.flush()
    expected = node.state()
    seen.fail_at = 2
    log.land(
        Record(
            stream=stream_of("a"),
            record_id="next",
            expected_version=1,
            recorded_at=clock(),
            events=(TaskPaused(at=1, by="ada"),),
        )
    )
    with pytest.raises(RuntimeError):
        await node.replica.catch_up()
    node.replica.flush()
    await node.crash()
    node = Node(tmp_path, log, clock)
    assert node.replica.position == 1
    assert node.state() == expected
    await node.replica.catch_up()
    assert node.state().pause is not None
    await node.crash()


@virtual
async def test_a_replica_that_fails_says_why(tmp_path: Path) -> None:
    log, seen = MemoryLog(clock), Seen()
    seen.fail_at = 1
    node = Node(tmp_path, log, clock, observers=[seen], timeout=1.0)
    await node.start(work=False)
    with pytest.raises(Exception, match="no verdict"):
        await node.do(HOURLY)
    assert node.replica.failure == "RuntimeError: an observer with a bug"
    await node.crash()


@virtual
async def test_a_draft_counts_only_on_the_state_it_was_made_on(tmp_path: Path) -> None:
    log = MemoryLog(clock)
    node = Node(tmp_path, log, clock)
    await node.start(work=False)
    await node.do(HOURLY)
    before = node.state()
    await node.do(msg.Trigger())
    record = log.records[-1]
    wrong = Record(
        **{f: getattr(record, f) for f in record.__struct_fields__} | {"record_id": "w", "expected_version": 2}
    )
    node.replica.drafted(wrong, before, before)
    log.land(wrong)
    await node.replica.catch_up()
    assert node.state().version == 3
    await node.stop()
