"""The keyspace: what is kept there beside the read models, migrations, and which generation is read.

Any number of instances may migrate at the same time: a row, taken by a lightweight transaction, lets one of them go
first; the others find everything done. A step that was cut short is done again, so each must bear that.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import NAMESPACE_URL, uuid5

from cassandra import InvalidRequest

from taskscheduler.projections.ports import ViewsUnavailable
from taskscheduler.streams.cassandra.client_options import CassandraRefused
from taskscheduler.streams.cassandra.generation import Generation, Layouts
from taskscheduler.streams.cassandra.session import Rows, Session

SCHEMA_TIMEOUT = 60.0
"""Seconds for one change of the schema: all nodes have to agree."""

LOCKED_FOR = 120
"""Seconds after which the lock of an instance that died is free."""

PATIENCE = 300.0
"""Seconds that an instance waits for another one to migrate."""

VIEWS = "views"

_GENERATIONS = (
    "CREATE TABLE IF NOT EXISTS {keyspace}.generations (store text, number int, in_force int static, log_id text, "
    "partitions int, fold_version int, projection_version int, layout_version int, state text, "
    "PRIMARY KEY (store, number))"
)
_POSITIONS = (
    "CREATE TABLE IF NOT EXISTS {keyspace}.positions (generation int, partition int, position bigint, "
    "PRIMARY KEY (generation, partition))"
)
MIGRATIONS: tuple[tuple[int, tuple[str, ...]], ...] = ((1, (_GENERATIONS, _POSITIONS)),)
"""Statements by version, in order. What was released is never changed: a change is a version of its own."""


class Schema:
    """The keyspace as the migrations make it. Raises ViewsUnavailable when Cassandra does not answer."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._keyspace = session.keyspace

    async def migrate(self, log_id: str, partitions: int) -> Generation:
        """Make or change what is needed and give the generation in force for this log.

        Raises CassandraRefused when the keyspace belongs to another log, was made by a newer release, or cannot be made
        because there are fewer nodes than copies.
        """
        await self._bootstrap()
        if await self._version() >= MIGRATIONS[-1][0] and (known := await self.in_force()) is not None:
            return self._checked(known, log_id, partitions)
        async with self.lock() as held:
            done = await self._version()
            for version, statements in MIGRATIONS:
                if version > done:
                    for statement in statements:
                        await held()
                        await self._alter(statement.format(keyspace=self._keyspace))
                    await self._run(
                        "INSERT INTO {}.migrations (store, version, applied_at) VALUES (%s, %s, %s)",
                        VIEWS, version, time.time_ns() // 1_000_000,
                    )  # fmt: skip
            known = await self.in_force()
            if known is None:
                known = await self._create(log_id, partitions, held)
                await self._switch(None, known.number)
        return self._checked(known, log_id, partitions)

    async def in_force(self) -> Generation | None:
        """The generation that is read; None before there is any."""
        try:
            rows = await self._run(
                "SELECT number, in_force, log_id, partitions, fold_version, projection_version, layout_version "
                "FROM {}.generations WHERE store = %s",
                VIEWS,
            )
        except InvalidRequest:
            return None
        return next((Generation(row[0], *row[2:]) for row in rows if row[0] is not None and row[0] == row[1]), None)

    async def create(self, log_id: str, partitions: int) -> Generation:
        """The tables of a new generation, beside all others; nobody reads them yet."""
        async with self.lock() as held:
            return await self._create(log_id, partitions, held)

    async def successor(self, stale: Generation) -> Generation:
        """The generation that is being made by the rules of this release in place of a stale one; begun if need be."""
        found = await self._newer(stale)
        if found is not None:
            return found
        async with self.lock() as held:
            return await self._newer(stale) or await self._create(stale.log_id, stale.partitions, held)

    async def _newer(self, than: Generation) -> Generation | None:
        others = [one for one in await self.others() if one.number > than.number and not one.stale]
        return others[-1] if others else None

    async def switch(self, generation: Generation) -> None:
        """From now on this generation is read. Raises ViewsUnavailable when another switch was faster."""
        known = await self.in_force()
        if known is None or known.number != generation.number:
            await self._switch(None if known is None else known.number, generation.number)

    async def drop_others(self) -> list[int]:
        """Drop the tables of every generation but the one in force; their numbers."""
        async with self.lock() as held:
            known = await self.in_force()
            rows = await self._run("SELECT number, state FROM {}.generations WHERE store = %s", VIEWS)
            dropped = [
                n for n, state in rows if known is not None and n not in (None, known.number) and state == "made"
            ]
            for number in dropped:
                for layout in Layouts(self._keyspace, number).all():
                    await held()
                    await self._alter(f"DROP TABLE IF EXISTS {layout.name}")
                await self._run("DELETE FROM {}.positions WHERE generation = %s", number)
                # The row stays: a number is never used again.
                await self._run(
                    "UPDATE {}.generations SET state = 'dropped' WHERE store = %s AND number = %s", VIEWS, number
                )
            return dropped

    async def others(self) -> list[Generation]:
        """Generations beside the one in force: old ones, and those that are still being made."""
        rows = await self._run(
            "SELECT number, in_force, state, log_id, partitions, fold_version, projection_version, layout_version "
            "FROM {}.generations WHERE store = %s",
            VIEWS,
        )
        return [Generation(row[0], *row[3:]) for row in rows if row[0] not in (None, row[1]) and row[2] == "made"]

    @contextlib.asynccontextmanager
    async def lock(self) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """One instance at a time. Call what is given before each step, to go on holding the lock."""
        holder = secrets.token_hex(8)
        deadline = time.monotonic() + PATIENCE
        while not await self._take(holder):
            if time.monotonic() > deadline:
                raise ViewsUnavailable("another instance has been changing the schema for too long")
            await asyncio.sleep(0.1 + random.random() / 5)

        async def held() -> None:
            rows = await self._run(
                f"UPDATE {{}}.locks USING TTL {LOCKED_FOR} SET holder = %s WHERE name = %s IF holder = %s",
                holder, VIEWS, holder,
            )  # fmt: skip
            if not rows[0][0]:
                raise ViewsUnavailable("another instance took over the change of the schema")

        try:
            yield held
        finally:
            with contextlib.suppress(ViewsUnavailable):
                await self._run("DELETE FROM {}.locks WHERE name = %s IF holder = %s", VIEWS, holder)

    async def _take(self, holder: str) -> bool:
        rows = await self._run(
            f"INSERT INTO {{}}.locks (name, holder) VALUES (%s, %s) IF NOT EXISTS USING TTL {LOCKED_FOR}", VIEWS, holder
        )
        # One that got no answer may have been taken all the same.
        return bool(rows[0][0]) or holder in rows[0]

    async def _bootstrap(self) -> None:
        """The keyspace and what is needed to take turns. Tables have fixed ids, so that two who make them agree."""
        found = await self._session.run(
            "SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s", (self._keyspace,)
        )
        if {"migrations", "locks"} <= {name for (name,) in found}:
            return
        settings = self._session.settings
        exists = await self._session.run(
            "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = %s", (self._keyspace,)
        )
        if not exists:
            local = await self._session.run("SELECT data_center FROM system.local")
            nodes = local + await self._session.run("SELECT data_center FROM system.peers")
            datacenter = settings.local_datacenter or local[0][0]
            count = [name for (name,) in nodes].count(datacenter)
            if count < settings.replication:
                raise CassandraRefused(
                    f"cassandra.replication: is {settings.replication}, and datacenter {datacenter} has {count} "
                    f"node{'s'[: count != 1]} to keep copies on; the keyspace {self._keyspace} was not made"
                )
            await self._alter(
                f"CREATE KEYSPACE IF NOT EXISTS {self._keyspace} WITH replication = {{'class': "
                f"'NetworkTopologyStrategy', '{datacenter}': {settings.replication}}}"
            )
        for name, columns in (
            ("locks", "name text PRIMARY KEY, holder text"),
            ("migrations", "store text, version int, applied_at bigint, PRIMARY KEY (store, version)"),
        ):
            fixed = uuid5(NAMESPACE_URL, f"taskscheduler:{self._keyspace}.{name}")
            await self._alter(f"CREATE TABLE IF NOT EXISTS {self._keyspace}.{name} ({columns}) WITH id = {fixed}")

    async def _version(self) -> int:
        rows = await self._run("SELECT max(version) FROM {}.migrations WHERE store = %s", VIEWS)
        version = rows[0][0] or 0
        if version > MIGRATIONS[-1][0]:
            raise CassandraRefused(f"keyspace {self._keyspace} was made by a newer release of taskscheduler")
        return int(version)

    async def _create(self, log_id: str, partitions: int, held: Callable[[], Awaitable[None]]) -> Generation:
        rows = await self._run("SELECT max(number) FROM {}.generations WHERE store = %s", VIEWS)
        made = Generation((rows[0][0] or 0) + 1, log_id, partitions)
        for layout in Layouts(self._keyspace, made.number).all():
            await held()
            await self._alter(layout.create())
        await self._run(
            "INSERT INTO {}.generations (store, number, log_id, partitions, fold_version, projection_version, "
            "layout_version, state) VALUES (%s, %s, %s, %s, %s, %s, %s, 'made')",
            VIEWS, made.number, log_id, partitions, made.fold_version, made.projection_version, made.layout_version,
        )  # fmt: skip
        return made

    async def _switch(self, before: int | None, after: int) -> None:
        rows = await self._run(
            "UPDATE {}.generations SET in_force = %s WHERE store = %s IF in_force = %s", after, VIEWS, before
        )
        if not rows[0][0] and after not in rows[0]:
            raise ViewsUnavailable("another instance changed which read models are in force")

    def _checked(self, known: Generation, log_id: str, partitions: int) -> Generation:
        if (known.log_id, known.partitions) != (log_id, partitions):
            raise CassandraRefused(
                f"keyspace {self._keyspace} holds the read models of log {known.log_id} with {known.partitions} "
                f"partitions, not of log {log_id} with {partitions}: name another one in cassandra.keyspace"
            )
        return known

    async def _alter(self, statement: str) -> None:
        await self._session.run(statement, timeout=SCHEMA_TIMEOUT)

    async def _run(self, cql: str, *values: object) -> Rows:
        return await self._session.run(cql.format(self._keyspace), values)


async def migrate(session: Session, log_id: str, partitions: int) -> Generation:
    """Everything the read models need in Cassandra, made or changed once however many instances call this."""
    return await Schema(session).migrate(log_id, partitions)
