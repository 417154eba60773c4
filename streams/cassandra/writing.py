"""Writes rows to Cassandra: each as one statement with the timestamp of its record, many of them in one request.

A request holds rows that the same node keeps, as many as Cassandra takes without a warning: most of what a write costs
here is the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from taskscheduler.projections.tables import Key
from taskscheduler.streams.cassandra.bounds import Bounds
from taskscheduler.streams.cassandra.layout import Layout, Piece, Wire, routing_key, wire, wires
from taskscheduler.streams.cassandra.session import Bound, Session

BATCH_BYTES = 4_096
"""Cassandra warns from 5 KiB on (`batch_size_warn_threshold`) and counts a little more than the values."""

BATCH_PARTITIONS = 10
"""Cassandra warns from 11 on (`unlogged_batch_across_partitions_warn_threshold`)."""

REQUESTS = 16
"""On their way at the same time; more are no faster and leave no room for readers."""


def put_at(position: int) -> int:
    """The timestamp of a row that the record at `position` put: above what the same record removes."""
    return 2 * position + 1


def gone_at(position: int) -> int:
    """The timestamp with which the record at `position` removes a row."""
    return 2 * position


class Writes:
    """Rows to put and to remove. Of two for the same row the later one counts, in whatever order they are added."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, Wire], tuple[int, str, Wire]] = {}
        self._others: list[tuple[str, Wire, Wire]] = []

    def put(self, layout: Layout, key: Key, partition: int, position: int, row: object = None) -> None:
        """The row is now this one; tables of keys only need none."""
        timestamp = put_at(position)
        values = layout.put(key, partition, row, timestamp)
        self._add(layout, values[: len(layout.columns)], timestamp, layout.insert, values)

    def remove(self, layout: Layout, key: Key, partition: int, position: int) -> None:
        """The row is gone."""
        timestamp = gone_at(position)
        values = layout.remove(key, partition, timestamp)
        self._add(layout, values[1:], timestamp, layout.delete, values)

    def _add(self, layout: Layout, row: Wire, timestamp: int, cql: str, values: Wire) -> None:
        known = self._rows.get((layout.name, row))
        if known is None or known[0] < timestamp:
            self._rows[layout.name, row] = (timestamp, cql, values)

    def remove_range(self, layout: Layout, piece: Piece, bounds: Bounds, position: int) -> None:
        """The rows of a piece within bounds are gone."""
        home = wires(piece.key)
        values = (wire(gone_at(position)), *home, *layout.values(bounds))
        self._others.append((layout.delete_range(bounds), home, values))

    def __len__(self) -> int:
        return len(self._rows) + len(self._others)

    async def send(self, session: Session, layouts: Iterable[Layout]) -> None:
        """Write all of it. Raises ViewsUnavailable; then some may be written and some not."""
        homes = {layout.name: len(layout.home) for layout in layouts}
        cqls = {cql for _, cql, _ in self._rows.values()} | {cql for cql, _, _ in self._others}
        prepared = dict(zip(cqls, await asyncio.gather(*map(session.prepare, cqls)), strict=True))
        pieces: dict[tuple[str, Wire], list[Bound]] = {}
        for (name, row), (_, cql, values) in self._rows.items():
            pieces.setdefault((name, row[: homes[name]]), []).append((prepared[cql], values))
        for cql, home, values in self._others:
            pieces.setdefault((cql, home), []).append((prepared[cql], values))
        requests = _packed(session, pieces)
        turns = asyncio.Semaphore(REQUESTS)

        async def write(statements: list[Bound], key: bytes) -> None:
            async with turns:
                await session.write(statements, key)

        for result in await asyncio.gather(*[write(*request) for request in requests], return_exceptions=True):
            if isinstance(result, BaseException):
                raise result


def _packed(session: Session, pieces: dict[tuple[str, Wire], list[Bound]]) -> list[tuple[list[Bound], bytes]]:
    """Requests of bounded size, each for one node, with what tells the node."""
    requests: list[tuple[list[Bound], bytes]] = []
    open_ones: dict[object, tuple[list[Bound], bytes, int, int]] = {}
    for (_, home), statements in pieces.items():
        key = routing_key(home)
        node = session.replica(key)
        batch, first, size, partitions = open_ones.pop(node, ([], key, 0, 0))
        partitions += 1
        for statement in statements:
            weight = 16 + sum(map(len, statement[1]))  # type: ignore[arg-type]
            if batch and (size + weight > BATCH_BYTES or partitions > BATCH_PARTITIONS):
                requests.append((batch, first))
                batch, first, size, partitions = [], key, 0, 1
            batch.append(statement)
            size += weight
        open_ones[node] = (batch, first, size, partitions)
    return requests + [(batch, first) for batch, first, _, _ in open_ones.values()]
