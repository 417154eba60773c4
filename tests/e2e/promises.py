"""The promises, checked from outside: over REST, then on the stopped data directory."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

from taskscheduler.api.bootstrap import FAMILIES, open_storage
from taskscheduler.api.values import parse_instant
from taskscheduler.streams.replay.refold import refolded_digest
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.rebuild import rebuild
from tests.e2e.load import Load

QUIET_SECONDS = 60
"""Without any attempt for so long, what has not ended never will."""

FINAL = {"completed", "failed", "cancelled"}


async def history(load: Load, task_id: str) -> list[dict[str, Any]]:
    """Every event of a task, the oldest first."""
    items: list[dict[str, Any]] = []
    path = f"/api/tasks/{task_id}/events?limit=200"
    cursor = ""
    while True:
        status, page = await load.ask("GET", path + cursor)
        assert status == 200, (task_id, status, page)
        items += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    return sorted(items, key=lambda event: event["version"])


async def settle(load: Load) -> None:
    """Wait until every one-time task has ended, then cancel the recurring ones."""
    until, executed = time.monotonic() + QUIET_SECONDS, 0
    for task_id in sorted(load.one_time):
        while True:
            status, task = await load.ask("GET", f"/api/tasks/{task_id}")
            assert status == 200, f"the acknowledged task {task_id} is lost: {status}"
            if task["status"] in FINAL:
                break
            if task["status"] == "paused":
                await load.ask("POST", f"/api/tasks/{task_id}/resume", {}, f"settle-{task_id}")
            if len(load.executed) > executed:
                until, executed = time.monotonic() + QUIET_SECONDS, len(load.executed)
            if time.monotonic() > until:
                raise AssertionError(f"not ended: {task}\n{await history(load, task_id)}")
            await asyncio.sleep(0.02)
    for task_id in sorted(load.recurring):
        status, _ = await load.ask("POST", f"/api/tasks/{task_id}/cancel", {}, f"settle-{task_id}")
        assert status in (200, 409)
        load.cancelled.add(task_id)


async def check_acknowledged(load: Load) -> None:
    """No acknowledged command is lost."""
    for task_id, name in load.created.items():
        status, task = await load.ask("GET", f"/api/tasks/{task_id}")
        assert (status, task.get("name")) == (200, name), (task_id, status)
        if task_id in load.cancelled:
            assert task["status"] == "cancelled", (task_id, task["status"])
    for task_id, run_id in load.triggered:
        status, run = await load.ask("GET", f"/api/tasks/{task_id}/runs/{run_id}")
        assert status == 200, (task_id, run_id, status)
    for task_id, run_id, attempt in load.completed:
        status, run = await load.ask("GET", f"/api/tasks/{task_id}/runs/{run_id}")
        assert status == 200, (task_id, run_id, status)
        assert (run["status"], run["attempts"][-1]["number"]) == ("succeeded", attempt), run


def check_history(task_id: str, events: list[dict[str, Any]]) -> None:
    """Versions without holes, one claim and one outcome for each attempt, one end for each run."""
    versions = sorted({event["version"] for event in events})
    assert versions == list(range(1, len(versions) + 1)), (task_id, versions)
    claims: Counter[tuple[str, int]] = Counter()
    outcomes: Counter[tuple[str, int]] = Counter()
    queued: Counter[str] = Counter()
    for event in events:
        kind, data = event["type"], event["data"]
        if kind == "attempt.claimed.v1":
            claims[data["run_id"], data["number"]] += 1
        elif kind in ("attempt.succeeded.v1", "attempt.failed.v1"):
            outcomes[data["run_id"], data["number"]] += 1
        elif kind == "run.queued.v1":
            queued[data["run_id"]] += 1
    assert not [claim for claim, count in claims.items() if count > 1], (task_id, "claimed twice")
    assert not [outcome for outcome, count in outcomes.items() if count > 1], (task_id, "two outcomes")
    assert set(outcomes) <= set(claims), (task_id, "an outcome without a claim")
    assert not [run for run, count in queued.items() if count > 1], (task_id, "queued twice")


def check_ledger(task_id: str, every: int, created_at: int, cancelled_at: int, events: list[dict[str, Any]]) -> None:
    """Every nominal time from the first to the end is a run or a skip, once."""
    seen: Counter[int] = Counter()
    for event in events:
        data = event["data"]
        if event["type"] == "run.queued.v1" and data.get("nominal_at") is not None and data["cause"] != "backfill":
            seen[_ms(data["nominal_at"])] += 1
        elif event["type"] == "fires.skipped.v1":
            first = _ms(data["nominal_at"])
            for k in range(data.get("count", 1)):
                seen[first + k * every] += 1
    due = set(range(created_at + every, cancelled_at + 1, every))
    missing, extra = sorted(due - set(seen)), sorted(set(seen) - due)
    assert not missing and not extra, (task_id, f"missing {missing}", f"extra {extra}", events)
    assert not [nominal for nominal, count in seen.items() if count > 1], (task_id, "accounted for twice")


def _ms(value: Any) -> int:
    return value if isinstance(value, int) else parse_instant(value)


async def check_offline(data_dir: Path, scratch: Path) -> None:
    """Folding the log afresh gives the state and the read models that were live, bit for bit."""
    with Database(data_dir, FAMILIES) as database:
        storage = open_storage(database, lambda: 0)
        position, digest = await refolded_digest(storage.log, scratch)
        assert position == storage.store.position().position
        assert digest == storage.store.digest()
        live = storage.views.contents()
        again = (await rebuild(database, storage.buffer, storage.log)).contents()
        assert len(live) == len(again)
        assert live == again
