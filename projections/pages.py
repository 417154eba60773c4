"""Pages of what a store of read models holds, with cursors to go on by."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from taskscheduler.domain.errors import Invalid
from taskscheduler.projections import cursors
from taskscheduler.projections.filters import MAX_LIMIT, Page
from taskscheduler.projections.ports import FarReader, ViewReader
from taskscheduler.projections.tables import Key, R, Table

T = TypeVar("T")

EXAMINED = 20_000
"""Rows that one call looks at before it answers with what it has."""

EXAMINED_FAR = 4_000
"""The same where each of them comes over a network."""

CHUNK = 256
EVERYTHING = 1 << 30
_TOGETHER = 32


class Pages:
    """Reads a store page by page. A `limit` outside 1 to 200 and a cursor of another query raise Invalid."""

    def __init__(self, store: ViewReader, *, examined: int | None = None) -> None:
        self._store = store
        self._far = store if isinstance(store, FarReader) else None
        self._examined = examined or (EXAMINED if self._far is None else EXAMINED_FAR)

    async def _many(self, table: Table[R], keys: Sequence[Key]) -> list[R | None]:
        if self._far is not None:
            return await self._far.get_many(table, keys)
        width = len(table.partition)
        return [await self._store.get(table, key[:width], key[width:]) for key in keys]

    async def _page(
        self,
        query: str,
        table: Table[R],
        partitions: Sequence[Key],
        pick: Callable[[Sequence[R]], Awaitable[Sequence[T | None]]],
        *,
        start: Key | None = None,
        end: Key | None = None,
        reverse: bool = False,
        limit: int,
        cursor: str | None,
    ) -> Page[T]:
        check_limit(limit)
        width = len(table.partition)
        after: Key | None = None
        if cursor is not None:
            place = cursors.decode(query, cursor, table)
            after = place[width:]
            known = list(partitions)
            partitions = known[known.index(place[:width]) :] if place[:width] in known else []
        items: list[T] = []
        last: Key = ()
        examined = 0
        for partition in partitions:
            size = limit + 1
            while True:
                rows = await self._store.scan(
                    table, partition, start=start, end=end, after=after, reverse=reverse, limit=size
                )
                taken = 0
                while taken < len(rows):
                    some = rows[taken : taken + max(_TOGETHER, limit + 1 - len(items))]
                    taken += len(some)
                    for row, item in zip(some, await pick(some), strict=True):
                        if item is None:
                            continue
                        if len(items) == limit:
                            return Page(items, cursors.encode(query, last))
                        items.append(item)
                        last = table.key(row)
                if len(rows) < size:
                    break
                examined += size
                place = table.key(rows[-1])
                if examined >= self._examined:
                    return Page(items, cursors.encode(query, place))
                after, size = place[width:], CHUNK
                await asyncio.sleep(0)  # a long look must not hold up what is due
            after = None
        return Page(items)


def check_limit(limit: int) -> None:
    """Raises Invalid."""
    if not 1 <= limit <= MAX_LIMIT:
        raise Invalid("/limit", f"must be from 1 to {MAX_LIMIT}")
