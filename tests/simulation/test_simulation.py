"""Months of a scheduler's life in seconds: users, workers, crashes, outages; every promise is checked as it goes.

TASKSCHEDULER_SIM_SEEDS (how many, or `from-to`), _TASKS and _DAYS say how much of it. A failure names its seed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from taskscheduler.streams import triggers
from tests.simulation.world import World
from tests.support.virtual_time import run


def seeds() -> Iterable[int]:
    first, _, last = os.environ.get("TASKSCHEDULER_SIM_SEEDS", "3").rpartition("-")
    return range(int(first or 0), int(last) + bool(first))


TASKS = int(os.environ.get("TASKSCHEDULER_SIM_TASKS", "60"))
DAYS = int(os.environ.get("TASKSCHEDULER_SIM_DAYS", "12"))


@pytest.mark.parametrize("seed", seeds())
def test_a_life(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triggers, "LONGEST_SLEEP", 86_400.0)

    async def life() -> World:
        world = World(seed, tmp_path, tasks=TASKS, days=DAYS)
        try:
            await world.run()
        except BaseException:
            print(f"\nTASKSCHEDULER_SIM_SEEDS={seed}-{seed} shows it again; {world.misfortunes}, {world.answers}")
            raise
        return world

    world = run(life())
    assert world.answers["done"] > 10 * DAYS
    assert world.book.events["run.queued.v1"] > 10 * DAYS
    verbs = ("schedule.switched.v1", "backfill.requested.v1", "backfill.advanced.v1", "task.resumed.v1")
    assert not (missing := [tag for tag in verbs if not world.book.events[tag]]), missing
