"""A year of tasks of every kind in every zone, with restarts, pauses, changes and ends: each ledger balances.

TASKSCHEDULER_SIM_YEAR_TASKS says how many (10000 is the whole proof), _FIRST from which number on, _SEED which year.
A failure names what shows it again.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter

import pytest

from taskscheduler.domain.ledger import Ledger
from taskscheduler.projections.memory import MemoryViews
from taskscheduler.projections.projector import Projector
from taskscheduler.projections.queries import Queries
from tests.simulation.year import END, START, Year

TASKS = int(os.environ.get("TASKSCHEDULER_SIM_YEAR_TASKS", "100"))
FIRST = int(os.environ.get("TASKSCHEDULER_SIM_YEAR_FIRST", "0"))
SEED = int(os.environ.get("TASKSCHEDULER_SIM_YEAR_SEED", "1"))

ASKED = 25
"""Of every so many tasks the read models are asked for the ledger too."""


@pytest.mark.timeout(600 + TASKS)
def test_every_fire_time_of_a_year_is_accounted_for(capsys: pytest.CaptureFixture[str]) -> None:
    sums: Counter[str] = Counter()
    begun = time.perf_counter()

    async def years() -> None:
        for number in range(FIRST, FIRST + TASKS):
            views = MemoryViews() if number % ASKED == 0 else None
            projector = None if views is None else Projector(views)
            year = Year(SEED, number, lambda change, to=projector: None if to is None else to.apply([change]))
            try:
                ledger = year.live()
                if views is not None:
                    await agrees(views, year, ledger)
            except BaseException as error:
                name = f"TASKSCHEDULER_SIM_YEAR_SEED={SEED} _FIRST={number} _TASKS=1"
                error.add_note(f"{name} shows it again, {(year.now - START) / 86_400_000:.3f} days after new year")
                raise
            add(sums, year, ledger)

    asyncio.run(years())
    took = time.perf_counter() - begun
    with capsys.disabled():
        print(f"\n{TASKS} tasks, {took:.0f} s: {', '.join(f'{name} {n}' for name, n in sorted(sums.items()))}")
    assert sums["nominal"] == sum(n for name, n in sums.items() if name.split()[0] in PARTS)
    if TASKS >= 5_000:
        missing = [what for what in HAPPENS if not sums[what]]
        assert not missing, f"in this year there was no {missing}"


PARTS = ("fired", "caught_up", "skipped", "owed", "pending", "to_come")
HAPPENS = (
    "fired, caught_up, skipped overlap, skipped missed, skipped paused, skipped outside_window, backfilled, "
    "skipped purged, owed, accepted, conflict, expired, restarts, pauses after failures"
).split(", ")


async def agrees(views: MemoryViews, year: Year, ledger: Ledger) -> None:
    """What queries say of the time for which runs are kept is what the events say."""
    queries = Queries(views)
    view = await queries.task(year.id)
    if view is None:
        return
    found = await queries.ledgers.ledger(view, START, END + 1, END)
    assert found is not None
    since = START if found.known_from is None else found.known_from
    assert found.ledger == year.books.ledger(year.task, END, start=since)
    assert found.backfilled == sum(since <= at <= END for at in year.backfilled)


def add(sums: Counter[str], year: Year, ledger: Ledger) -> None:
    for name in ("nominal", "fired", "caught_up", "owed", "pending", "to_come"):
        sums[name] += getattr(ledger, name)
    for reason, times in ledger.skipped.items():
        sums[f"skipped {reason}"] += times
    sums["backfilled"] += len(year.backfilled)
    sums.update({name: n for name, n in year.counts.items() if name != "position"})


def test_the_same_seed_gives_the_same_year() -> None:
    async def ledgers(seed: int) -> list[Ledger]:
        return [Year(seed, number).live() for number in range(6)]

    first, second, other = (asyncio.run(ledgers(seed)) for seed in (1, 1, 2))
    assert first == second != other
