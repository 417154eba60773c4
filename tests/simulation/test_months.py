"""Thousands of tasks over months in seconds, on the pure core; the promises are checked after every accepted decision.

TASKSCHEDULER_SIM_CORE_SEEDS (how many, or `from-to`), _TASKS and _DAYS say how much of it. A failure names its seed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from taskscheduler.domain.decision import Verdict
from tests.simulation.months import Months

TASKS = int(os.environ.get("TASKSCHEDULER_SIM_CORE_TASKS", "2000"))
DAYS = int(os.environ.get("TASKSCHEDULER_SIM_CORE_DAYS", "92"))

HAPPENS = (
    "queued schedule, queued catch_up, queued manual, queued retry, queued backfill, skipped overlap, skipped missed, "
    "skipped paused, skipped outside_window, skipped purged, attempt failed gave_up, "
    "attempt failed attempts_exhausted, "
    "attempt lost None, attempt timed_out None, attempt.renewed.v1, attempt.reported_late.v1, run.cancelled.v1, "
    "cancelled by overlap, task.updated.v1, schedule.switched.v1, task.paused.v1, paused itself, resumed skip, "
    "resumed latest, resumed all, backfill.requested.v1, backfill.advanced.v1, backfill.ended.v1, task.cancelled.v1, "
    "task.deleted.v1, task.purged.v1, runs.expired.v1"
).split(", ")


def seeds() -> Iterable[int]:
    first, _, last = os.environ.get("TASKSCHEDULER_SIM_CORE_SEEDS", "1").rpartition("-")
    return range(int(first or 0), int(last) + bool(first))


@pytest.mark.slow
@pytest.mark.timeout(120 + TASKS * DAYS // 1_000)
@pytest.mark.parametrize("seed", seeds())
def test_months_of_thousands_of_tasks(seed: int) -> None:
    months = Months(seed, tasks=TASKS, days=DAYS)
    try:
        months.run()
    except BaseException as error:
        reached = datetime.fromtimestamp(months.now / 1000, UTC)
        error.add_note(f"TASKSCHEDULER_SIM_CORE_SEEDS={seed}-{seed} shows it again, on {reached:%d %B at %H:%M}")
        raise
    counts = months.audit.counts
    assert counts[Verdict.ACCEPTED] > TASKS * DAYS // 3
    if TASKS * DAYS >= 2_000 * 90:
        missing = [what for what in (*HAPPENS, Verdict.CONFLICT, Verdict.EXPIRED) if not counts[what]]
        assert not missing, f"in these months there was no {missing}"


def test_the_same_seed_gives_the_same_months() -> None:
    first, second, other = (Months(seed, tasks=60, days=10) for seed in (1, 1, 2))
    assert first.run() == second.run() != other.run()
    assert first.log.data == second.log.data
