"""The sums of the read models in Cassandra, read whole by ranges of tokens.

A row that lies where no reader looks for it is counted as another one. Tables that only help to find rows (the names of
buckets, the parts of names) are held against the rows that they lead to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import msgspec
from cassandra import InvalidRequest

from taskscheduler.domain.entities import stream_of
from taskscheduler.projections.ports import ViewsUnavailable
from taskscheduler.projections.tables import Table
from taskscheduler.streams.cassandra.client_options import CassandraSettings
from taskscheduler.streams.cassandra.generation import Generation, Layouts
from taskscheduler.streams.cassandra.grams import grams
from taskscheduler.streams.cassandra.layout import Layout, quoted, wire
from taskscheduler.streams.cassandra.positions import Positions
from taskscheduler.streams.cassandra.schema import Schema
from taskscheduler.streams.cassandra.session import Session
from taskscheduler.streams.kafka.client_options import KafkaSettings
from taskscheduler.streams.kafka.partitioning import partition_of
from taskscheduler.streams.replay.folding import log_of
from taskscheduler.streams.replay.fresh_rows import CODECS, owner_column
from taskscheduler.streams.replay.jobs import Jobs
from taskscheduler.streams.replay.sides import STALE
from taskscheduler.streams.replay.sums import NOBODY, Sums, hash_of
from taskscheduler.streams.replay.verify import Look

ROWS = 20_000
"""How many rows a range should hold, more or less: they are read into memory."""

FEWEST = 8
"""Ranges, however few rows there are."""

AT_ONCE = 3
"""Ranges that one process reads at the same time, so that Cassandra and it work at the same time."""

_LOWEST = -(1 << 63)

Range: TypeAlias = tuple[int, int]
"""Tokens from (not included) to."""


class Scanned(msgspec.Struct, frozen=True):
    """What some ranges hold: `pieces` that rows lie in, each with a task in it; those that are `named` to readers."""

    sums: dict[str, int]
    pieces: dict[int, str]
    named: set[int]


class CassandraRows:
    """The read models in force in a keyspace, while projectors go on with them."""

    name = "read models"

    def __init__(self, settings: CassandraSettings, kafka: KafkaSettings) -> None:
        self._settings = settings
        self._kafka = kafka

    def look(self, jobs: Jobs, only: Collection[str] | None) -> Look:
        """All rows, or those of some tasks. Raises ViewsUnavailable, CassandraRefused, LogUnavailable."""
        log_id, _ = log_of(self._kafka)
        generation, reached = asyncio.run(self._in_force())
        if generation is None:
            return Look("rows", wrong=f"there are none in keyspace {self._settings.keyspace}")
        positions = {partition: reached.get(partition, 0) for partition in range(generation.partitions)}
        if generation.log_id != log_id:
            return Look("rows", positions, wrong=f"they were made of log {generation.log_id}")
        if generation.stale:
            return Look("rows", positions, wrong=STALE)
        ranges = list(_ranges(max(FEWEST, 3 * sum(positions.values()) // ROWS)))
        work = [ranges[number :: jobs.processes] for number in range(jobs.processes)]
        scanned = jobs.all(scan, [(self._settings, generation, some, only) for some in work if some])
        sums = Sums()
        sums.merge(one.sums for one in scanned)
        named = set().union(*(one.named for one in scanned))
        lost = Sums(only)
        for one in scanned:
            for piece, task_id in one.pieces.items():
                if piece not in named:
                    lost.add_hash(task_id, "buckets", piece)
        sums.merge([lost.of])
        # What was written since the positions were read comes of records that were on the log by now.
        _, ends = log_of(self._kafka)
        return Look("rows", positions, sums.of, until=ends)

    async def _in_force(self) -> tuple[Generation | None, Mapping[int, int]]:
        session = Session(self._settings)
        try:
            generation = await Schema(session).in_force()
            if generation is None:
                return None, {}
            return generation, await Positions(session, generation.number).read()
        finally:
            await session.close()


def scan(
    settings: CassandraSettings, generation: Generation, ranges: Sequence[Range], only: Collection[str] | None
) -> Scanned:
    """Read some ranges of all tables of a generation. Raises ViewsUnavailable."""
    return asyncio.run(_scan(settings, generation, ranges, only))


async def _scan(
    settings: CassandraSettings, generation: Generation, ranges: Sequence[Range], only: Collection[str] | None
) -> Scanned:
    session = Session(settings)
    layouts = Layouts(session.keyspace, generation.number)
    taken = _Taken(generation.partitions, Sums(only))
    turns = asyncio.Semaphore(AT_ONCE)

    async def read(columns: str, layout: Layout, between: Range) -> list[tuple[Any, ...]]:
        low, high = between
        home = quoted(layout.home)
        # The lowest token is no row's: nothing is missed by leaving it out.
        cql = f"SELECT {columns} FROM {layout.name} WHERE token({home}) > ? AND token({home}) <= ?"
        return await session.read(cql, (wire(low), wire(high)))

    async def read_range(between: Range) -> None:
        async with turns:
            for table, layout in layouts.of.items():
                columns = quoted(layout.columns) + ("" if layout.key_only else ", row")
                taken.rows(table, layout, await read(columns, layout, between))
            # Names are written with what they lead to, so they are read after it.
            for table, layout in layouts.buckets.items():
                taken.names(table, await read(quoted(layout.columns), layout, between))
            for table, layout in layouts.grams.items():
                taken.grams(table, await read(quoted(layout.columns), layout, between))

    try:
        await session.connect()
        await asyncio.gather(*map(read_range, ranges))
    except InvalidRequest:
        raise ViewsUnavailable("other read models were put in force meanwhile; verify those") from None
    finally:
        await session.close()
    return Scanned(taken.sums.of, taken.pieces, taken.named)


class _Taken:
    """What was read so far."""

    def __init__(self, partitions: int, sums: Sums) -> None:
        self._partitions = partitions
        self.sums = sums
        self.pieces: dict[int, str] = {}
        self.named: set[int] = set()

    def rows(self, table: Table[Any], layout: Layout, rows: Sequence[tuple[Any, ...]]) -> None:
        """Rows of a table, those of a piece one after another."""
        owner, of, width, home = owner_column(table), CODECS[table].of, len(table.partition), len(layout.home)
        whole = len(layout.columns)
        searched, seen = table.searched, None
        for row in rows:
            key = row[:width] + row[home:whole]
            value = b"" if layout.key_only else (row[whole] or "").encode()
            task_id = NOBODY if owner is None else key[owner]
            found = of(key)
            if home > width and layout.piece(key, self._shard(task_id) if table.spread else 0).key != row[:home]:
                found = b"elsewhere" + found
            self.sums.add(task_id, table.name, found, value)
            if layout.bucket_column is not None and row[:home] != seen:
                seen = row[:home]
                self.pieces[_piece(table, seen)] = task_id
            if searched is not None and key[: len(searched.partition)] == searched.partition:
                named = dict(zip([column.name for column in table.key_columns], key, strict=True))
                for gram in grams(str(named[searched.column])):
                    self._gram(table, gram, self._shard(task_id), task_id, -1)

    def names(self, table: Table[Any], rows: Sequence[tuple[Any, ...]]) -> None:
        """The names of buckets."""
        self.named.update(_piece(table, row) for row in rows)

    def grams(self, table: Table[Any], rows: Sequence[tuple[Any, ...]]) -> None:
        """Parts of names, each with what it leads to."""
        for gram, shard, task_id in rows:
            self._gram(table, gram, shard, task_id, 1)

    def _gram(self, table: Table[Any], gram: str, shard: int, task_id: str, times: int) -> None:
        # What a row asks for and what is there cancel out.
        name = f"{table.name}_grams"
        self.sums.add_hash(task_id, name, times * hash_of(name, f"{shard} {task_id}".encode(), gram.encode()))

    def _shard(self, task_id: str) -> int:
        return partition_of(stream_of(task_id), self._partitions)


def _piece(table: Table[Any], home: tuple[Any, ...]) -> int:
    return hash_of(table.name, msgspec.msgpack.encode(home), b"")


def _ranges(count: int) -> Iterator[Range]:
    """All tokens there are, cut into pieces of the same size."""
    width = (1 << 64) // count
    edges = [_LOWEST + number * width for number in range(count)] + [(1 << 63) - 1]
    return pairwise(edges)
