"""The read models on RocksDB. Their rows are flushed with the replica that feeds them, in the same write.

All tables lie in one column family, under the number of a generation: rows that stem from another log, or were made
by other rules, are not mended but made anew beside the old ones, which are dropped then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from taskscheduler.domain.decision import FOLD_VERSION
from taskscheduler.projections.changes import Change, Count, Delete, DeleteRange, Later, Put, Reindex
from taskscheduler.projections.counters import COUNTERS, CounterRow
from taskscheduler.projections.projector import PROJECTION_VERSION, TABLES
from taskscheduler.projections.tables import Key, R, Table
from taskscheduler.projections.tally import Tally
from taskscheduler.streams.rocksdb.buffer import Buffer, BufferedTable
from taskscheduler.streams.rocksdb.keys import KeyCodec, successor

FAMILY = "views"
VIEW_FAMILIES = (FAMILY,)

_encode = msgspec.json.Encoder().encode
_KEY_ONLY = object()


class _Rows:
    """One table: its keys and its rows."""

    __slots__ = ("buffered", "codec", "key_only", "later", "of_row", "table")

    def __init__(self, buffer: Buffer, table: Table[Any], prefix: bytes) -> None:
        self.table = table
        self.codec = KeyCodec(table, prefix)
        self.of_row = self.codec.of_row
        self.key_only = not table.value_columns
        self.later: dict[Key, Later] = {}
        self.buffered: BufferedTable[Any] = (
            buffer.table(FAMILY, None, lambda _: _KEY_ONLY)
            if self.key_only
            else buffer.table(FAMILY, _encode, msgspec.json.Decoder(table.row).decode)
        )

    def bounds(self, partition: Key, start: Key | None, end: Key | None) -> tuple[bytes, bytes]:
        whole = self.codec.of(partition)
        low = whole if start is None else self.codec.of(partition + start)
        return low, successor(whole) if end is None else self.codec.of(partition + end)

    def build(self) -> None:
        """Put the rows that were put off."""
        later, self.later = self.later, {}
        of, put = self.codec.of, self.buffered.put
        for key, change in later.items():
            put(of(key), change.build(*change.args))

    def row(self, key: bytes, row: Any) -> Any:
        return self.table.row(**self.codec.values(key)) if row is _KEY_ONLY else row


class Catalogue(msgspec.Struct, frozen=True, gc=False):
    """The generation in force, the log it stems from, and the rules it was made by."""

    generation: int
    log_id: str
    fold_version: int = FOLD_VERSION
    projection_version: int = PROJECTION_VERSION


class RocksViews:
    """Implements ViewStore on the generation in force, or on the one that is named.

    When `stale`, the rows in force stem from another log or other rules; they have to be made again before they are
    read: by `rebuild`, or by a replica that starts over before anything is applied here.
    """

    def __init__(self, buffer: Buffer, log_id: str, generation: int | None = None) -> None:
        self._catalogue: BufferedTable[Catalogue] = buffer.table(
            FAMILY, _encode, msgspec.json.Decoder(Catalogue).decode
        )
        known = self._catalogue.get(_CATALOGUE)
        self.in_force = 0 if known is None else known.generation
        self._mine = Catalogue(generation or self.in_force or 1, log_id)
        self.stale = known is not None and known != self._mine
        # One that is named is still being made. Any other is entered by each process: start over may have cleared it.
        self._entered = generation is not None
        prefix = prefix_of(self._mine.generation)
        self._tables = {
            table: _Rows(buffer, table, prefix + bytes((number,))) for number, table in enumerate(TABLES, start=1)
        }
        self._tally = Tally(self._counter)
        self._moved: dict[str, Reindex] = {}
        buffer.before_flush(self._settle)

    def apply(self, changes: Sequence[Change], partition: int, position: int) -> None:
        """Apply what one record changes. What other records will change again waits until it is read or flushed."""
        if not self._entered:
            self.enter()
        tables = self._tables
        for change in changes:
            kind = type(change)
            if kind is Later:
                later: Later = change  # type: ignore[assignment]
                tables[later.table].later[later.key] = later
            elif kind is Put:
                put: Put = change  # type: ignore[assignment]
                rows = tables[put.table]
                row = put.row
                rows.buffered.put(rows.of_row(row), row)
            elif kind is Count:
                self._tally.add(change, partition, position)  # type: ignore[arg-type]
            elif isinstance(change, Reindex):
                key = change.after.id
                earlier = self._moved.get(key)
                self._moved[key] = change if earlier is None else Reindex(change.index, earlier.before, change.after)
            elif isinstance(change, Delete):
                rows = tables[change.table]
                rows.later.pop(change.key, None)
                rows.buffered.delete(rows.codec.of(change.key))
            elif isinstance(change, DeleteRange):
                self._delete_range(change)

    def enter(self) -> None:
        """Put this generation in force."""
        self._catalogue.put(_CATALOGUE, self._mine)
        self._entered = True

    def _delete_range(self, change: DeleteRange) -> None:
        rows = self._tables[change.table]
        rows.build()
        low, high = rows.bounds(change.partition, change.start, change.end)
        companions = change.table.companions
        if companions is not None:
            for _, row in rows.buffered.scan(low, high):
                for table, key in companions(row):
                    others = self._tables[table]
                    others.buffered.delete(others.codec.of(key))
        rows.buffered.delete_range(low, high)

    def _settle(self) -> None:
        self._move()
        self._count()
        for rows in self._tables.values():
            if rows.later:
                rows.build()

    def _move(self) -> None:
        moved, self._moved = self._moved, {}
        tables = self._tables
        for move in moved.values():
            for table, gone, was, come, now in move.index(move.before, move.after):
                rows = tables[table]
                head, dirty = rows.codec.head, rows.buffered.dirty
                place = rows.codec.place(was)
                for partition in gone:
                    dirty[head(partition) + place] = None
                if now != was:
                    place = rows.codec.place(now)
                for partition in come:
                    dirty[head(partition) + place] = _KEY_ONLY

    def _count(self) -> None:
        self.apply(self._tally.changed(), 0, 0)

    def _settle_for(self, rows: _Rows) -> None:
        """Put what was put off of one table."""
        if rows.key_only:
            self._move()
        elif rows.table is COUNTERS:
            self._count()
        else:
            rows.build()

    def _counter(self, key: Key) -> CounterRow | None:
        rows = self._tables[COUNTERS]
        row: CounterRow | None = rows.buffered.get(rows.codec.of(key))
        return row

    async def get(self, table: Table[R], partition_key: Key, clustering_key: Key = ()) -> R | None:
        """One row, or None."""
        rows = self._tables[table]
        if rows.key_only or table is COUNTERS:
            self._settle_for(rows)
        later = rows.later.get(partition_key + clustering_key)
        if later is not None:
            row: R = later.build(*later.args)
            return row
        key = rows.codec.of(partition_key + clustering_key)
        found = rows.buffered.get(key)
        return None if found is None else rows.row(key, found)

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
        rows = self._tables[table]
        self._settle_for(rows)
        low, high = rows.bounds(partition_key, start, end)
        if after is not None:
            last = rows.codec.of(partition_key + after)
            if reverse:
                high = min(high, last)
            else:
                low = max(low, last + b"\0")
        found = rows.buffered.scan(low, high, reverse=reverse, limit=limit) if low < high else ()
        return [rows.row(key, row) for key, row in found]

    def contents(self) -> list[tuple[str, Key, bytes]]:
        """Every row, encoded, in order: what two rebuilds must agree on."""
        self._settle()
        found: list[tuple[str, Key, bytes]] = []
        for table, rows in self._tables.items():
            start = rows.codec.prefix
            for key, row in rows.buffered.scan(start, successor(start)):
                found.append((table.name, tuple(rows.codec.values(key).values()), _encode(rows.row(key, row))))
        return sorted(found)


def prefix_of(generation: int) -> bytes:
    """What all keys of a generation begin with; they are counted from 1."""
    return generation.to_bytes(4, "big")


_CATALOGUE = prefix_of(0)
