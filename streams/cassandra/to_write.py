"""Which generation a projector writes: the one in force, unless this release makes other rows than that one has.

Then it is a new one beside, from the first record on, and the one in force is read as it is until the new one has come
up to it.
"""

from __future__ import annotations

from taskscheduler.projections.ports import ViewsUnavailable
from taskscheduler.streams.cassandra.generation import Generation
from taskscheduler.streams.cassandra.positions import Positions
from taskscheduler.streams.cassandra.schema import Schema
from taskscheduler.streams.cassandra.session import Session
from taskscheduler.streams.cassandra.views import CassandraViews
from taskscheduler.streams.projection_follower import FarViews


class ViewsToWrite:
    """Opens the views for Projecting, and makes what they need when Cassandra is there for the first time."""

    def __init__(self, session: Session, log_id: str, partitions: int) -> None:
        self._session = session
        self._schema = Schema(session)
        self._log_id = log_id
        self._partitions = partitions

    async def __call__(self, known: FarViews | None) -> FarViews | None:
        """The views to write, None when they are those that are known. Raises ViewsUnavailable, CassandraRefused."""
        if known is None:
            in_force: Generation | None = await self._schema.migrate(self._log_id, self._partitions)
        else:
            in_force = await self._schema.in_force()
        if in_force is None:
            raise ViewsUnavailable(f"there are no read models in keyspace {self._session.keyspace}")
        wanted = await self._successor(in_force) if in_force.stale else in_force
        if isinstance(known, CassandraViews) and known.generation == wanted:
            return None
        return CassandraViews(self._session, wanted)

    async def _successor(self, in_force: Generation) -> Generation:
        """The generation that will take the place of one that is stale; in force as soon as it is as far."""
        successor = await self._schema.successor(in_force)
        before = await Positions(self._session, in_force.number).read()
        after = await Positions(self._session, successor.number).read()
        if all(after.get(partition, 0) >= position for partition, position in before.items()):
            await self._schema.switch(successor)
        return successor
