"""How long projecting a decision takes, and writing what came of it: `python -m tests.benchmarks.bench_projection`.

A fire is three decisions: the run is queued, its attempt claimed, its success recorded. Figures are microseconds of
processor time of one thread per decision, in the order of a herd: all tasks are woken, then claimed, then completed.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from taskscheduler.domain.decision import Accepted
from taskscheduler.domain.values import MINUTE
from taskscheduler.projections.changes import Change
from taskscheduler.projections.projector import project
from taskscheduler.streams.rocksdb.buffer import Buffer
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.views import VIEW_FAMILIES, RocksViews
from tests.projections.history import EVERY_MINUTE, History

TASKS = 2_000
FLUSH_ROWS = 8_000


def herd(tags: dict[str, str]) -> Sequence[Accepted]:
    """Every task fires once and succeeds."""
    history = History()
    names = [f"task-{number:06}" for number in range(TASKS)]
    for name in names:
        history.create(name, schedule=EVERY_MINUTE, tags=tags)
    history.new()
    history.advance(MINUTE)
    for name in names:
        history.wake(name)
    runs = [history.claim(name) for name in names]
    for name, run_id in zip(names, runs, strict=True):
        history.complete(name, run_id)
    return history.new()


def measure(accepted: Sequence[Accepted], path: Path) -> dict[str, float]:
    """Microseconds per decision: to project, to apply, to flush."""
    database = Database(path, VIEW_FAMILIES)
    buffer = Buffer(database)
    views = RocksViews(buffer, database.format.log_id)
    clock = time.thread_time
    start = clock()
    changes: list[list[Change]] = [project(record) for record in accepted]
    projected = clock() - start
    applying = flushing = 0.0
    rows = 0
    for at in range(0, len(accepted), 256):
        start = clock()
        for record, changed in zip(accepted[at : at + 256], changes[at : at + 256], strict=True):
            views.apply(changed, record.partition, record.position)
        applied = clock()
        applying += applied - start
        if buffer.dirty >= FLUSH_ROWS:
            rows += buffer.flush()
            flushing += clock() - applied
    start = clock()
    rows += buffer.flush()
    flushing += clock() - start
    database.close()
    each = 1e6 / len(accepted)
    return {
        "project_us": round(projected * each, 2),
        "apply_us": round(applying * each, 2),
        "flush_us": round(flushing * each, 2),
        "rows_per_decision": round(rows / len(accepted), 2),
    }


def main() -> None:
    """Print the best of five for tasks without and with tags."""
    results = {}
    for label, tags in (("no tags", {}), ("two tags", {"team": "ops", "env": "prod"})):
        accepted = herd(tags)
        gc.freeze()
        found = []
        for _ in range(5):
            with tempfile.TemporaryDirectory() as path:
                found.append(measure(accepted, Path(path) / "data"))
        results[label] = min(found, key=lambda one: one["project_us"] + one["apply_us"] + one["flush_us"])
    json.dump(results, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
