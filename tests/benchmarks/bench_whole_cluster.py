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


async def commands(count: int) -> dict[str, float]:
    """Creates per second over both instances at once, 16 connections each, one task a request."""
    far = time.time() + 86_400
    async with whole_cluster() as ports:

        async def half(number: int) -> None:
            bodies = iter([json.dumps(spec(f"{number} {n}", far)).encode() for n in range(count // 2)])
            await flood(ports[API[number]], 16, "/api/tasks", bodies, 201)

        began = time.perf_counter()
        await asyncio.gather(half(0), half(1))
        return {"commands_per_s": count / (time.perf_counter() - began)}


async def fires(rate: int, seconds: int) -> dict[str, float]:
    """Noop tasks due evenly: whether the rate is held, how late they start, how far the read models are behind."""
    async with whole_cluster() as ports:
        count = rate * seconds
        at = time.time() + LEAD_SECONDS + count / 500
        specs = [spec(f"f{n}", at + n / rate) for n in range(count)]
        await flood(ports[API[0]], 2, "/api/tasks/batch", batches(specs), 200)
        if time.time() > at:
            raise RuntimeError("the first were due before all were created; give it more time")
        api, dispatch, projector = [await Connection.open(ports[name]) for name in (API[1], "dispatch", "projector")]
        lags: list[float] = []
        while (done := await metric(dispatch, RUNS)) < count or await metric(projector, BEHIND) > 0:
            if time.time() > at + seconds + 120:
                raise RuntimeError(f"{done:.0f} of {count} had succeeded two minutes after the last was due")
            if time.time() > at:
                lags.append(await metric(projector, LAG))
            await asyncio.sleep(0.5)
        tasks = [task for task in await finished(api) if task["last_run"] is not None]
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
