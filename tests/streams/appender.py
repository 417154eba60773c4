"""A process that appends until it is killed, run by the tests: directory, name of the run, limit of a file in bytes.

Prints `stream version position` for each acknowledged record, and the error that ended it.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from itertools import count
from pathlib import Path

from taskscheduler.commands.ports import LogUnavailable
from taskscheduler.domain.decision import Record
from taskscheduler.domain.events import TaskPaused
from taskscheduler.streams.rocksdb.database import Batch, Database
from taskscheduler.streams.rocksdb.event_log import RocksEventLog
from taskscheduler.streams.rocksdb.refusals import DataRefused, StorageFailed
from taskscheduler.streams.rocksdb.rows import LOG_FAMILIES, number

STATE = "state"
WRITERS = 8


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


async def append(log: RocksEventLog, stream: str) -> None:
    version = 0
    for size in count():
        event = TaskPaused(at=size, by="ada", note="n" * (size % 7 * 200))
        records = [
            Record(stream=stream, record_id=f"{stream}@{at}", expected_version=at, recorded_at=1, events=(event,))
            for at in range(version, version + size % 3 + 1)
        ]
        for record, receipt in zip(records, await log.append(records), strict=True):
            say(f"{stream} {record.expected_version} {receipt.position}")
        version += len(records)


async def follow(log: RocksEventLog, database: Database) -> None:
    """Writes what it has read without a sync, as a replica does."""
    after = 0
    while True:
        await log.wait(0, after)
        after = (await log.read(0, after, 100))[-1].position
        batch = Batch()
        batch.put(database.family(STATE), b"position", number(after))
        batch.put(database.family(STATE), number(after), b"s" * 2000)
        database.write(batch)


async def run(directory: Path, name: str) -> None:
    with Database(directory, (*LOG_FAMILIES, STATE)) as database:
        log = RocksEventLog(database, lambda: 1)
        writers = (append(log, f"task/{name}-{writer}") for writer in range(WRITERS))
        await asyncio.gather(follow(log, database), *writers)


if __name__ == "__main__":
    if len(sys.argv) > 3:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
    try:
        asyncio.run(run(Path(sys.argv[1]), sys.argv[2]))
    except (LogUnavailable, StorageFailed, DataRefused) as error:
        say(f"{type(error).__name__}: {error}")
