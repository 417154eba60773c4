"""The embedded server under load, everything durable: creates, herds, lateness, memory, restarts.

The load comes from this process over HTTP, on the same machine as the server.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "e2e")]

from http_load import Connection, flood
from serving import Serving

BATCH = 1_000


@asynccontextmanager
async def server() -> AsyncIterator[Serving]:
    """A server on an empty data directory."""
    with tempfile.TemporaryDirectory(prefix="taskscheduler-bench-") as folder:
        serving = Serving(Path(folder) / "data")
        try:
            await serving.start()
            yield serving
        finally:
            serving.end()


def instant(epoch: float) -> str:
    """RFC 3339."""
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def spec(name: str, at: float) -> dict[str, Any]:
    """A one-time noop task."""
    return {"name": name, "schedule": {"at": instant(at)}, "target": {"type": "noop"}}


def batches(specs: list[dict[str, Any]]) -> Iterator[bytes]:
    """Bodies of batch creates."""
    for start in range(0, len(specs), BATCH):
        yield json.dumps({"tasks": specs[start : start + BATCH]}).encode()


async def creates(count: int) -> dict[str, float]:
    """Creates per second: single over 32 connections, and in batches of 1,000 over 2."""
    far = time.time() + 86_400
    async with server() as serving:
        bodies = iter([json.dumps(spec(f"single {n}", far)).encode() for n in range(count)])
        single = count / await flood(serving.port, 32, "/api/tasks", bodies, 201)
        specs = [spec(f"batch {n}", far) for n in range(10 * count)]
        batch = len(specs) / await flood(serving.port, 2, "/api/tasks/batch", batches(specs), 200)
    return {"single_per_s": single, "batch_per_s": batch}


async def finished(connection: Connection) -> list[dict[str, Any]]:
    """Every task, through the list."""
    tasks: list[dict[str, Any]] = []
    path = "/api/tasks?limit=200"
    cursor = ""
    while True:
        page = await connection.json("GET", path + cursor)
        tasks += page["items"]
        if page["next_cursor"] is None:
            return tasks
        cursor = f"&cursor={page['next_cursor']}"


async def succeeded(connection: Connection) -> int:
    """Runs that succeeded, by the server's own count."""
    status, data = await connection.ask("GET", "/actuator/metrics/taskscheduler.runs?tag=outcome:succeeded")
    # There is no such tag before the first of them.
    return int(json.loads(data)["measurements"][0]["value"]) if status == 200 else 0


async def herd(count: int) -> dict[str, float]:
    """Fires per second when `count` tasks are due at the same instant: from then to the last one's end."""
    async with server() as serving:
        at = time.time() + 5 + count / 4_000
        await flood(serving.port, 2, "/api/tasks/batch", batches([spec(f"h{n}", at) for n in range(count)]), 200)
        if time.time() > at:
            raise RuntimeError("the herd was due before all of it was created; give it more time")
        connection = await Connection.open(serving.port)
        await asyncio.sleep(max(0.0, at - time.time()))
        while await succeeded(connection) < count:
            await asyncio.sleep(0.1)
        tasks = await finished(connection)
        ends = [datetime.fromisoformat(task["last_run"]["attempts"][-1]["finished_at"]).timestamp() for task in tasks]
        connection.close()
        if len(ends) != count:
            raise RuntimeError(f"{len(ends)} of {count} tasks are listed")
        return {"fires_per_s": count / (max(ends) - at), "seconds": max(ends) - at}


async def lateness(rate: int, seconds: int) -> dict[str, float]:
    """Milliseconds from scheduled to started, for tasks due evenly at `rate` a second."""
    async with server() as serving:
        count = rate * seconds
        at = time.time() + 5 + count / 4_000
        specs = [spec(f"l{n}", at + n / rate) for n in range(count)]
        await flood(serving.port, 2, "/api/tasks/batch", batches(specs), 200)
        connection = await Connection.open(serving.port)
        await asyncio.sleep(max(0.0, at + seconds - time.time()))
        while await succeeded(connection) < count:
            await asyncio.sleep(0.2)
        late = sorted(task["last_run"]["lateness_ms"] for task in await finished(connection))
        connection.close()
    return {
        "p50_ms": late[len(late) // 2],
        "p99_ms": late[len(late) * 99 // 100],
        "p999_ms": late[len(late) * 999 // 1000],
        "max_ms": late[-1],
        "fires": len(late),
    }


async def every_second(tasks: int, seconds: int, *, spread: bool) -> dict[str, float]:
    """Milliseconds from scheduled to started, for tasks that fire each second: all at once, or one after another."""
    async with server() as serving:
        begin = float(int(time.time()) + 6 + tasks // 1_000)
        specs = []
        for n in range(tasks):
            at = begin + (n / tasks if spread else 0.0)
            schedule = {"every": "1s", "start_at": instant(at), "end_at": instant(at + seconds - 1)}
            specs.append({"id": f"s{n}", "name": f"s{n}", "schedule": schedule, "target": {"type": "noop"}})
        await flood(serving.port, 2, "/api/tasks/batch", batches(specs), 200)
        if time.time() > begin:
            raise RuntimeError("the first were due before all were created; give it more time")
        connection = await Connection.open(serving.port)
        await asyncio.sleep(max(0.0, begin + seconds + 2 - time.time()))
        late: list[float] = []
        balanced = True
        for n in range(tasks):
            runs = (await connection.json("GET", f"/api/tasks/s{n}/runs?limit=200"))["items"]
            late += [run["lateness_ms"] for run in runs if run["attempts"]]
            balanced &= (await connection.json("GET", f"/api/tasks/s{n}/ledger"))["balanced"]
        connection.close()
    if not balanced:
        raise RuntimeError("a ledger does not balance")
    late.sort()
    return {
        "p50_ms": late[len(late) // 2],
        "p99_ms": late[len(late) * 99 // 100],
        "max_ms": late[-1],
        "fires": len(late),
        "of": tasks * seconds,
    }


def resident_mb(pid: int) -> float:
    """Memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    assert found is not None
    return int(found[1]) / 1024


async def pending(count: int) -> dict[str, float]:
    """Memory and restart time with so many tasks that wait for a day to come."""
    far = time.time() + 7 * 86_400
    async with server() as serving:
        for start in range(0, count, 50_000):
            specs = [spec(f"p{n}", far + n / 100) for n in range(start, min(start + 50_000, count))]
            await flood(serving.port, 2, "/api/tasks/batch", batches(specs), 200)
        after_creates = resident_mb(serving.pid)
        serving.kill()
        after_kill = await serving.start()
        assert await serving.stop() == 0
        after_stop = await serving.start()
        restarted = resident_mb(serving.pid)
        size = sum(file.stat().st_size for file in serving.data_dir.rglob("*") if file.is_file()) / 1024**2
    return {
        "memory_mb": after_creates,
        "memory_after_restart_mb": restarted,
        "ready_after_kill_s": after_kill,
        "ready_after_stop_s": after_stop,
        "disk_mb": size,
    }
