"""How long `replay verify` takes on an embedded data directory: the log folded afresh, state and read models compared.

Run: python -m tests.benchmarks.bench_replay_verify --records 1000000 --tasks 10000

Each task is created and then runs again and again, three decisions a run. `--data-dir` keeps the directory, or uses one
that is there: `replay export` and `import` take it into a cluster.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import tempfile
import time
from pathlib import Path

from taskscheduler.domain.values import MINUTE
from taskscheduler.streams.codec import encode_record
from taskscheduler.streams.replay.sides import EmbeddedRows, Replica
from taskscheduler.streams.replay.verify import verify
from taskscheduler.streams.rocksdb.database import Batch, Database
from taskscheduler.streams.rocksdb.event_log import DECISION_TOPIC
from taskscheduler.streams.rocksdb.rows import LOG_FAMILIES, LogRows, Row
from tests.projections.history import EVERY_MINUTE, History
from tests.streams.replay_kit import as_decided, fold

NAME = "task-0000000"


def life(records: int) -> list[tuple[int, bytes]]:
    """When each record of one task was appended, and the record."""
    history = History()
    history.create(NAME, schedule=EVERY_MINUTE, tags={"team": "ops"})
    while len(history.accepted) < records:
        history.advance(MINUTE)
        history.succeed(NAME, '{"ok":true}')
    return [(one.appended_at, encode_record(as_decided(one))) for one in history.accepted[:records]]


def lay_down(path: Path, records: int, tasks: int) -> None:
    """The log of so many tasks that all live alike, one record of each after another."""
    names = [f"task-{number:07}" for number in range(tasks)]
    with Database(path, LOG_FAMILIES) as database:
        rows, position = LogRows(database), 0
        for version, (at, data) in enumerate(life(-(-records // tasks)), start=1):
            batch = Batch()
            for name in names[: records - position]:
                position += 1
                mine = data.replace(b'"record-', f'"{name}-record-'.encode()).replace(NAME.encode(), name.encode())
                rows.put(batch, Row(position, at, f"task/{name}", version, DECISION_TOPIC, mine))
            database.write(batch)
        batch = Batch()
        rows.put_checkpoint(batch, position)
        database.write(batch)
        database.sync_now()


def main() -> None:
    """Make a directory and verify it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--tasks", type=int, default=1_000)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--data-dir", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = asked.data_dir or Path(scratch) / "data"
        if not path.exists():
            began = time.monotonic()
            lay_down(path, asked.records, asked.tasks)
            asyncio.run(fold(path))
            print(f"made and folded in {time.monotonic() - began:.0f} s", flush=True)
        before = _used()
        report = verify(path, [Replica("state", {0: path}), EmbeddedRows(path)], asked.processes, say=print)
        print(
            f"{report.records:,} records, {report.compared[0].tasks:,} tasks, {asked.processes} processes: "
            f"{report.seconds:.1f} s, {_used() - before:.1f} s of processor time, load {os.getloadavg()[0]:.1f}, "
            f"{'the same' if report.same else report}"
        )


def _used() -> float:
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


if __name__ == "__main__":
    main()
