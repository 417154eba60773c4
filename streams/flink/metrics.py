"""The job's own metrics, under `taskscheduler` in Flink's groups.

Flink's reporter replaces all but letters and digits in labels, so bounds of buckets are whole milliseconds.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from pyflink.datastream import RuntimeContext

from taskscheduler.domain.values import Millis

GROUP = "taskscheduler"
BUCKETS: tuple[Millis, ...] = (5, 10, 25, 50, 100, 250, 1_000, 10_000, 60_000)


class Counter:
    """Counts in Python: a call into Java for each record would cost more than the record."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> int:
        return self.count


class Tally:
    """Counters of an operator."""

    def __init__(self, runtime_context: RuntimeContext) -> None:
        self._group: Any = runtime_context.get_metrics_group().add_group(GROUP)

    def counter(self, name: str) -> Counter:
        """A counter that Flink reports under this name."""
        counter = Counter()
        self._group.gauge(name, counter)
        return counter


class Lateness:
    """How long after their time timers fired: cumulative buckets as Prometheus has them."""

    def __init__(self, runtime_context: RuntimeContext) -> None:
        group = runtime_context.get_metrics_group().add_group(GROUP)
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0
        for index, bound in enumerate((*BUCKETS, "Inf")):
            below = group.add_group("le", str(bound))
            below.gauge("lateness_millis_bucket", lambda upto=index + 1: sum(self._counts[:upto]))
        group.gauge("lateness_millis_sum", lambda: self._sum)

    def add(self, late: Millis) -> None:
        """Count one timer."""
        self._counts[bisect_left(BUCKETS, late)] += 1
        self._sum += late
