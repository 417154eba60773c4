"""Read models in a real Cassandra, for tests."""

from __future__ import annotations

from uuid import uuid4

from taskscheduler.api.settings import Cassandra
from taskscheduler.projections.tables import Key
from taskscheduler.streams.cassandra.generation import Generation
from taskscheduler.streams.cassandra.schema import migrate
from taskscheduler.streams.cassandra.session import Session
from taskscheduler.streams.cassandra.views import CassandraViews
from tests.projections.conformance import Way

PARTITIONS = 3


def settings(contact_point: str, keyspace: str | None = None, **more: object) -> Cassandra:
    """How to reach the node; the keyspace is a new one unless named."""
    keyspace = keyspace or f"t{uuid4().hex[:12]}"
    return Cassandra(**{"contact_points": (contact_point,), "keyspace": keyspace, "replication": 1, **more})  # type: ignore[arg-type]


class OpenedCassandra:
    """Views of the generation in force in a keyspace."""

    def __init__(self, session: Session, generation: Generation) -> None:
        self.session = session
        self.generation = generation
        self.views = CassandraViews(session, generation)

    @classmethod
    async def open(cls, given: Cassandra, partitions: int = PARTITIONS) -> OpenedCassandra:
        session = Session(given)
        generation = await migrate(session, "the log", partitions)
        # Without a commit log tables are emptied in a tenth of the time.
        await session.run(f"ALTER KEYSPACE {given.keyspace} WITH durable_writes = false", timeout=60)
        return cls(session, generation)

    async def settle(self, way: Way) -> None:
        if way == "at once":
            return
        await self.views.flush()
        if way == "reopened":
            await self.session.close()
            self.session = Session(self.session.settings)
            self.views = CassandraViews(self.session, self.generation)

    async def contents(self) -> list[tuple[str, Key, bytes]]:
        return await self.views.contents()

    async def empty(self) -> None:
        """Remove every row and every trace of one; what is in memory too."""
        names = [layout.name for layout in self.views.layouts.all()]
        for name in (*names, f"{self.session.keyspace}.positions"):
            await self.session.run(f"TRUNCATE {name}", timeout=60)
        self.views = CassandraViews(self.session, self.generation)

    async def drop(self) -> None:
        """The keyspace, and with it everything."""
        await self.session.run(f"DROP KEYSPACE IF EXISTS {self.session.keyspace}", timeout=60)
        await self.session.close()
