"""Meters that cost a dictionary lookup to count and become Prometheus samples only when they are read."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

Labels = tuple[str, ...]


class Counter:
    """Counts by label values: `counter.counts[("create", "accepted")] += 1`."""

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.help = help
        self.labels = tuple(labels)
        self.counts: defaultdict[Labels, int] = defaultdict(int)

    def collect(self) -> Iterator[Metric]:
        """The counter as Prometheus sees it."""
        family = CounterMetricFamily(self.name, self.help, labels=self.labels)
        for values, count in sorted(self.counts.items()):
            family.add_metric(values, count)
        if not self.labels and not self.counts:
            family.add_metric((), 0)
        yield family


class Gauge:
    """A value that is read when it is asked for: one number, or one by the value of the only label."""

    def __init__(
        self, name: str, help: str, read: Callable[[], float | Mapping[str, float]], label: str | None = None
    ) -> None:
        self.name = name
        self.help = help
        self.labels = () if label is None else (label,)
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """The gauge as Prometheus sees it."""
        family = GaugeMetricFamily(self.name, self.help, labels=self.labels)
        value = self._read()
        if isinstance(value, Mapping):
            for key, one in value.items():
                family.add_metric((key,), one)
        else:
            family.add_metric((), value)
        yield family


class Row:
    """What one combination of label values has seen: observations by bucket, their sum and the largest."""

    __slots__ = ("buckets", "largest", "total")

    def __init__(self, size: int) -> None:
        self.buckets = [0] * size
        self.total = 0.0
        self.largest = 0.0


class Histogram:
    """Observations in buckets. `bounds` are upper bounds, included; beyond the last there is no other."""

    def __init__(self, name: str, help: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> None:
        self.name = name
        self.help = help
        self.labels = tuple(labels)
        self.bounds = list(bounds)
        self.rows: dict[Labels, Row] = {}
        if not labels:
            self.row(())

    def row(self, values: Labels) -> Row:
        """The row of these label values."""
        found = self.rows.get(values)
        if found is None:
            found = self.rows[values] = Row(len(self.bounds) + 1)
        return found

    def observe(self, value: float, values: Labels = ()) -> None:
        """Count one observation."""
        row = self.rows.get(values) or self.row(values)
        row.buckets[bisect_left(self.bounds, value)] += 1
        row.total += value
        if value > row.largest:
            row.largest = value

    def collect(self) -> Iterator[Metric]:
        """The histogram as Prometheus sees it."""
        family = HistogramMetricFamily(self.name, self.help, labels=self.labels)
        bounds = [*(str(float(bound)) for bound in self.bounds), "+Inf"]
        for values, row in sorted(self.rows.items()):
            seen = 0
            buckets: list[tuple[str, float]] = []
            for bound, count in zip(bounds, row.buckets, strict=True):
                seen += count
                buckets.append((bound, seen))
            family.add_metric(values, buckets, row.total)
        yield family
