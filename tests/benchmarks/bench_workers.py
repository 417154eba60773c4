"""Eight worker processes that do nothing, beside Celery on Redis and Procrastinate on PostgreSQL, in the same run.

`queued`: so many jobs wait, then the workers are started; jobs begun per second, from the first to the last beginning.
`due`: the workers wait, and jobs are due evenly at a rate; milliseconds from due to begun. The workers note both
themselves. Rounds of all sides alternate; figures are medians of them, ratios those of ours to the best of the others.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "peers")]

from broken_off import end_in_order
from sides import Missing, Side, celery, procrastinate, taskscheduler

SIDES = {"taskscheduler": taskscheduler, "celery": celery, "procrastinate": procrastinate}
LONGEST = 180.0
"""Seconds without a new beginning after which a side has lost work."""


async def begun(folder: Path, count: int) -> dict[int, float]:
    """When each job began first, once all have. Raises RuntimeError when some do not."""
    found: dict[int, float] = {}
    moved = time.monotonic()
    while True:
        before = len(found)
        for file in folder.glob("*.log"):
            for line in file.read_text().splitlines():
                number, _, at = line.partition(" ")
                if at:
                    found.setdefault(int(number), float(at))
        if len(found) >= count:
            return found
        if len(found) > before:
            moved = time.monotonic()
        elif time.monotonic() - moved > LONGEST:
            raise RuntimeError(f"{len(found)} of {count} jobs have begun and no more do")
        await asyncio.sleep(0.5)


async def queued(side: Side, count: int, folder: Path) -> float:
    """Jobs begun per second of `count` that wait."""
    await side.send([(number, None) for number in range(count)])
    side.start_workers(folder)
    try:
        at = sorted((await begun(folder, count)).values())
    finally:
        side.stop_workers()
    return (count - 1) / (at[-1] - at[0])


async def due(side: Side, rate: int, seconds: int, folder: Path) -> tuple[float, float]:
    """p50 and p99 of the milliseconds from due to begun."""
    await side.send([])  # so that there is a queue to wait for
    count, first = rate * seconds, time.time() + 20 + rate * seconds / 100
    side.start_workers(folder)
    try:
        times = {number: first + number / rate for number in range(count)}
        await side.send(list(times.items()))
        if time.time() > first:
            raise RuntimeError(f"{side.name}: the first were due before all were sent; give it more time")
        late = sorted(1000 * (at - times[number]) for number, at in (await begun(folder, count)).items())
    finally:
        side.stop_workers()
    return late[len(late) // 2], late[len(late) * 99 // 100]


async def measure(name: str, asked: argparse.Namespace) -> dict[str, float]:
    """One round of one side. Raises Missing."""
    with tempfile.TemporaryDirectory(prefix="taskscheduler-seen-") as folder:
        async with SIDES[name]() as side:
            (backlog := Path(folder) / "queued").mkdir()
            per_second = await queued(side, asked.jobs, backlog)
        async with SIDES[name]() as side:
            (paced := Path(folder) / "due").mkdir()
            p50, p99 = await due(side, asked.rate, asked.seconds, paced)
    return {"begun_per_s": per_second, "p50_ms": p50, "p99_ms": p99}


async def compare(asked: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Medians by side."""
    rounds: dict[str, list[dict[str, float]]] = defaultdict(list)
    for turn in range(asked.rounds):
        for name in SIDES:
            try:
                rounds[name].append(found := await measure(name, asked))
            except Missing as missing:
                if turn == 0:
                    print(f"{name:16} left out: {missing} is missing", flush=True)
                continue
            print(f"{name:16} " + "  ".join(f"{key} {value:,.1f}" for key, value in found.items()), flush=True)
    return {
        name: {key: statistics.median(one[key] for one in found) for key in found[0]} for name, found in rounds.items()
    }


def main() -> None:
    """Run, print, and write JSON to tests/benchmarks/results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000, help="how many are queued (20000)")
    parser.add_argument("--rate", type=int, default=200, help="how many are due in a second (200)")
    parser.add_argument("--seconds", type=int, default=20, help="for how long (20)")
    parser.add_argument("--rounds", type=int, default=3, help="how often all of it is measured (3)")
    asked = parser.parse_args()
    end_in_order()
    load = os.getloadavg()
    results = asyncio.run(compare(asked))
    ours, others = results["taskscheduler"], {n: r for n, r in results.items() if n != "taskscheduler"}
    if others:
        fastest = max(other["begun_per_s"] for other in others.values())
        promptest = min(other["p99_ms"] for other in others.values())
        print(f"jobs begun per second, ours to the fastest of the others: {ours['begun_per_s'] / fastest:.2f}")
        print(f"p99 from due to begun, ours to the lowest of the others:  {ours['p99_ms'] / promptest:.2f}")
    path = Path(__file__).parent / "results" / f"workers-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"asked": vars(asked), "load_before": load, "results": results}, indent=2))
    print(f"written to {path}")


if __name__ == "__main__":
    main()
