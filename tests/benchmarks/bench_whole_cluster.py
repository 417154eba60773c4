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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parent))

from bench_server import batches, finished, instant, spec
from broken_off import undisturbed
from http_load import Connection, flood

from taskscheduler.api.local_cluster import cluster
from taskscheduler.api.local_cluster.plan import DEFAULT_PORTS, Plan
from taskscheduler.api.local_cluster.process import free_ports

API = ("api-1", "api-2")
RUNS = 'taskscheduler_runs_total{outcome="succeeded"}'
LAG = "taskscheduler_projection_lag_seconds"
BEHIND = "taskscheduler_projection_lag_records"

PERIOD = 10
"""Seconds between two fires of a task, where they are kept up."""

LEAD_SECONDS = 15.0
"""From the last create to the first fire, so that creating is over and written everywhere."""


@contextmanager
def whole_cluster() -> Iterator[Plan]:
    """A new cluster. Not to be entered where an event loop runs: that could be broken off while a thread starts it."""
    with tempfile.TemporaryDirectory(prefix="taskscheduler-bench-") as folder:
        ports = dict(zip(DEFAULT_PORTS, free_ports(len(DEFAULT_PORTS)), strict=True))
        plan = Plan(folder=Path(folder) / "cluster", ports=ports)
        try:
            cluster.up(plan, _say)
            yield plan
        finally:
            with undisturbed():
                cluster.down(plan.folder, wipe=True, say=_say)


def _say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


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
    await create(ports, specs, at)
    lags = await drained(dispatch, projector, before + count, at, at + seconds)
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


async def sustained(ports: Mapping[str, int], rate: int, seconds: int) -> dict[str, float]:
    """Noop tasks that recur every ten seconds, spread evenly: the same, for as long as it takes.

    Every run of every task is counted at the end; lateness is that of the runs of one task in twenty-five.
    """
    name, count, runs = uuid4().hex, rate * PERIOD, seconds // PERIOD
    api, dispatch, projector = [await Connection.open(ports[process]) for process in (API[1], "dispatch", "projector")]
    before = await metric(dispatch, RUNS)
    at = time.time() + LEAD_SECONDS + count / 250
    specs = [
        spec(f"{name} {n}", at)
        | {"schedule": {"every": PERIOD, "anchor": instant(at - PERIOD + n / rate), "max_runs": runs}}
        for n in range(count)
    ]
    await create(ports, specs, at)
    lags = await drained(dispatch, projector, before + count * runs, at, at + runs * PERIOD)
    tasks = [task for task in await finished(api) if task["name"].startswith(name)]
    short = [task["id"] for task in tasks if task["counts"]["succeeded"] != runs]
    if short or len(tasks) != count:
        raise RuntimeError(f"{len(tasks)} of {count} tasks are listed; {len(short)} of them lack runs: {short[:5]}")
    late: list[int] = []
    last = 0.0
    for task in tasks[::25]:
        found = (await api.json("GET", f"/api/tasks/{task['id']}/runs?limit=200"))["items"]
        late += [run["lateness_ms"] for run in found]
        last = max(last, datetime.fromisoformat(found[0]["attempts"][-1]["finished_at"]).timestamp())
    for connection in (api, dispatch, projector):
        connection.close()
    late.sort()
    lags.sort()
    return {
        "fires_per_s": count * runs / (last - at),
        "p50_ms": late[len(late) // 2],
        "p99_ms": late[len(late) * 99 // 100],
        "max_ms": late[-1],
        "projection_lag_p99_s": lags[len(lags) * 99 // 100],
        "projection_lag_s": lags[-1],
        "fires": count * runs,
    }


async def create(ports: Mapping[str, int], specs: list[dict[str, Any]], at: float) -> None:
    """Make the tasks before the first of them is due, at `at`."""
    await flood(ports[API[0]], 2, "/api/tasks/batch", batches(specs), 200)
    if time.time() > at:
        raise RuntimeError("the first were due before all were created; give it more time")


async def drained(dispatch: Connection, projector: Connection, runs: float, begin: float, end: float) -> list[float]:
    """How far the read models were behind from `begin` to `end`. Returns when `runs` have succeeded and are in them."""
    lags: list[float] = []
    while (done := await metric(dispatch, RUNS)) < runs or await metric(projector, BEHIND) > 0:
        if time.time() > end + 120:
            raise RuntimeError(f"{runs - done:.0f} had not succeeded two minutes after the last was due")
        if begin < time.time() < end:
            lags.append(await metric(projector, LAG))
        await asyncio.sleep(0.5)
    return lags


async def verify(plan: Plan) -> dict[str, float]:
    """Seconds in which `replay verify` holds everything that was made of the log so far against it."""
    first, *others = [str(plan.folder / name / "data") for name in (*API, "dispatch")]
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "taskscheduler.api.cli", "replay", "verify", "-o", "json"),
        *(f"--set={path}={value}" for path, value in plan.flags().items()),
        *("--data-dir", first, *(f"--replica={other}" for other in others)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    took = time.perf_counter() - began
    if process.returncode != 0:
        raise RuntimeError(f"it differs: {out.decode()} {err.decode()}")
    return {"seconds": took, "records": json.loads(out)["records"]}


async def metric(connection: Connection, name: str) -> float:
    """A metric of a process, by its name and labels as Prometheus has them; 0 where there is none yet."""
    _, data = await connection.ask("GET", "/actuator/prometheus")
    found = re.search(rf"^{re.escape(name)} (\S+)$", data.decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0
