"""Real processes on a data directory: killed, refused, or out of space."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.event_log import RocksEventLog
from taskscheduler.streams.rocksdb.refusals import DataDirInUse, DataDirUnusable
from taskscheduler.streams.rocksdb.rows import LOG_FAMILIES, number_of
from taskscheduler.streams.rocksdb.verify import verify
from tests.streams.appender import STATE
from tests.streams.conformance.log import accepted, decision, read_all

APPENDER = Path(__file__).with_name("appender.py")
FAMILIES = (*LOG_FAMILIES, STATE)


def appender(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-I", str(APPENDER), str(directory), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def check(directory: Path, acknowledged: list[str]) -> None:
    """Every acknowledged record is where it was said to be, and there are no others than whole ones in order."""
    with Database(directory, FAMILIES) as database:
        entries = asyncio.run(read_all(RocksEventLog(database, lambda: 2)))
        assert verify(database).damage == ()
        position = database.family(STATE).get(b"position")
        assert position is None or number_of(position) <= len(entries)
    assert [entry.position for entry in entries] == list(range(1, len(entries) + 1))
    assert accepted(entries) == entries
    assert acknowledged
    for line in acknowledged:
        stream, version, at = line.split()
        record = entries[int(at) - 1].record
        assert (record.stream, record.expected_version) == (stream, int(version))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_killed_process_loses_nothing_acknowledged(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    acknowledged: list[str] = []
    for turn in range(4):
        with appender(tmp_path, f"{seed}.{turn}") as process:
            assert process.stdout is not None
            for _ in range(chance.randrange(1, 3000)):
                acknowledged.append(process.stdout.readline())
            process.kill()
            acknowledged += [line for line in process.stdout if line.endswith("\n")]
        if turn % 2:  # else the next process is the first to see what the killed one left
            check(tmp_path, acknowledged)


def test_a_process_whose_writes_fail_stops_and_loses_nothing_acknowledged(tmp_path: Path) -> None:
    with appender(tmp_path, "full", "300000") as process:
        assert process.stdout is not None
        *acknowledged, error = process.stdout.readlines()
    assert error.startswith(("LogUnavailable: a write failed", "StorageFailed: a write failed"))
    assert "File too large" in error
    check(tmp_path, acknowledged)


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with Database(tmp_path, FAMILIES):
        with appender(tmp_path, "second") as process:
            assert process.stdout is not None
            said = process.stdout.read()
        assert said.startswith(f"DataDirInUse: {tmp_path} is in use by process {os.getpid()}.")
        assert "stop that one first" in said
        with pytest.raises(DataDirInUse) as refused:
            Database(tmp_path, FAMILIES)
        assert refused.value.pid == os.getpid()
    with Database(tmp_path, FAMILIES) as database:
        assert database.failed is None


async def test_what_was_open_is_open_again_after_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirUnusable, match="file cannot be used"):
        Database(tmp_path / "file", FAMILIES)
    with Database(tmp_path / "new" / "data", FAMILIES) as database:
        log = RocksEventLog(database, lambda: 1)
        await log.append([decision("task/a", 0)])
        log_id = database.format.log_id
    with Database(tmp_path / "new" / "data", ("more",)) as database:
        assert {family.name for family in database.families} == {"meta", "more", *FAMILIES}
        assert database.format.log_id == log_id
