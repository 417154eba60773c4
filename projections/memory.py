"""A store of read models in memory: small, plain, and what the others are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from taskscheduler.projections.changes import Change, Count, Delete, DeleteRange, Later, Put, Reindex
from taskscheduler.projections.counters import COUNTERS, CounterRow
from taskscheduler.projections.tables import Column, Key, R, Table, Value
from taskscheduler.projections.tally import Tally


class _Descending:
    """Sorts the other way round."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: _Descending) -> bool:
        return bool(other.value < self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and self.value == other.value


def _place(columns: tuple[Column, ...], key: Key) -> list[Any]:
    def turned(column: Column, value: Value) -> Any:
        return _Descending(value) if column.descending else value

    return [turned(column, value) for column, value in zip(columns, key, strict=False)]


class MemoryViews:
    """Implements ViewStore. Rows are kept encoded, as every other store has to."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[Key, bytes]] = {}
        self._tally = Tally(self._counter)

    def apply(self, changes: Sequence[Change], partition: int, position: int) -> None:
        """Apply what one record changes."""
        for change in changes:
            match change:
                case Put(table=table, row=row):
                    self._rows.setdefault(table.name, {})[table.key(row)] = msgspec.json.encode(row)
                case Later(table=table, build=build, args=args):
                    self.apply([Put(table, build(*args))], partition, position)
                case Delete(table=table, key=key):
                    self._rows.get(table.name, {}).pop(key, None)
                case DeleteRange(table=table, partition=wanted, start=start, end=end):
                    for row in self._between(table, wanted, start, end):
                        others = () if table.companions is None else table.companions(row)
                        self.apply([Delete(t, key) for t, key in ((table, table.key(row)), *others)], 0, 0)
                case Count():
                    self._tally.add(change, partition, position)
                    self.apply(self._tally.changed(), 0, 0)
                case Reindex():
                    moves = change.difference()
                    self.apply([Put(t, t.row(*key)) if comes else Delete(t, key) for t, key, comes in moves], 0, 0)

    def _counter(self, key: Key) -> CounterRow | None:
        data = self._rows.get(COUNTERS.name, {}).get(key)
        return None if data is None else msgspec.json.decode(data, type=CounterRow)

    def _between(self, table: Table[R], partition: Key, start: Key | None, end: Key | None) -> list[R]:
        width, columns = len(table.partition), table.clustering
        low = _place(columns, start or ())
        high = None if end is None else _place(columns, end)
        found = []
        for key, data in self._rows.get(table.name, {}).items():
            place = _place(columns, key[width:])
            if key[:width] == partition and not place < low and (high is None or place < high):
                found.append((place, data))
        found.sort(key=lambda pair: pair[0])
        return [msgspec.json.decode(data, type=table.row) for _, data in found]

    async def get(self, table: Table[R], partition_key: Key, clustering_key: Key = ()) -> R | None:
        """One row, or None."""
        data = self._rows.get(table.name, {}).get(partition_key + clustering_key)
        return None if data is None else msgspec.json.decode(data, type=table.row)

    async def scan(
        self,
        table: Table[R],
        partition_key: Key,
        *,
        start: Key | None = None,
        end: Key | None = None,
        after: Key | None = None,
        reverse: bool = False,
        limit: int,
    ) -> list[R]:
        """Up to `limit` rows of a partition in order."""
        rows = self._between(table, partition_key, start, end)
        if reverse:
            rows.reverse()
        if after is not None:
            last = _place(table.clustering, after)
            width = len(table.partition)

            def beyond(row: R) -> bool:
                place = _place(table.clustering, table.key(row)[width:])
                return place < last if reverse else last < place

            rows = [row for row in rows if beyond(row)]
        return rows[:limit]

    def contents(self) -> list[tuple[str, Key, bytes]]:
        """Every row, in an order of its own."""
        return sorted((name, key, data) for name, rows in self._rows.items() for key, data in rows.items())
