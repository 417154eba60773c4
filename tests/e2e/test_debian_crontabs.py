"""The cron lines that Debian packages install, as tasks over REST, through a simulated fortnight."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from httpx import ASGITransport, AsyncClient

from taskscheduler.api.app import create_app
from taskscheduler.api.bootstrap import EmbeddedNode, embedded
from taskscheduler.api.settings import Settings

LINES = Path(__file__).parents[1] / "data" / "debian_cron.txt"
ZONE = "Europe/Berlin"
BEGIN = datetime(2026, 2, 2, tzinfo=UTC)
END = BEGIN + timedelta(days=14)


class VirtualClock:
    """A clock that stands until it is set."""

    def __init__(self, now: datetime) -> None:
        self.now = int(now.timestamp() * 1000)

    def __call__(self) -> int:
        return self.now


def lines() -> list[tuple[str, str, str]]:
    """Package, schedule and file of every line."""
    rows = [line.split("\t") for line in LINES.read_text().splitlines() if line and not line.startswith("#")]
    return [(package, schedule, source) for package, schedule, source in rows]


def expected(schedule: str) -> list[datetime]:
    """Every fire time of the fortnight, by croniter."""
    times = croniter(schedule, BEGIN.astimezone(ZoneInfo(ZONE)))
    found: list[datetime] = []
    while (at := times.get_next(datetime)) <= END:
        found.append(at.astimezone(UTC))
    return found


async def idle(node: EmbeddedNode, now: int) -> None:
    """Returns when nothing is due any more and nothing is being decided or run."""
    while True:
        await asyncio.sleep(0)
        due = node.timers.next_due()
        if (due is None or due > now) and not node.timers.unanswered and not node.noop.active:
            await node.handler.drain()
            due = node.timers.next_due()
            if (due is None or due > now) and not node.noop.active and not node.claimables.waiting:
                return


async def all_runs(client: AsyncClient, task_id: str) -> list[dict[str, Any]]:
    """Every run of a task, the oldest first."""
    runs: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get(f"/api/tasks/{task_id}/runs", params={"limit": "200", **cursor})).json()
        runs += page["items"]
        if page["next_cursor"] is None:
            return runs[::-1]
        cursor = {"cursor": page["next_cursor"]}


@pytest.fixture
def quick_path() -> Iterator[Path]:
    """A directory in memory where there is one: what is asked here is when, and 60,000 times nothing of the disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_fortnight_of_debian_fires_when_croniter_says(quick_path: Path) -> None:
    assert len({package for package, _, _ in lines()}) >= 10
    clock = VirtualClock(BEGIN)
    settings = Settings(data_dir=quick_path / "data")
    async with embedded(settings, clock=clock) as node:
        transport = ASGITransport(create_app(node, settings))  # type: ignore[arg-type]
        async with AsyncClient(transport=transport, base_url="http://scheduler") as client:
            made: dict[str, str] = {}
            for package, schedule, source in lines():
                body = {
                    "name": f"{package} {source}",
                    "schedule": {"cron": schedule, "timezone": ZONE},
                    "target": {"type": "noop"},
                }
                reply = await client.post("/api/tasks", json=body)
                assert reply.status_code == 201, reply.text
                made[reply.json()["id"]] = schedule
            await idle(node, clock.now)
            end = int(END.timestamp() * 1000)
            while (due := node.timers.next_due()) is not None and due <= end:
                clock.now = max(clock.now, due)
                node.timers.changed()
                await idle(node, clock.now)
            for task_id, schedule in made.items():
                runs = await all_runs(client, task_id)
                fired = [datetime.fromisoformat(run["nominal_at"]) for run in runs]
                assert fired == expected(schedule), schedule
                assert {run["status"] for run in runs} <= {"succeeded"}, schedule
                task = (await client.get(f"/api/tasks/{task_id}")).json()
                assert task["counts"]["fired"] == task["counts"]["succeeded"] == len(runs)
                assert task["counts"]["skipped"] == 0
