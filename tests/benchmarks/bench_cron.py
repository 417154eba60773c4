"""Nanoseconds per next fire time: ours, croniter and cronsim. Run: python tests/benchmarks/bench_cron.py"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from croniter import croniter
from cronsim import CronSim

from taskscheduler.domain.cron import compile_cron, load_zone

NOW = 1_772_366_400_123
CASES = [
    ("* * * * *", "UTC"),
    ("*/5 * * * *", "UTC"),
    ("0 * * * *", "Asia/Kolkata"),
    ("0 2 * * *", "Europe/Berlin"),
    ("0 9 * * MON-FRI", "America/New_York"),
    ("15 3 1,15 * *", "Europe/Berlin"),
    ("0 0 L * *", "UTC"),
    ("0 0 1 1 *", "UTC"),
    ("0 0 29 2 */6", "Europe/Berlin"),
]
RARE = [
    ("0 0 0 29 2 MON", "Europe/Berlin"),
    ("0 0 0 29 2 MON#5 *", "America/New_York"),
    ("0 0 0 LW 2 SAT-MON 2180-2199", "Australia/Lord_Howe"),
    ("59 59 23 31 12 ? 2199", "Pacific/Apia"),
]
"""Ours only: the others have no such fields, or take seconds."""


def nanoseconds(step: Callable[[], object]) -> float:
    """The processor time of one call: the best of five times two hundred calls."""
    batches = []
    for _ in range(5):
        began = time.process_time_ns()
        for _ in range(200):
            step()
        batches.append((time.process_time_ns() - began) / 200)
    return min(batches)


def ours(expression: str, zone: str) -> Callable[[], object]:
    cron = compile_cron(expression)
    return lambda: cron.next_after(NOW, zone)


def main() -> None:
    print(f"{'expression':30}{'zone':20}{'ours':>10}{'croniter':>12}{'cronsim':>12}{'times':>8}  ns per next fire time")
    for expression, zone in CASES:
        start = datetime.fromtimestamp(NOW // 1000, UTC).astimezone(load_zone(zone))
        theirs = croniter(expression, start, implement_cron_bug=True)
        row = [
            nanoseconds(ours(expression, zone)),
            nanoseconds(lambda theirs=theirs, start=start: theirs.get_next(datetime, start)),  # type: ignore[misc]
            nanoseconds(lambda expression=expression, start=start: next(CronSim(expression.upper(), start))),  # type: ignore[misc]
        ]
        print(f"{expression:30}{zone:20}{row[0]:10,.0f}{row[1]:12,.0f}{row[2]:12,.0f}{row[1] / row[0]:8.0f}")
    for expression, zone in RARE:
        print(f"{expression:30}{zone:20}{nanoseconds(ours(expression, zone)):10,.0f}")


if __name__ == "__main__":
    main()
