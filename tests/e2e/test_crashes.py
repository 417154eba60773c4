"""`kill -9` of the serving process at random moments under load. The promises are checked from outside.

`TASKSCHEDULER_CRASHES` sets how many kills (20), `TASKSCHEDULER_CRASH_SEED` where chance begins (1).
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from taskscheduler.api.durations import parse_duration
from taskscheduler.api.values import parse_instant
from tests.e2e.load import Load
from tests.e2e.promises import check_acknowledged, check_history, check_ledger, check_offline, history, settle
from tests.e2e.serving import Serving
from tests.e2e.working import Working

CRASHES = int(os.environ.get("TASKSCHEDULER_CRASHES", "20"))
SEED = int(os.environ.get("TASKSCHEDULER_CRASH_SEED", "1"))


@pytest.mark.slow
@pytest.mark.timeout(300 + 20 * CRASHES)
async def test_nothing_acknowledged_is_lost_and_nothing_runs_twice_through_kills(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    server = Serving(tmp_path / "data")
    load = Load([server.url], SEED)
    worker = Working(server.url, tmp_path, SEED)
    try:
        worker.start()
        await server.start()
        await load.start()
        for number in range(CRASHES):
            if number % 4 == 0:
                # A worker that was turned away comes back later than a server lives here.
                await worker.busy()
            # The moment of the kill is what is tried here; there is nothing to wait for.
            await asyncio.sleep(chance.uniform(0.05, 1.0))
            server.kill()
            await server.start()
        await load.quiet()
        await settle(load)
        await worker.stop()
        await load.close_workers()
        await check_acknowledged(load)
        histories = {task_id: await history(load, task_id) for task_id in load.created}
        for task_id, events in histories.items():
            check_history(task_id, events)
            if task_id in load.recurring:
                status, task = await load.ask("GET", f"/api/tasks/{task_id}")
                assert status == 200
                ended = next(e["time"] for e in events if e["type"] == "task.cancelled.v1")
                every = parse_duration(task["schedule"]["every"])
                check_ledger(task_id, every, parse_instant(task["created_at"]), parse_instant(ended), events)
        ends = worker.check(histories)
        assert ends["succeeded/succeeded"], f"the worker was no worker: {ends}"
        load.executed.update(worker.handled().keys())
        assert not [run for run, count in load.executed.items() if count > 1], "a worker was given an attempt twice"
        assert not [run for run, count in load.received.items() if count > 1], "an attempt was called twice"
        assert load.completed and load.received and load.cancelled and load.triggered, "the load was no load"
        assert await server.stop() == 0
        await check_offline(server.data_dir, tmp_path / "scratch")
    finally:
        worker.end()
        server.end()
        await load.close()
