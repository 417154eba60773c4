"""Makes absolute rows of counted deltas, so that records that come again count once."""

from __future__ import annotations

from collections.abc import Callable

from taskscheduler.projections.changes import Count, Put
from taskscheduler.projections.counters import COUNTERS, CounterRow
from taskscheduler.projections.tables import Key

_REMEMBERED = 4_096


class _Counter:
    __slots__ = ("position", "value")

    def __init__(self, row: CounterRow | None) -> None:
        self.value = 0 if row is None else row.value
        self.position = 0 if row is None else row.position


class Tally:
    """The counters of the log's partitions. `read` gives a row of them from the store, by whole key.

    A counter that changes with every record is written once for many: `changed` gives the rows that wait for that.
    """

    def __init__(self, read: Callable[[Key], CounterRow | None]) -> None:
        self._read = read
        self._counters: dict[tuple[str, str, int], _Counter] = {}
        self._changed: dict[tuple[str, str, int], _Counter] = {}

    def knows(self, key: Key) -> bool:
        """Whether `add` need not read the counter."""
        return key in self._counters

    def add(self, count: Count, partition: int, position: int) -> None:
        """Count the record at `position`, unless the counter has counted it already."""
        key = (count.scope, count.name, partition)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = _Counter(self._read(key))
        if position > counter.position:
            counter.value += count.delta
            counter.position = position
            self._changed[key] = counter

    def changed(self) -> list[Put]:
        """The rows of what was counted since the last call. They have to be put before anything is read or flushed."""
        changed, self._changed = self._changed, {}
        puts = [Put(COUNTERS, CounterRow(*key, counter.value, counter.position)) for key, counter in changed.items()]
        if len(self._counters) > _REMEMBERED:
            self._counters.clear()
        return puts
