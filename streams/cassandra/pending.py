"""What is waiting to be written: of a row that changes many times between two flushes, only the last state.

Everything keeps the position of the record that made it so, which becomes its timestamp in Cassandra.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from taskscheduler.projections.changes import Change, Count, Delete, DeleteRange, Later, Put, Reindex
from taskscheduler.projections.tables import Key, Table
from taskscheduler.streams.cassandra.bounds import Bounds, between

GONE = object()


class Placed(NamedTuple):
    """A row, a Later or GONE, and the record that made it so."""

    row: Any
    partition: int
    position: int


class Removal(NamedTuple):
    """The rows of a partition within bounds are gone."""

    table: Table[Any]
    key: Key
    bounds: Bounds
    partition: int
    position: int


class Move(NamedTuple):
    """The index rows of a task, as they were at the last flush and as they have to be."""

    reindex: Reindex
    partition: int
    position: int


class Pending:
    """What came of some records, in the order of their positions."""

    def __init__(self) -> None:
        self.rows: dict[Table[Any], dict[Key, Placed]] = {}
        self.moves: dict[str, Move] = {}
        self.counts: list[tuple[Count, int, int]] = []
        self.removals: list[Removal] = []
        self.reached: dict[int, int] = {}
        self.records = 0

    def __bool__(self) -> bool:
        return bool(self.reached)

    def add(self, changes: Sequence[Change], partition: int, position: int, *, in_doubt: bool = False) -> None:
        """What one record changes. It is `in_doubt` when it may have been written before, by somebody who then died."""
        self.records += 1
        self.reached[partition] = position
        for change in changes:
            kind = type(change)
            if kind is Later:
                self.place(change.table, change.key, Placed(change, partition, position))  # type: ignore[union-attr]
            elif isinstance(change, Put):
                table = change.table
                self.place(table, table.key(change.row), Placed(change.row, partition, position))
            elif isinstance(change, Count):
                self.counts.append((change, partition, position))
            elif isinstance(change, Reindex) and in_doubt:
                # A row that the one who died left between this record and the next has to go, so none is passed over.
                self._move(change, partition, position)
            elif isinstance(change, Reindex):
                earlier = self.moves.get(change.after.id)
                if earlier is not None:
                    change = Reindex(change.index, earlier.reindex.before, change.after)
                self.moves[change.after.id] = Move(change, partition, position)
            elif isinstance(change, Delete):
                self.place(change.table, change.key, Placed(GONE, partition, position))
            elif isinstance(change, DeleteRange):
                self._remove(change, partition, position)

    def place(self, table: Table[Any], key: Key, placed: Placed) -> None:
        """The row of a key is now this."""
        rows = self.rows.get(table)
        if rows is None:
            rows = self.rows[table] = {}
        rows[key] = placed

    def place_moves(self) -> None:
        """Make rows of index moves."""
        for move in self.moves.values():
            self._move(*move)
        self.moves = {}

    def _move(self, reindex: Reindex, partition: int, position: int) -> None:
        for table, key, comes in reindex.difference():
            known = self.rows.get(table, {}).get(key)
            if known is None or known.position <= position:
                self.place(table, key, Placed(None if comes else GONE, partition, position))

    def _remove(self, change: DeleteRange, partition: int, position: int) -> None:
        table = change.table
        if table.spread:
            raise TypeError(f"{table.name}: no ranges are removed from a table that is spread")
        bounds, width = between(table, change.start, change.end), len(table.partition)
        rows = self.rows.get(table, {})
        gone = [key for key in rows if key[:width] == change.partition and bounds.hold(key[width:])]
        for key in gone:
            row = rows.pop(key).row
            if row is GONE or table.companions is None:
                continue
            row = row.build(*row.args) if isinstance(row, Later) else row
            for other, companion in table.companions(row):
                self.place(other, companion, Placed(GONE, partition, position))
        self.removals.append(Removal(table, change.partition, bounds, partition, position))
