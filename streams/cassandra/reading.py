"""Reads the tables of a generation: rows of shards and buckets come back in the order of their table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from cassandra import InvalidRequest

from taskscheduler.projections.ports import ViewsUnavailable
from taskscheduler.projections.tables import Key, R, Table
from taskscheduler.streams.cassandra.bounds import Bounds, between
from taskscheduler.streams.cassandra.generation import Generation, Layouts
from taskscheduler.streams.cassandra.grams import candidates
from taskscheduler.streams.cassandra.layout import Layout, Piece, Wire, wire, wires
from taskscheduler.streams.cassandra.session import Rows, Session

FETCH = 1_000
"""Rows that are asked for in one piece at most; more are asked for again from where it ended."""

BUCKETS = 128
"""Names of buckets that are read at once."""

WIDEST = 16
"""Buckets that are read at the same time, once the first ones turned out to hold little."""

TOGETHER = 25
"""Rows of different partitions that are asked for in one request."""


class Tables:
    """The tables of one generation, to be read. Raises ViewsUnavailable."""

    def __init__(self, session: Session, generation: Generation) -> None:
        self.session = session
        self.generation = generation
        self.layouts = Layouts(session.keyspace, generation.number)

    async def get(self, table: Table[R], partition_key: Key, clustering_key: Key = ()) -> R | None:
        """One row, or None."""
        [row] = await self.get_many(table, [partition_key + clustering_key])
        return row

    async def get_many(self, table: Table[R], keys: Sequence[Key]) -> list[R | None]:
        """The rows of some whole keys, in their order."""
        layout = self.layouts.of[table]
        if len(layout.columns) == 1:
            return await self._get_together(layout, keys)
        shards = range(self.generation.partitions) if table.spread else range(1)
        cql, width = layout.select_whole(), len(table.partition)
        found = await asyncio.gather(
            *[self._read(cql, wires(layout.piece(key, shard).key + key[width:])) for key in keys for shard in shards]
        )
        count = len(shards)
        rows = [[row for part in found[at : at + count] for row in part] for at in range(0, len(found), count)]
        return [layout.row(one[0]) if one else None for one in rows]

    async def _get_together(self, layout: Layout, keys: Sequence[Key]) -> list[R | None]:
        wanted = [wire(key[0]) for key in keys]
        chunks = [wanted[at : at + TOGETHER] for at in range(0, len(wanted), TOGETHER)]
        cql = layout.select_together()
        parts = await asyncio.gather(*[self._read(cql, (_list(chunk),)) for chunk in chunks])
        found = {wire(row[0]): layout.row(row[1:]) for part in parts for row in part}
        return [found.get(key) for key in wanted]

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
        backwards = reverse != self.layouts.of[table].descending
        bounds = between(table, start, end)
        if after is not None:
            bounds = bounds.beyond(after, backwards)
        return await self.within(table, partition_key, bounds, backwards=backwards, limit=limit)

    async def within(
        self, table: Table[R], partition_key: Key, bounds: Bounds, *, backwards: bool = False, limit: int
    ) -> list[R]:
        """Up to `limit` rows of a partition within bounds; `backwards` is against the order of the values."""
        layout = self.layouts.of[table]
        shards: Sequence[int | None] = range(self.generation.partitions) if table.spread else (None,)
        size = min(limit, FETCH) if len(shards) == 1 else min(limit, FETCH, 2 * limit // len(shards) + 4)
        sources = [_Source(self, layout, Piece(partition_key, shard), bounds, backwards, size) for shard in shards]
        if len(sources) == 1:
            return await sources[0].take(limit)
        return await _merged(sources, limit, backwards)

    async def containing(self, table: Table[Any], part: str) -> list[str] | None:
        """The ids of rows that may contain `part`; None where they are too many, or `part` too short."""
        return await candidates(self.session, self.layouts.grams[table], self.generation.partitions, part)

    async def buckets(
        self, table: Table[Any], piece: Piece, bounds: Bounds, *, backwards: bool, limit: int
    ) -> list[Any]:
        """The buckets of a partition, or of a shard of it, in which rows within bounds may lie."""
        names = self.layouts.buckets[table]
        found = await self._read(
            names.select(bounds, backwards=backwards), (*wires(piece.key), *names.values(bounds), _count(limit))
        )
        return [row[-1] for row in found]

    async def rows_of(self, layout: Layout, piece: Piece, bounds: Bounds, *, backwards: bool, limit: int) -> list[Any]:
        """Up to `limit` rows of one piece."""
        found = await self._read(
            layout.select(bounds, backwards=backwards), (*wires(piece.key), *layout.values(bounds), _count(limit))
        )
        return list(map(layout.row, found))

    async def every(self, layout: Layout) -> AsyncIterator[Any]:
        """Every row of a table, in no order: for tools that compare or count, never for a query."""
        for found in await self._read(f"SELECT {layout.selected} FROM {layout.name}", ()):
            yield layout.row(found)

    async def _read(self, cql: str, values: Wire) -> Rows:
        try:
            return await self.session.read(cql, values)
        except InvalidRequest:
            raise GenerationDropped(f"generation {self.generation.number} of the read models is gone") from None


class GenerationDropped(ViewsUnavailable):
    """The tables were dropped: another generation is in force."""


class _Source:
    """The rows of one shard in order, bucket after bucket."""

    def __init__(
        self, tables: Tables, layout: Layout, piece: Piece, bounds: Bounds, backwards: bool, size: int
    ) -> None:
        self._tables = tables
        self._layout = layout
        self._piece = piece
        self._bounds = bounds
        self._backwards = backwards
        self._size = size
        self._width = len(layout.table.partition)
        self._bucketed = layout.bucket_column is not None
        self._waiting: list[Any] = []
        self._named = layout.bounds_of_buckets(bounds)
        self._all_named = not self._bucketed
        self._wide = 1
        self._ended = bounds.empty
        self.rows: list[Any] = []

    async def take(self, limit: int) -> list[Any]:
        """Up to `limit` rows."""
        while len(self.rows) < limit and not self._ended:
            await self.more(min(FETCH, limit - len(self.rows)))
        return self.rows[:limit]

    async def fill(self) -> None:
        """Have a row, unless there is none left."""
        while not self.rows and not self._ended:
            await self.more(self._size)
        self._size = min(2 * self._size, FETCH)

    async def more(self, size: int) -> None:
        """Read up to `size` rows behind those that were read, maybe none yet."""
        if not self._bucketed:
            rows = await self._read(self._piece, size)
            self._ended = len(rows) < size
            self._add(rows)
            return
        if not self._waiting and not self._all_named:
            await self._name()
        wave = self._waiting[: self._wide]
        if not wave:
            self._ended = self._all_named
            return
        parts = await asyncio.gather(*[self._read(self._piece._replace(bucket=bucket), size) for bucket in wave])
        self._wide = min(2 * self._wide, WIDEST)
        for rows in parts:
            if len(rows) == size:
                # There may be more of this one: what the others of the wave hold comes behind that.
                self._add(rows)
                return
            self._waiting.pop(0)
            self._add(rows)

    async def _name(self) -> None:
        named = await self._tables.buckets(
            self._layout.table, self._piece, self._named, backwards=self._backwards, limit=BUCKETS
        )
        self._waiting = named
        self._all_named = len(named) < BUCKETS
        if named:
            self._named = self._named.beyond((named[-1],), self._backwards)

    async def _read(self, piece: Piece, size: int) -> list[Any]:
        return await self._tables.rows_of(self._layout, piece, self._bounds, backwards=self._backwards, limit=size)

    def _add(self, rows: list[Any]) -> None:
        if rows:
            self.rows += rows
            last = self.key(rows[-1])
            self._bounds = self._bounds.beyond(last, self._backwards)

    def key(self, row: Any) -> Key:
        """The clustering key of a row."""
        return self._layout.table.key(row)[self._width :]


async def _merged(sources: Sequence[_Source], limit: int, backwards: bool) -> list[Any]:
    await asyncio.gather(*[source.fill() for source in sources])
    merged: list[Any] = []
    sources = [source for source in sources if source.rows]
    while sources and len(merged) < limit:
        # The one that ends first decides how far all can be merged before more of it has to be read.
        ends = [source.key(source.rows[-1]) for source in sources]
        horizon = max(ends) if backwards else min(ends)
        keyed = []
        for source in sources:
            inside = [
                row for row in source.rows if (source.key(row) >= horizon if backwards else source.key(row) <= horizon)
            ]
            source.rows = source.rows[len(inside) :]
            keyed += [(source.key(row), row) for row in inside]
        keyed.sort(key=lambda pair: pair[0], reverse=backwards)
        merged += [row for _, row in keyed]
        if len(merged) < limit:
            await asyncio.gather(*[source.fill() for source in sources if not source.rows])
            sources = [source for source in sources if source.rows]
    return merged[:limit]


def _count(limit: int) -> bytes:
    return limit.to_bytes(4, "big")


def _list(values: Sequence[bytes]) -> bytes:
    return len(values).to_bytes(4, "big") + b"".join([len(value).to_bytes(4, "big") + value for value in values])
