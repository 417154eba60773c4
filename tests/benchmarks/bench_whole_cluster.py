"""A whole cluster on this machine under load: commands over two instances, fires end to end, lateness.

Every engine, every process of ours and the load share its processors: the figures are for one machine, not for a
cluster of many.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parent))

from bench_server import batches, finished, spec
from http_load import Connection, flood

from taskscheduler.api.local_cluster import cluster
from taskscheduler.api.local_cluster.plan import DEFAULT_PORTS, Plan
from taskscheduler.api.local_cluster.process import free_ports

API = ("api-1", "api-2")
RUNS = 'taskscheduler_runs_total{outcome="succeeded"}'
LAG = "taskscheduler_projection_lag_seconds"
BEHIND = "taskscheduler_projection_lag_records"

LEAD_SECONDS = 15.0
"""From the last create to the first fire, so that creating is over and written everywhere."""


@asynccontextmanager
async def whole_cluster() -> AsyncIterator[Mapping[str, int]]:
    """A new cluster; gives its ports by name."""
    with tempfile.TemporaryDirectory(prefix="taskscheduler-bench-") as folder:
        ports = dict(zip(DEFAULT_PORTS, free_ports(len(DEFAULT_PORTS)), strict=True))
        plan = Plan(folder=Path(folder) / "cluster", ports=ports)
        try:
            await asyncio.to_thread(cluster.up, plan, lambda text: print(f"  {text}", file=sys.stderr))
            yield ports
        finally:
            await asyncio.to_thread(cluster.down, plan.folder, wipe=True, say=lambda _: None)


async def warm(ports: Mapping[str, int]) -> None:
    """Let Java compile what is used most, as it has in a cluster that has run for some minutes."""
    for _ in range(3):
        await fires(ports, 300, 20)
    await commands(ports, 4_000)


async def commands(ports: Mapping[str, int], count: int) -> dict[str, float]:
    """Creates per second over both instances at once, 16 connections each, one task a request."""
    name, far = uuid4().hex, time.time() + 86_400

    async def half(number: int) -> None:
        bodies = iter([json.dumps(spec(f"{name} {number} {n}", far)).encode() for n in range(count // 2)])
        await flood(ports[API[number]], 16, "/api/tasks", bodies, 201)

    began = time.perf_counter()
    await asyncio.gather(half(0), half(1))
    return {"commands_per_s": count / (time.perf_counter() - began)}


async def fires(ports: Mapping[str, int], rate: int, seconds: int) -> dict[str, float]:
    """Noop tasks due evenly: whether the rate is held, how late they start, how far the read models are behind."""
    name, count = uuid4().hex, rate * seconds
    api, dispatch, projector = [await Connection.open(ports[process]) for process in (API[1], "dispatch", "projector")]
    before = await metric(dispatch, RUNS)
    at = time.time() + LEAD_SECONDS + count / 250
    specs = [spec(f"{name} {n}", at + n / rate) for n in range(count)]
    await flood(ports[API[0]], 2, "/api/tasks/batch", batches(specs), 200)
    if time.time() > at:
        raise RuntimeError("the first were due before all were created; give it more time")
    lags: list[float] = []
    while (done := await metric(dispatch, RUNS) - before) < count or await metric(projector, BEHIND) > 0:
        if time.time() > at + seconds + 120:
            raise RuntimeError(f"{done:.0f} of {count} had succeeded two minutes after the last was due")
        if at < time.time() < at + seconds:
            lags.append(await metric(projector, LAG))
        await asyncio.sleep(0.5)
    tasks = [task for task in await finished(api) if task["last_run"] is not None and task["name"].startswith(name)]
    for connection in (api, dispatch, projector):
        connection.close()
    late = sorted(task["last_run"]["lateness_ms"] for task in tasks)
    ends = [datetime.fromisoformat(task["last_run"]["attempts"][-1]["finished_at"]).timestamp() for task in tasks]
    return {
        "fires_per_s": count / (max(ends) - at),
        "p50_ms": late[len(late) // 2],
        "p99_ms": late[len(late) * 99 // 100],
        "max_ms": late[-1],
        "projection_lag_s": max(lags, default=0.0),
        "fires": len(late),
    }


async def metric(connection: Connection, name: str) -> float:
    """A metric of a process, by its name and labels as Prometheus has them; 0 where there is none yet."""
    _, data = await connection.ask("GET", "/actuator/prometheus")
    found = re.search(rf"^{re.escape(name)} (\S+)$", data.decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0
