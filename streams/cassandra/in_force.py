"""Reads the generation that is in force, whichever that is by now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from taskscheduler.projections.ports import ViewsUnavailable
from taskscheduler.projections.tables import Key, R, Table
from taskscheduler.streams.cassandra.positions import Positions, ViewsBehind, parse_token
from taskscheduler.streams.cassandra.reading import GenerationDropped, Tables
from taskscheduler.streams.cassandra.schema import Schema
from taskscheduler.streams.cassandra.session import Session

T = TypeVar("T")

REFRESH = 2.0
"""Seconds after which it is asked again which generation is in force."""

FIRST_LOOK = 0.004
LONGEST_LOOK = 0.05
"""Seconds between two looks at the positions while somebody waits for them."""


class ViewsInForce:
    """Implements FarReader. Everything raises ViewsUnavailable when Cassandra does not answer, or holds nothing yet.

    `timeout` is how many seconds `reached` waits at most. Begins to work when Cassandra does: nothing has to be there
    when this is made.
    """

    def __init__(self, session: Session, log_id: str, *, timeout: float = 5.0) -> None:
        self._session = session
        self._schema = Schema(session)
        self._log_id = log_id
        self._timeout = timeout
        self._tables: Tables | None = None
        self._asked = 0.0
        self._asking: asyncio.Task[Tables] | None = None
        self._seen: dict[int, int] = {}
        self._looking: asyncio.Task[None] | None = None

    async def get(self, table: Table[R], partition_key: Key, clustering_key: Key = ()) -> R | None:
        """One row, or None."""
        return await self._read(lambda tables: tables.get(table, partition_key, clustering_key))

    async def get_many(self, table: Table[R], keys: Sequence[Key]) -> list[R | None]:
        """The rows of some whole keys, in their order."""
        return await self._read(lambda tables: tables.get_many(table, keys))

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
        return await self._read(
            lambda tables: tables.scan(
                table, partition_key, start=start, end=end, after=after, reverse=reverse, limit=limit
            )
        )

    async def containing(self, table: Table[Any], part: str) -> list[str] | None:
        """The ids of rows that may contain `part`; None where they are too many, or `part` too short."""
        return await self._read(lambda tables: tables.containing(table, part))

    async def reached(self, token: str, timeout: float | None = None) -> None:
        """Returns when everything up to a consistency token can be read.

        Raises ValueError for what is no token, and ViewsBehind when it takes longer than `timeout` seconds.
        """
        wanted = parse_token(token)
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        pause = FIRST_LOOK
        while missing := [(p, at) for p, at in wanted.items() if self._seen.get(p, 0) < at]:
            await self._look()
            if all(self._seen.get(partition, 0) >= position for partition, position in missing):
                continue
            if time.monotonic() + pause > deadline:
                partition, position = missing[0]
                raise ViewsBehind(
                    f"the read models are at position {self._seen.get(partition, 0)} of partition {partition}, "
                    f"not yet at {position}"
                )
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_LOOK)

    async def _look(self) -> None:
        """Read the positions: once, however many wait for them."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._read_positions())
            self._looking.add_done_callback(self._looked)
        await asyncio.shield(self._looking)

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._looking = None
        if not task.cancelled():
            task.exception()

    async def _read_positions(self) -> None:
        tables = await self._in_force()
        self._seen = await Positions(self._session, tables.generation.number).read()

    async def _read(self, read: Callable[[Tables], Awaitable[T]]) -> T:
        tables = await self._in_force()
        try:
            return await read(tables)
        except GenerationDropped:
            self._tables = None
            return await read(await self._in_force())

    async def _in_force(self) -> Tables:
        known = self._tables
        if known is None:
            return await asyncio.shield(self._ask())
        if time.monotonic() - self._asked > REFRESH:
            self._ask()  # who reads now need not wait for that
        return known

    def _ask(self) -> asyncio.Task[Tables]:
        if self._asking is None:
            self._asked = time.monotonic()
            self._asking = asyncio.create_task(self._find())
            self._asking.add_done_callback(self._asked_for)
        return self._asking

    def _asked_for(self, task: asyncio.Task[Tables]) -> None:
        self._asking = None
        if not task.cancelled():
            task.exception()

    async def _find(self) -> Tables:
        generation = await self._schema.in_force()
        if generation is None:
            raise ViewsUnavailable(f"there are no read models in keyspace {self._session.keyspace} yet")
        if generation.log_id != self._log_id:
            raise ViewsUnavailable(f"keyspace {self._session.keyspace} holds the read models of another log")
        known = self._tables
        if known is None or known.generation != generation:
            known = self._tables = Tables(self._session, generation)
            self._seen = {}
        return known
