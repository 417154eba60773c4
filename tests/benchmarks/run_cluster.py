"""Measures the cluster profile on this machine, prints a table, writes JSON to tests/benchmarks/results.

Medians of `--runs` runs on one cluster that was warmed up, with the load average before each; below each, the processor
time that every process used, creating the tasks included. `--hold` is for how many seconds the highest rate is kept up,
`--timers` how many are due at once. `--only NAME` runs one. What `verify` reads is what was measured before it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import bench_flink
from bench_whole_cluster import commands, fires, sustained, verify, warm, whole_cluster
from broken_off import end_in_order
from processor_time import processor_seconds

RESULTS = Path(__file__).parent / "results"
WHOLE = ("commands", "fires at 100/s", "fires at 300/s", "fires at 500/s", "verify")
ALONE = ("timers at once", "timers at 1,000/s", "timers after a kill")

Figures = dict[str, float]


def whole(asked: argparse.Namespace, results: dict[str, Figures]) -> None:
    """Everything at once: API, triggers, dispatch, projector and all engines."""
    with whole_cluster() as plan:
        ports = plan.ports
        asyncio.run(warm(ports))
        measures: Mapping[str, Callable[[], Figures]] = {
            "commands": lambda: asyncio.run(commands(ports, 5_000)),
            "fires at 100/s": lambda: asyncio.run(fires(ports, 100, 20)),
            "fires at 300/s": lambda: asyncio.run(fires(ports, 300, 30)),
            "fires at 500/s": lambda: asyncio.run(sustained(ports, 500, asked.hold)),
            "verify": lambda: asyncio.run(verify(plan)),
        }
        for name, measure in measures.items():
            if wanted(asked, name):
                once = name == "verify" or (asked.hold > 60 and "500" in name)
                before = processor_seconds(plan)
                results[name] = medians(name, measure, 1 if once else asked.runs)
                used = {process: end - before[process] for process, end in processor_seconds(plan).items()}
                results[f"{name}, processor seconds"] = used
                print("  processor s: " + "  ".join(f"{process} {took:,.1f}" for process, took in used.items()))


def alone(asked: argparse.Namespace, results: dict[str, Figures]) -> None:
    """The Flink job with nothing but a broker."""
    measures: Mapping[str, Callable[[], Figures]] = {
        "timers at once": lambda: bench_flink.at_once(asked.timers),
        "timers at 1,000/s": lambda: bench_flink.paced(1_000, 20),
        "timers after a kill": lambda: bench_flink.after_kill(20, 40),
    }
    for name, measure in measures.items():
        if wanted(asked, name):
            results[name] = medians(name, measure, 1)


def wanted(asked: argparse.Namespace, name: str) -> bool:
    """Whether to run it."""
    return not asked.only or name in asked.only


def medians(name: str, measure: Callable[[], Figures], runs: int) -> Figures:
    """Of each figure over some runs."""
    load = os.getloadavg()[0]
    found = [measure() for _ in range(runs)]
    figures = {key: sorted(one[key] for one in found)[runs // 2] for key in found[0]} | {"load_before": load}
    print(f"{name:19} " + "  ".join(f"{key} {value:,.1f}" for key, value in figures.items()), flush=True)
    return figures


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--hold", type=int, default=60)
    parser.add_argument("--timers", type=int, default=100_000)
    parser.add_argument("--only", choices=[*WHOLE, *ALONE], action="append")
    asked = parser.parse_args()
    end_in_order()
    results: dict[str, Figures] = {}
    if any(wanted(asked, name) for name in WHOLE):
        whole(asked, results)
    if any(wanted(asked, name) for name in ALONE):
        alone(asked, results)
    machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "platform": platform.platform()}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}-cluster.json"
    path.write_text(json.dumps({"machine": machine, "results": results}, indent=2))
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


if __name__ == "__main__":
    main()
