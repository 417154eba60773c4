"""Runs the benchmarks, prints a table, writes JSON to tests/benchmarks/results.

`--quick` leaves out what takes minutes; `--only NAME` runs one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from bench_backlog import backlog
from bench_server import creates, every_second, herd, lateness, pending
from broken_off import end_in_order

RESULTS = Path(__file__).parent / "results"

Measure = Callable[[], Coroutine[Any, Any, dict[str, float]]]

BENCHMARKS: dict[str, tuple[Measure, bool]] = {
    "creates": (lambda: creates(10_000), False),
    "herd of 10,000": (lambda: herd(10_000), False),
    "herd of 100,000": (lambda: herd(100_000), True),
    "lateness at 100/s": (lambda: lateness(100, 20), False),
    "lateness at 1,000/s": (lambda: lateness(1_000, 20), False),
    "lateness at 3,000/s": (lambda: lateness(3_000, 20), True),
    "1,000 each second": (lambda: every_second(1_000, 20, spread=False), False),
    "1,000 each second, spread": (lambda: every_second(1_000, 20, spread=True), False),
    "backlog of 100,000, 40 keys": (lambda: backlog(100_000, 40), True),
    "backlog of 100,000 keys": (lambda: backlog(100_000, 1), True),
    "pending 100,000": (lambda: pending(100_000), False),
    "pending 1,000,000": (lambda: pending(1_000_000), True),
}


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=list(BENCHMARKS), action="append")
    asked = parser.parse_args()
    end_in_order()
    results: dict[str, dict[str, float]] = {}
    for name, (measure, long) in BENCHMARKS.items():
        if (asked.only and name not in asked.only) or (asked.quick and long):
            continue
        results[name] = asyncio.run(measure())
        figures = "  ".join(f"{key} {value:,.1f}" for key, value in results[name].items())
        print(f"{name:28} {figures}", flush=True)
    machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "platform": platform.platform()}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps({"machine": machine, "load_average": os.getloadavg(), "results": results}, indent=2))
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


if __name__ == "__main__":
    main()
