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
    ("*/5 * * * *", "UTC"),
    ("0 2 * * *", "Europe/Berlin"),
    ("0 9 * * MON-FRI", "America/New_York"),
    ("0 0 1 1 *", "UTC"),
    ("0 0 29 2 */6", "Europe/Berlin"),
]


def nanoseconds(step: Callable[[], object], at_least: float = 0.2) -> float:
    """The time of one call, from calls repeated for `at_least` seconds."""
    calls, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < at_least:
        for _ in range(10):
            step()
        calls += 10
    return took / calls * 1e9


def ours(expression: str, zone: str) -> Callable[[], object]:
    cron = compile_cron(expression)
    return lambda: cron.next_after(NOW, zone)


def main() -> None:
    print(f"{'expression':18}{'zone':18}{'ours':>12}{'croniter':>12}{'cronsim':>12}  ns per next fire time")
    for expression, zone in CASES:
        start = datetime.fromtimestamp(NOW // 1000, UTC).astimezone(load_zone(zone))
        theirs = croniter(expression, start, implement_cron_bug=True)
        row = [
            nanoseconds(ours(expression, zone)),
            nanoseconds(lambda theirs=theirs, start=start: theirs.get_next(datetime, start)),  # type: ignore[misc]
            nanoseconds(lambda expression=expression, start=start: next(CronSim(expression.upper(), start))),  # type: ignore[misc]
        ]
        print(f"{expression:18}{zone:18}" + "".join(f"{value:12,.0f}" for value in row))


if __name__ == "__main__":
    main()
