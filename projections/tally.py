"""Makes absolute rows of counted deltas, so that records that come again count once."""

from __future__ import annotations

from collections.abc import Callable

from taskscheduler.projections.changes import Count, Put
from taskscheduler.projections.counters import COUNTERS, CounterRow
from taskscheduler.projections.tables import Key

_CACHED = 4_096


class Tally:
    """The counters of the log's partitions as last written. `read` gives a row of them from the store, by whole key."""

    def __init__(self, read: Callable[[Key], CounterRow | None]) -> None:
        self._read = read
        self._rows: dict[tuple[str, str, int], CounterRow] = {}

    def add(self, count: Count, partition: int, position: int) -> Put | None:
        """The row after the record at `position`; None when the row has counted that record already."""
        key = (count.scope, count.name, partition)
        row = self._rows.get(key)
        if row is None:
            row = self._read(key) or CounterRow(count.scope, count.name, partition, 0, 0)
            if len(self._rows) >= _CACHED:
                self._rows.clear()
        if position <= row.position:
            return None
        row = self._rows[key] = CounterRow(count.scope, count.name, partition, row.value + count.delta, position)
        return Put(COUNTERS, row)
