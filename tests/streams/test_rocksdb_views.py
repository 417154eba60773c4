"""The read models on RocksDB."""

from __future__ import annotations

import tempfile
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskscheduler.commands.ports import Entry
from taskscheduler.projections.memory import MemoryViews
from taskscheduler.projections.projector import Projector
from taskscheduler.projections.queries import Queries
from taskscheduler.projections.tables import Column, Key, Table
from taskscheduler.streams.replica import Replica
from taskscheduler.streams.rocksdb import rebuild as module
from taskscheduler.streams.rocksdb import state_store
from taskscheduler.streams.rocksdb.buffer import Buffer
from taskscheduler.streams.rocksdb.database import Batch, Database
from taskscheduler.streams.rocksdb.keys import KeyCodec, successor
from taskscheduler.streams.rocksdb.rebuild import rebuild
from taskscheduler.streams.rocksdb.views import FAMILY, VIEW_FAMILIES, RocksViews, prefix_of
from tests.projections.answers import QueriesConformance
from tests.projections.commands import Step, steps
from tests.projections.conformance import ViewStoreConformance, Way
from tests.projections.history import EVERY_MINUTE, History
from tests.projections.ledger_answers import LedgersConformance


class OpenedRocks:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.open()

    def open(self) -> None:
        self.database = Database(self.path, VIEW_FAMILIES)
        self.buffer = Buffer(self.database)
        self.views = RocksViews(self.buffer, self.database.format.log_id)

    def flush(self) -> None:
        self.buffer.flush()

    def raw(self, generation: int) -> list[tuple[bytes, bytes]]:
        """The rows on disk, without the number of their generation."""
        prefix = prefix_of(generation)
        rows = self.database.family(FAMILY).scan(prefix, successor(prefix))
        return [(key[len(prefix) :], value) for key, value in rows]

    def reopen(self) -> None:
        self.flush()
        self.database.close()
        self.open()

    async def settle(self, way: Way) -> None:
        {"at once": lambda: None, "flushed": self.flush, "reopened": self.reopen}[way]()

    async def contents(self) -> list[tuple[str, Key, bytes]]:
        return self.views.contents()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[OpenedRocks]:
    rocks = OpenedRocks(tmp_path / "data")
    yield rocks
    rocks.database.close()


class TestRocksViews(ViewStoreConformance):
    pass


class TestLedgers(LedgersConformance):
    pass


class TestQueries(QueriesConformance):
    pass


class ListLog:
    """The part of a log that a rebuild reads."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries

    async def read(self, partition: int, after: int, limit: int) -> list[Entry]:
        assert partition == 0
        return list(self.entries[after : after + min(limit, 7)])


@given(moves=steps, flushes=st.sets(st.integers(0, 40)), reopen=st.integers(0, 40))
@settings(max_examples=30, deadline=None)
async def test_a_rebuild_gives_the_same_bytes(moves: list[Step], flushes: set[int], reopen: int) -> None:
    history, memory = History(), MemoryViews()
    with tempfile.TemporaryDirectory() as path:
        opened = OpenedRocks(Path(path) / "data")
        for number, move in enumerate(moves):
            move(history)
            fresh = history.new()
            Projector(opened.views).apply(fresh)
            Projector(memory).apply(fresh)
            if number in flushes:
                opened.flush()
            if number == reopen:
                opened.reopen()
        assert opened.views.contents() == memory.contents()
        opened.flush()
        live = opened.raw(1)
        views = await rebuild(opened.database, opened.buffer, ListLog(history.entries))  # type: ignore[arg-type]
        assert views.contents() == memory.contents()
        if live:
            assert opened.raw(2) == live
            assert opened.raw(1) == []
        opened.reopen()
        assert not opened.views.stale
        assert opened.views.contents() == memory.contents()
        opened.database.close()


async def test_who_follows_the_log_goes_on_after_a_rebuild(opened: OpenedRocks) -> None:
    history = History()
    history.create("a", schedule=EVERY_MINUTE)
    history.advance(60_000)
    history.succeed("a")
    accepted = history.new()
    Projector(opened.views).apply(accepted)
    views = await rebuild(opened.database, opened.buffer, ListLog(history.entries))  # type: ignore[arg-type]
    history.advance(60_000)
    history.fail("a")
    Projector(views).apply([*accepted[-2:], *history.new()])
    assert await Queries(views).totals() == {"succeeded": 1, "failed:gave_up": 1}
    assert await Queries(views).status_counts() == {"scheduled": 1, "running": 0}


async def test_a_rebuild_of_more_tasks_takes_no_more_memory(
    opened: OpenedRocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH", 100)
    monkeypatch.setattr(state_store, "RECENT", 100)
    history = History()

    class Log(ListLog):
        async def read(self, partition: int, after: int, limit: int) -> list[Entry]:
            return list(self.entries[after : after + limit])

    async def peak(tasks: int) -> int:
        while len(history.entries) < tasks:
            history.create(f"task-{len(history.entries)}", schedule=EVERY_MINUTE)
        tracemalloc.start()
        try:
            await rebuild(opened.database, opened.buffer, Log(history.entries))  # type: ignore[arg-type]
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    await peak(100)
    few, many = await peak(1_000), await peak(4_000)
    assert many < 1.5 * few, (few, many)
    assert not (opened.database.path / module.SCRATCH).exists()


async def test_what_a_killed_rebuild_has_left_is_in_nobody_s_way(opened: OpenedRocks) -> None:
    history = History()
    history.create("a")
    log: Any = ListLog(history.entries)
    with Database(opened.database.path / module.SCRATCH, state_store.FAMILIES) as left:
        replica = Replica(log, state_store.StateStore(Buffer(left)))
        await replica.catch_up()
        replica.flush()
    views = await rebuild(opened.database, opened.buffer, log)
    assert [view.id for view in (await Queries(views).tasks()).items] == ["a"]


async def test_an_interrupted_rebuild_leaves_what_is_in_force(opened: OpenedRocks) -> None:
    history = History()
    history.create("a")
    history.create("b")
    Projector(opened.views).apply(history.new())
    opened.flush()

    class Broken(ListLog):
        async def read(self, partition: int, after: int, limit: int) -> list[Entry]:
            if after >= 1:
                raise OSError("gone")
            return [self.entries[0]]

    with pytest.raises(OSError, match="gone"):
        await rebuild(opened.database, opened.buffer, Broken(history.entries))  # type: ignore[arg-type]
    assert not (opened.database.path / module.SCRATCH).exists()
    opened.reopen()
    assert [view.id for view in (await Queries(opened.views).tasks()).items] == ["a", "b"]
    views = await rebuild(opened.database, opened.buffer, ListLog([]))  # type: ignore[arg-type]
    assert views.contents() == []


async def test_rows_of_another_log_or_of_other_rules_are_stale(opened: OpenedRocks) -> None:
    assert not opened.views.stale
    history = History()
    history.create("a")
    Projector(opened.views).apply(history.new())
    opened.flush()
    log_id = opened.database.format.log_id
    assert not RocksViews(opened.buffer, log_id).stale
    assert RocksViews(opened.buffer, "another").stale
    key = prefix_of(0)
    row = msgspec.json.decode(opened.database.family(FAMILY).get(key) or b"")
    for rules in ("fold_version", "projection_version"):
        older = msgspec.json.encode({**row, rules: row[rules] - 1})
        batch = Batch()
        batch.put(opened.database.family(FAMILY), key, older)
        opened.database.write(batch)
        assert RocksViews(opened.buffer, log_id).stale


async def test_a_replica_that_starts_over_makes_the_rows_anew(opened: OpenedRocks) -> None:
    history = History()
    history.create("a")
    accepted = history.new()
    Projector(opened.views).apply(accepted)
    await rebuild(opened.database, opened.buffer, ListLog(history.entries))  # type: ignore[arg-type]
    opened.reopen()
    opened.buffer.clear()
    Projector(opened.views).apply(accepted)
    opened.reopen()
    assert (await Queries(opened.views).tasks()).items != []


class Pair(msgspec.Struct):
    a: str
    b: int
    c: str


@given(st.lists(st.builds(Pair, st.text(), st.integers(-(2**63), 2**63 - 1), st.text()), min_size=2))
def test_keys_sort_as_their_values_do_and_read_back(rows: list[Pair]) -> None:
    up = KeyCodec(Table("up", Pair, (), (Column("a"), Column("b", "int"), Column("c"))), b"x")
    down = KeyCodec(
        Table("down", Pair, (), (Column("a", "text", True), Column("b", "int", True), Column("c", "text", True))), b"x"
    )
    values = sorted((row.a, row.b, row.c) for row in rows)
    assert [tuple(up.values(key).values()) for key in sorted(up.of_row(row) for row in rows)] == values
    assert [tuple(down.values(key).values()) for key in sorted(down.of_row(row) for row in rows)] == values[::-1]
    for row in rows:
        assert up.of((row.a, row.b, row.c)) == up.of_row(row)
