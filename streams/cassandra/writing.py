"""Writes rows to Cassandra: each as one statement with the timestamp of its record, many of them in one request.

A request holds rows that the same node keeps, as many as the nodes take without a warning: most of what a write costs
here is the request.
"""

from __future__ import annotations

import asyncio

from taskscheduler.projections.tables import Key
from taskscheduler.streams.cassandra.bounds import Bounds
from taskscheduler.streams.cassandra.layout import Layout, Piece, Wire, routing_key, wire, wires
from taskscheduler.streams.cassandra.session import Bound, Prepared, Session

BYTES_PER_PARTITION = 400
"""As Cassandra warns, unless told otherwise, of more than 5 KiB or more than 10 partitions in one request, the number
of partitions goes with the bytes that are set."""

REQUESTS = 16
"""On their way at the same time; more are no faster and leave no room for readers."""


def put_at(position: int) -> int:
    """The timestamp of a row that the record at `position` put: above what the same record removes."""
    return 2 * position + 1


def gone_at(position: int) -> int:
    """The timestamp with which the record at `position` removes a row."""
    return 2 * position


class Writes:
    """Rows to put and to remove. Of two for the same row the later one counts, in whatever order they are sent."""

    def __init__(self) -> None:
        self._pieces: dict[tuple[str, Wire], list[tuple[str, Wire]]] = {}

    def put(self, layout: Layout, key: Key, partition: int, position: int, row: object = None) -> Wire:
        """The row is now this one; tables of keys only need none. Where it lies."""
        place = layout.place(key, partition)
        self._add(layout, place[0], layout.insert, layout.put(place, row, put_at(position)))
        return place[0]

    def remove(self, layout: Layout, key: Key, partition: int, position: int) -> Wire:
        """The row is gone. Where it lay."""
        place = layout.place(key, partition)
        self._add(layout, place[0], layout.delete, layout.remove(place, gone_at(position)))
        return place[0]

    def remove_range(self, layout: Layout, piece: Piece, bounds: Bounds, position: int) -> None:
        """The rows of a piece within bounds are gone."""
        home = wires(piece.key)
        values = (wire(gone_at(position)), *home, *layout.values(bounds))
        self._add(layout, home, layout.delete_range(bounds), values)

    def _add(self, layout: Layout, home: Wire, cql: str, values: Wire) -> None:
        piece = self._pieces.get((layout.name, home))
        if piece is None:
            piece = self._pieces[layout.name, home] = []
        piece.append((cql, values))

    async def send(self, session: Session) -> None:
        """Write all of it. Raises ViewsUnavailable; then some may be written and some not."""
        cqls = {cql for piece in self._pieces.values() for cql, _ in piece}
        prepared = dict(zip(cqls, await asyncio.gather(*map(session.prepare, cqls)), strict=True))
        turns = asyncio.Semaphore(REQUESTS)

        async def write(statements: list[Bound], key: bytes) -> None:
            async with turns:
                await session.write(statements, key)

        requests = [write(*request) for request in _packed(session, self._pieces, prepared)]
        for result in await asyncio.gather(*requests, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result


def _packed(
    session: Session, pieces: dict[tuple[str, Wire], list[tuple[str, Wire]]], prepared: dict[str, Prepared]
) -> list[tuple[list[Bound], bytes]]:
    """Requests of bounded size, each for one node, with what tells the node."""
    most_bytes = session.settings.batch_bytes
    most_partitions = most_bytes // BYTES_PER_PARTITION
    requests: list[tuple[list[Bound], bytes]] = []
    open_ones: dict[object, tuple[list[Bound], bytes, int, int]] = {}
    for (_, home), statements in pieces.items():
        key = routing_key(home)
        node = session.replica(key)
        batch, first, size, partitions = open_ones.pop(node, ([], key, 0, 0))
        partitions += 1
        for cql, values in statements:
            weight = 16 + sum(map(len, values))
            if batch and (size + weight > most_bytes or partitions > most_partitions):
                requests.append((batch, first))
                batch, first, size, partitions = [], key, 0, 1
            batch.append((prepared[cql], values))
            size += weight
        open_ones[node] = (batch, first, size, partitions)
    return requests + [(batch, first) for batch, first, _, _ in open_ones.values()]
