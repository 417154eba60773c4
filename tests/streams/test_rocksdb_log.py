"""The conformance suite on RocksDB, and how its log groups, refuses and fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from taskscheduler.commands.ports import LogUnavailable
from taskscheduler.domain.decision import Verdict
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.event_log import CHECKPOINT_EVERY, RocksEventLog
from taskscheduler.streams.rocksdb.refusals import StorageFailed
from taskscheduler.streams.rocksdb.rows import LOG_FAMILIES, LogRows
from taskscheduler.streams.rocksdb.tail import GENERATION
from tests.streams.conformance.log import LogConformance, decision, read_all


class OpenedRocksLog:
    """A log in a directory. Its clock ticks a millisecond with each append."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ticks = count(1_700_000_000_000)
        self.groups: list[tuple[float, int]] = []
        self.open()

    def open(self) -> None:
        self.database = Database(self.path, LOG_FAMILIES)
        self.log = RocksEventLog(
            self.database, lambda: next(self.ticks), lambda seconds, size: self.groups.append((seconds, size))
        )

    async def close(self) -> None:
        await self.log.close()
        self.database.close()

    async def reopen(self) -> None:
        await self.close()
        self.open()


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[OpenedRocksLog]:
    opened = OpenedRocksLog(tmp_path / "data")
    yield opened
    await opened.close()


class TestConformance(LogConformance):
    """The fixture above is what it needs."""


async def test_concurrent_appends_share_an_fsync(opened: OpenedRocksLog) -> None:
    before = opened.database.syncs
    await asyncio.gather(*(opened.log.append([decision(f"task/{number}", 0)]) for number in range(500)))
    assert opened.database.syncs - before <= 3
    assert sum(size for _, size in opened.groups) == 500
    assert all(seconds >= 0 for seconds, _ in opened.groups)


async def test_what_comes_during_an_fsync_waits_for_the_next_one(opened: OpenedRocksLog) -> None:
    first = asyncio.ensure_future(opened.log.append([decision("task/a", 0)]))
    while not opened.database._syncing:
        await asyncio.sleep(0)
    later = [asyncio.ensure_future(opened.log.append([decision(f"task/{number}", 0)])) for number in range(50)]
    await asyncio.gather(first, *later)
    assert [size for _, size in opened.groups] == [1, 50]


async def test_nothing_is_read_before_it_is_durable(opened: OpenedRocksLog) -> None:
    first = asyncio.ensure_future(opened.log.append([decision("task/a", 0)]))
    while not opened.database._syncing:
        await asyncio.sleep(0)
    assert await opened.log.end(0) == 0
    assert await opened.log.read(0, 0, 10) == []
    await first
    assert await opened.log.end(0) == 1


async def test_a_refusal_is_told_no_sooner_than_what_it_rests_on(opened: OpenedRocksLog) -> None:
    first = asyncio.ensure_future(opened.log.append([decision("task/a", 0)]))
    while not opened.database._syncing:
        await asyncio.sleep(0)
    [refused] = await opened.log.append([decision("task/a", 0, name="other")])
    assert refused.verdict is Verdict.CONFLICT
    assert first.done()
    assert await opened.log.end(0) == 1


async def test_the_clock_may_go_back(opened: OpenedRocksLog) -> None:
    [first] = await opened.log.append([decision("task/a", 0)])
    opened.ticks = count(5)
    [second] = await opened.log.append([decision("task/a", 1)])
    await opened.reopen()
    [third] = await opened.log.append([decision("task/a", 2)])
    assert first.appended_at == second.appended_at == third.appended_at


async def test_reading_is_the_same_from_memory_and_from_disk(opened: OpenedRocksLog) -> None:
    for start in range(0, 3 * GENERATION, 1000):
        await opened.log.append([decision(f"task/{number}", 0) for number in range(start, start + 1000)])
    live = await read_all(opened.log, chunk=700)
    near_the_end = await opened.log.read(0, len(live) - GENERATION - 10, 3 * GENERATION)
    await opened.reopen()
    assert await read_all(opened.log, chunk=999) == live
    assert near_the_end == live[-GENERATION - 10 :]


async def test_the_tail_is_bounded_in_bytes(opened: OpenedRocksLog) -> None:
    for number in range(30):
        await opened.log.append([decision(f"task/{number}", 0, size=700_000)])
    assert opened.log._tail.read(0, 1) is None
    assert len(await read_all(opened.log)) == 30


async def test_the_check_at_opening_begins_at_a_checkpoint_even_without_a_close(opened: OpenedRocksLog) -> None:
    for start in range(0, CHECKPOINT_EVERY + 4000, 4000):
        await opened.log.append([decision(f"task/{number}", 0) for number in range(start, start + 4000)])
    await opened.log.append([decision("task/a", 0)])
    assert LogRows(opened.database).checkpoint() >= CHECKPOINT_EVERY


@pytest.mark.parametrize("failing", ["write", "_flush_wal"])
async def test_after_a_failed_write_nothing_is_acknowledged(
    opened: OpenedRocksLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failing: str
) -> None:
    await opened.log.append([decision("task/a", 0)])
    target = opened.database if failing == "_flush_wal" else opened.database._db

    class Broken:
        def write(self, *_: object) -> None:
            raise OSError("the disk is gone")

        def __getattr__(self, name: str) -> object:
            return getattr(target, name)

    if failing == "write":
        monkeypatch.setattr(opened.database, "_db", Broken())
    else:
        monkeypatch.setattr(opened.database, "_flush_wal", Broken().write)
    answers = await asyncio.gather(
        *(opened.log.append([decision(f"task/{number}", 0)]) for number in range(10)), return_exceptions=True
    )
    assert all(isinstance(answer, LogUnavailable) for answer in answers)
    [line] = caplog.records
    assert line.levelname == "ERROR"
    assert "the disk is gone" in line.getMessage()
    monkeypatch.undo()
    with pytest.raises(LogUnavailable, match="the disk is gone"):
        await opened.log.append([decision("task/b", 0)])
    assert "the disk is gone" in str(opened.log.failed)
    assert await opened.log.end(0) == 1
    assert [entry.record.stream for entry in await read_all(opened.log)] == ["task/a"]


async def test_a_failed_fsync_fails_what_gathers_behind_it_too(
    opened: OpenedRocksLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathered = threading.Event()

    def broken() -> None:
        assert gathered.wait(10)
        raise OSError("the disk is gone")

    monkeypatch.setattr(opened.database, "_flush_wal", broken)
    appends = [asyncio.ensure_future(opened.log.append([decision("task/a", 0)]))]
    while not opened.database._syncing:
        await asyncio.sleep(0)
    appends.append(asyncio.ensure_future(opened.log.append([decision("task/b", 0)])))
    appends.append(asyncio.ensure_future(opened.log.append([decision("task/a", 0, name="refused")])))
    synced = asyncio.ensure_future(opened.database.sync())
    await asyncio.sleep(0)
    gathered.set()
    answers = await asyncio.wait_for(asyncio.gather(*appends, return_exceptions=True), 10)
    assert [type(answer) for answer in answers] == [LogUnavailable] * 3
    with pytest.raises(StorageFailed, match="the disk is gone"):
        await asyncio.wait_for(synced, 10)


async def test_an_unexpected_error_stops_the_log(opened: OpenedRocksLog) -> None:
    opened.groups = None  # type: ignore[assignment]  # makes `observe` fail
    with pytest.raises(LogUnavailable, match="append"):
        await opened.log.append([decision("task/a", 0)])
    with pytest.raises(LogUnavailable, match="append"):
        await opened.log.append([decision("task/b", 0)])


async def test_a_sync_during_another_has_one_of_its_own(
    opened: OpenedRocksLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Semaphore(0), threading.Semaphore(0)

    def slow() -> None:
        begun.release()
        assert ended.acquire(timeout=10)

    monkeypatch.setattr(opened.database, "_flush_wal", slow)
    first = asyncio.ensure_future(opened.database.sync())
    while not begun.acquire(blocking=False):
        await asyncio.sleep(0)
    later = [asyncio.ensure_future(opened.database.sync()) for _ in range(3)]
    await asyncio.sleep(0)
    ended.release()
    await asyncio.wait_for(first, 10)
    assert not any(task.done() for task in later)
    ended.release()
    await asyncio.wait_for(asyncio.gather(*later), 10)
    assert begun.acquire(blocking=False)
    assert not begun.acquire(blocking=False)


async def test_a_closed_log_takes_nothing_and_closing_twice_is_harmless(tmp_path: Path) -> None:
    opened = OpenedRocksLog(tmp_path)
    under_way = asyncio.ensure_future(opened.log.append([decision("task/a", 0)]))
    await asyncio.sleep(0)
    await opened.log.close()
    [receipt] = await under_way
    assert receipt.position == 1
    await opened.log.close()
    with pytest.raises(LogUnavailable, match="closed"):
        await opened.log.append([decision("task/b", 0)])
    opened.database.close()
    opened.database.close()
