"""The read models in Cassandra, as a projector writes them.

Each row goes out with a timestamp from the position of the record that made it so, and a row that is removed with one
just below: whatever is written again, late or twice, changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from taskscheduler.projections.changes import Change, Later
from taskscheduler.projections.counters import COUNTERS, CounterRow
from taskscheduler.projections.tables import Key, R, Table
from taskscheduler.projections.tally import Tally
from taskscheduler.streams.cassandra.bounds import Bounds
from taskscheduler.streams.cassandra.generation import Generation
from taskscheduler.streams.cassandra.grams import grams
from taskscheduler.streams.cassandra.layout import Layout, Piece, Wire, wires
from taskscheduler.streams.cassandra.pending import GONE, Pending, Placed, Removal
from taskscheduler.streams.cassandra.positions import Positions
from taskscheduler.streams.cassandra.reading import Tables
from taskscheduler.streams.cassandra.session import Session
from taskscheduler.streams.cassandra.writing import Writes

KNOWN = 200_000
"""Buckets that are remembered to have a name already."""

EVERYTHING = 1 << 30

IN_DOUBT = 16_000
"""Records of a partition after the position that is saved, of which whoever wrote it before may have written some: more
than a projector lets wait to be written."""


class CassandraViews:
    """Implements ViewStore on one generation, for the partitions of the log that were taken.

    `apply` only remembers; `flush` writes, and what is read is flushed before. One at a time writes a partition: two
    who do, because one does not know yet that it lost it, write the same rows.
    """

    def __init__(self, session: Session, generation: Generation) -> None:
        self.session = session
        self.generation = generation
        self.tables = Tables(session, generation)
        self.layouts = self.tables.layouts
        self.positions = Positions(session, generation.number)
        self._pending = Pending()
        self._unwritten: Pending | None = None
        self._flushing = asyncio.Lock()
        self._tallies: dict[int, Tally] = {}
        self._counters: dict[Key, CounterRow | None] = {}
        self._applied: dict[int, int] = {}
        self._in_doubt: dict[int, int] = {}
        self._known: dict[tuple[Layout, Wire], None] = {}
        self._emptied: dict[tuple[Table[Any], Piece], int] = {}
        self._written: dict[int, int] = {}

    async def take(self, partition: int) -> int:
        """Begin to write a partition of the log: the position up to which it is projected."""
        await self.flush()
        saved = (await self.positions.read()).get(partition, 0)
        # Somebody else may have written it in the meantime.
        self._tallies.pop(partition, None)
        self._known.clear()
        self._applied[partition] = saved
        self._in_doubt[partition] = IN_DOUBT
        return saved

    def apply(self, changes: Sequence[Change], partition: int, position: int) -> None:
        """Remember what one record changes; one that was applied before changes nothing."""
        if position > self._applied.get(partition, 0):
            left = self._in_doubt.get(partition, IN_DOUBT)
            self._pending.add(changes, partition, position, in_doubt=left > 0)
            self._in_doubt[partition] = left - 1
            self._applied[partition] = position

    def reach(self, partition: int, position: int) -> None:
        """There is nothing more to apply up to this position."""
        if position > self._applied.get(partition, 0):
            self._pending.reached[partition] = self._applied[partition] = position

    @property
    def pending(self) -> int:
        """Records that were applied and are not written."""
        return self._pending.records + (0 if self._unwritten is None else self._unwritten.records)

    async def flush(self) -> dict[int, int]:
        """Write everything that was applied so far, then how far that is: the positions by partition.

        Raises ViewsUnavailable; what was not written then goes first the next time.
        """
        reached: dict[int, int] = {}
        async with self._flushing:
            if self._unwritten is not None:
                reached |= await self._write_out(self._unwritten)
            if self._pending:
                self._unwritten, self._pending = self._pending, Pending()
                reached |= await self._write_out(self._unwritten)
        return reached

    async def _write_out(self, pending: Pending) -> dict[int, int]:
        try:
            await self._write(pending)
        except BaseException:
            self._known.clear()
            raise
        self._written |= pending.reached
        self._unwritten = None
        return pending.reached

    async def sweep(self, limit: int = 64) -> None:
        """Forget the names of some buckets that became empty: what was there has to be stepped over by who looks."""
        async with self._flushing:
            if self._unwritten is not None:
                return
            for table, piece in list(self._emptied)[:limit]:
                partition = self._emptied.pop((table, piece))
                if await self.tables.rows_of(self.layouts.of[table], piece, Bounds(), backwards=False, limit=1):
                    continue
                writes = Writes()
                # What waits to be written gives the bucket its name back: it comes from later records.
                self._known.pop((self.layouts.of[table], wires(piece.key)), None)
                writes.remove(self.layouts.buckets[table], piece.key, partition, self._written.get(partition, 0))
                await writes.send(self.session)

    async def get(self, table: Table[R], partition_key: Key, clustering_key: Key = ()) -> R | None:
        """One row, or None."""
        await self.flush()
        return await self.tables.get(table, partition_key, clustering_key)

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
        await self.flush()
        return await self.tables.scan(
            table, partition_key, start=start, end=end, after=after, reverse=reverse, limit=limit
        )

    async def get_many(self, table: Table[R], keys: Sequence[Key]) -> list[R | None]:
        """The rows of some whole keys, in their order."""
        await self.flush()
        return await self.tables.get_many(table, keys)

    async def containing(self, table: Table[Any], part: str) -> list[str] | None:
        """The ids of rows that may contain `part`; None where they are too many, or `part` too short."""
        await self.flush()
        return await self.tables.containing(table, part)

    async def contents(self) -> list[tuple[str, Key, bytes]]:
        """Every row, encoded, in order: what two rebuilds must agree on."""
        await self.flush()
        return sorted(
            [
                (table.name, table.key(row), msgspec.json.encode(row))
                for table, layout in self.layouts.of.items()
                async for row in self.tables.every(layout)
            ]
        )

    async def _write(self, pending: Pending) -> None:
        await self._count(pending)
        pending.place_moves()
        first, writes, last = Writes(), Writes(), Writes()
        for removal in pending.removals:
            await self._remove(removal, first, writes, last)
        for table, rows in pending.rows.items():
            self._add(table, rows, writes, last)
        # Companions are found through the rows that name them, and those through the names of their buckets: what leads
        # to a row may go only when the row is gone, or the same changes again would not find it. And what moves in a
        # list is put before it is taken away, or who reads meanwhile may miss it.
        for some in (first, writes, last):
            await some.send(self.session)
        await self.positions.save(pending.reached)

    async def _count(self, pending: Pending) -> None:
        """Make absolute rows of counted deltas."""
        layout = self.layouts.of[COUNTERS]
        asked = {(count.scope, count.name, partition) for count, partition, _ in pending.counts}
        missing = [key for key in asked if not self._tally(key[2]).knows(key)]
        rows = await self.tables.get_many(COUNTERS, missing)
        self._counters = dict(zip(missing, rows, strict=True))
        for count, partition, position in pending.counts:
            self._tally(partition).add(count, partition, position)
        pending.counts = []
        for partition in {key[2] for key in asked}:
            for put in self._tally(partition).changed():
                row = put.row
                pending.place(COUNTERS, layout.table.key(row), Placed(row, partition, row.position))

    def _tally(self, partition: int) -> Tally:
        tally = self._tallies.get(partition)
        if tally is None:
            tally = self._tallies[partition] = Tally(self._counters_read)
        return tally

    def _counters_read(self, key: Key) -> CounterRow | None:
        return self._counters[key]

    def _add(self, table: Table[Any], rows: dict[Key, Placed], writes: Writes, last: Writes) -> None:
        layout, searched = self.layouts.of[table], table.searched
        removals = last if layout.key_only else writes
        for key, (row, partition, position) in rows.items():
            if row is GONE:
                removals.remove(layout, key, partition, position)
                if table.spread and layout.bucket_column is not None:
                    self._emptied[table, layout.piece(key, partition)] = partition
            else:
                if type(row) is Later:
                    row = row.build(*row.args)
                home = writes.put(layout, key, partition, position, row)
                if layout.bucket_column is not None and (layout, home) not in self._known:
                    self._name(layout, home, key, partition, position, writes)
            if searched is not None and key[: len(searched.partition)] == searched.partition:
                self._index(table, key, partition, position, None if row is GONE else writes, last)

    def _name(self, layout: Layout, home: Wire, key: Key, partition: int, position: int, writes: Writes) -> None:
        """Have the bucket of a row found by those who scan."""
        if len(self._known) >= KNOWN:
            self._known.clear()
        self._known[layout, home] = None
        writes.put(self.layouts.buckets[layout.table], layout.piece(key, partition).key, partition, position)

    def _index(
        self, table: Table[Any], key: Key, partition: int, position: int, puts: Writes | None, last: Writes
    ) -> None:
        """Have the row found by parts of its text, or not any more when there is nothing to put."""
        layout = self.layouts.grams[table]
        named = dict(zip([column.name for column in table.key_columns], key, strict=True))
        assert table.searched is not None
        for gram in grams(str(named[table.searched.column])):
            if puts is None:
                last.remove(layout, (gram, named["id"]), partition, position)
            else:
                puts.put(layout, (gram, named["id"]), partition, position)

    async def _remove(self, removal: Removal, first: Writes, writes: Writes, last: Writes) -> None:
        table, key, bounds, partition, position = removal
        layout, piece = self.layouts.of[table], Piece(key)
        if table.companions is not None:
            for row in await self.tables.within(table, key, bounds, limit=EVERYTHING):
                for other, companion in table.companions(row):
                    first.remove(self.layouts.of[other], companion, partition, position)
        if layout.bucket_column is None:
            writes.remove_range(layout, piece, bounds, position)
            return
        of_names, of_buckets = self.layouts.buckets[table], layout.bounds_of_buckets(bounds)
        edges = [cut.prefix[0] for cut in of_buckets if cut is not None]
        for bucket in await self.tables.buckets(table, piece, of_buckets, backwards=False, limit=EVERYTHING):
            part = piece._replace(bucket=bucket)
            if bucket in edges:
                writes.remove_range(layout, part, bounds, position)
            else:
                writes.remove_range(layout, part, Bounds(), position)
                last.remove(of_names, part.key, partition, position)
                self._known.pop((layout, wires(part.key)), None)
