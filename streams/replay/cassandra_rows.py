"""The sums of the read models in Cassandra, read whole by ranges of tokens.

A row that lies where no reader looks for it is counted as another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import msgspec
from cassandra import InvalidRequest

from taskscheduler.domain.decision import stream_of
from taskscheduler.projections.ports import ViewsUnavailable
from taskscheduler.projections.tables import Table
from taskscheduler.streams.cassandra.client_options import CassandraSettings
from taskscheduler.streams.cassandra.generation import Generation, Layouts
from taskscheduler.streams.cassandra.layout import Layout, quoted, wire
from taskscheduler.streams.cassandra.positions import Positions
from taskscheduler.streams.cassandra.schema import Schema
from taskscheduler.streams.cassandra.session import Session
from taskscheduler.streams.kafka.partitioning import partition_of
from taskscheduler.streams.replay.folding import Place, opened
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

    def __init__(self, settings: CassandraSettings, place: Place) -> None:
        self._settings = settings
        self._place = place

    def look(self, jobs: Jobs, only: Collection[str] | None) -> Look:
        """All rows, or those of some tasks. Raises ViewsUnavailable, CassandraRefused."""
        log_id, generation, positions = asyncio.run(self._before())
        if generation is None:
            return Look("rows", wrong=f"there are none in keyspace {self._settings.keyspace}")
        positions = {partition: positions.get(partition, 0) for partition in range(generation.partitions)}
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
        return Look("rows", positions, sums.of, until=asyncio.run(self._after()))

    async def _before(self) -> tuple[str, Generation | None, dict[int, int]]:
        async with opened(self._place) as source:
            log_id = source.log_id
        session = Session(self._settings)
        try:
            generation = await Schema(session).in_force()
            if generation is None:
                return log_id, None, {}
            return log_id, generation, await Positions(session, generation.number).read()
        finally:
            await session.close()

    async def _after(self) -> dict[int, int]:
        async with opened(self._place) as source:
            return dict(await source.ends())


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
    sums, pieces, named = Sums(only), dict[int, str](), set[int]()
    turns = asyncio.Semaphore(AT_ONCE)

    async def read(columns: str, name: str, home: str, between: Range) -> list[tuple[Any, ...]]:
        low, high = between
        # The lowest token is no row's: nothing is missed by leaving it out.
        cql = f"SELECT {columns} FROM {name} WHERE token({home}) > ? AND token({home}) <= ?"
        return await session.read(cql, (wire(low), wire(high)))

    async def read_range(between: Range) -> None:
        async with turns:
            for table, layout in layouts.of.items():
                columns = quoted(layout.columns) + ("" if layout.key_only else ", row")
                rows = await read(columns, layout.name, quoted(layout.home), between)
                _take(table, layout, rows, generation.partitions, sums, pieces)
            for table, layout in layouts.buckets.items():
                for row in await read(quoted(layout.columns), layout.name, quoted(layout.home), between):
                    named.add(_piece(table, row))

    try:
        await session.connect()
        await asyncio.gather(*map(read_range, ranges))
    except InvalidRequest:
        raise ViewsUnavailable("other read models were put in force meanwhile; verify those") from None
    finally:
        await session.close()
    return Scanned(sums.of, pieces, named)


def _take(
    table: Table[Any],
    layout: Layout,
    rows: Sequence[tuple[Any, ...]],
    partitions: int,
    sums: Sums,
    pieces: dict[int, str],
) -> None:
    owner, of, width, home = owner_column(table), CODECS[table].of, len(table.partition), len(layout.home)
    whole = len(layout.columns)
    bucketed, seen = layout.bucket_column is not None, None
    for row in rows:
        key = row[:width] + row[home:whole]
        value = b"" if layout.key_only else row[whole].encode()
        task_id = NOBODY if owner is None else key[owner]
        piece = layout.piece(key, partition_of(stream_of(task_id), partitions) if table.spread else 0)
        if piece.key == row[:home]:
            sums.add(task_id, table.name, of(key), value)
        else:
            sums.add(task_id, table.name, b"elsewhere" + of(key), value)
        if bucketed and row[:home] != seen:
            seen = row[:home]
            pieces[_piece(table, seen)] = task_id


def _piece(table: Table[Any], home: tuple[Any, ...]) -> int:
    return hash_of(table.name, msgspec.msgpack.encode(home), b"")


def _ranges(count: int) -> Iterator[Range]:
    """All tokens there are, cut into pieces of the same size."""
    width = (1 << 64) // count
    edges = [_LOWEST + number * width for number in range(count)] + [(1 << 63) - 1]
    return pairwise(edges)
