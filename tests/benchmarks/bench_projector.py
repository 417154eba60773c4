"""How many records a second the projector brings into Cassandra: `python -m tests.benchmarks.bench_projector`.

A fire is three decisions: the run is queued, its attempt claimed, its success recorded. A node of its own is started
unless `--contact-point host:port` names one. Everything shares this machine: projector, Cassandra and the measuring.

`herd`: all tasks are woken, then claimed, then completed, as when many are due at the same instant; rows change three
times far apart. `paced`: each fire is over before the next one begins, as in ordinary work.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from taskscheduler.api.local_cluster import cassandra as cassandra_server
from taskscheduler.api.local_cluster.process import free_ports
from taskscheduler.api.settings import Cassandra
from taskscheduler.domain.values import MINUTE
from taskscheduler.projections.filters import TaskFilter
from taskscheduler.projections.queries import Queries
from taskscheduler.streams.cassandra.in_force import ViewsInForce
from taskscheduler.streams.cassandra.schema import migrate
from taskscheduler.streams.cassandra.session import Session
from taskscheduler.streams.cassandra.to_write import ViewsToWrite
from taskscheduler.streams.projecting import Projecting
from tests.benchmarks.broken_off import end_in_order, undisturbed
from tests.projections.history import EVERY_MINUTE, History
from tests.support.split_log import SplitLog

PARTITIONS = 4


def filled(tasks: int, fires: int, herd: bool) -> tuple[SplitLog, History, int]:
    """A log of tasks that fire so many times each; the number of records that made the tasks comes first."""
    log, history = SplitLog(PARTITIONS), History()
    names = [f"task-{number:06}" for number in range(tasks)]
    for name in names:
        history.create(name, schedule=EVERY_MINUTE, tags={"team": "ops"})
    for _ in range(fires):
        history.advance(MINUTE)
        if herd:
            for name in names:
                history.wake(name)
            runs = [history.claim(name) for name in names]
            for name, run_id in zip(names, runs, strict=True):
                history.complete(name, run_id)
        else:
            for name in names:
                history.succeed(name)
    return log, history, tasks


async def measure(address: str, path: Path, tasks: int, fires: int, herd: bool) -> dict[str, float]:
    """Project the making of the tasks, then what they do; records per second of each, and how reads do meanwhile."""
    log, history, made = filled(tasks, fires, herd)
    entries, history.entries = history.entries, history.entries[:made]
    given = Cassandra(contact_points=(address,), keyspace=f"bench_{uuid4().hex[:8]}", replication=1, batch_bytes=16_384)
    session, reading = Session(given), Session(given)
    await migrate(session, "bench", PARTITIONS)
    projector = Projecting(log, ViewsToWrite(session, "bench", PARTITIONS), path, clock=lambda: 0)  # type: ignore[arg-type]
    reader = ViewsInForce(reading, "bench")
    queries = Queries(reader)
    gc.collect()
    gc.freeze()
    await projector.assign(range(PARTITIONS))
    log.take(history)
    started = time.perf_counter()
    await reader.reached(log.token, timeout=600)
    making = time.perf_counter() - started
    history.entries = entries
    log.take(history)
    started, cpu = time.perf_counter(), time.process_time()
    pages: list[float] = []

    async def read() -> None:
        while True:
            began = time.perf_counter()
            await queries.tasks(TaskFilter(sort="next_fire_at"), limit=50)
            pages.append(time.perf_counter() - began)
            await asyncio.sleep(0.25)

    readers = asyncio.create_task(read())
    await reader.reached(log.token, timeout=600)
    firing, cpu = time.perf_counter() - started, time.process_time() - cpu
    readers.cancel()
    await projector.stop()
    await session.run(f"DROP KEYSPACE {given.keyspace}", timeout=60)
    for one in (session, reading):
        await one.close()
    gc.unfreeze()
    records = len(entries) - made
    return {
        "tasks_made_per_s": round(made / making),
        "records_per_s": round(records / firing),
        "cpu_us_per_record": round(1e6 * cpu / records, 1),
        "page_of_50_ms": round(1e3 * sorted(pages)[len(pages) // 2], 1) if pages else 0.0,
    }


@contextmanager
def node(address: str | None) -> Iterator[str]:
    """The address of a node; one of our own unless given."""
    if address is not None:
        yield address
        return
    with tempfile.TemporaryDirectory() as folder:
        ports = dict(zip(cassandra_server.PORTS, free_ports(len(cassandra_server.PORTS)), strict=True))
        process = cassandra_server.node(Path(folder), ports, "c2")
        try:
            process.start()
            yield f"127.0.0.1:{ports['cassandra']}"
        finally:
            with undisturbed():
                process.kill()


def main() -> None:
    """Print the medians of some runs."""
    options = argparse.ArgumentParser()
    options.add_argument("--contact-point")
    options.add_argument("--tasks", type=int, default=2_000)
    options.add_argument("--fires", type=int, default=5)
    options.add_argument("--runs", type=int, default=3)
    given = options.parse_args()
    end_in_order()
    results: dict[str, object] = {"load_average": os.getloadavg()[0]}
    with node(given.contact_point) as address:
        for shape in ("paced", "herd"):
            found = []
            for _ in range(given.runs):
                with tempfile.TemporaryDirectory() as path:
                    found.append(asyncio.run(measure(address, Path(path), given.tasks, given.fires, shape == "herd")))
            results[shape] = {name: sorted(one[name] for one in found)[len(found) // 2] for name in found[0]}
    json.dump(results, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
