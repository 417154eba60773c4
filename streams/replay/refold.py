"""Folds the whole log into a state on disk, for a hash over all of it."""

from __future__ import annotations

from pathlib import Path

from taskscheduler.commands.ports import DecisionLog
from taskscheduler.streams.replica import Replica
from taskscheduler.streams.rocksdb.buffer import Buffer
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.state_store import FAMILIES, StateStore


async def refolded_digest(log: DecisionLog, scratch: Path) -> tuple[int, str]:
    """Fold the whole log into an empty directory: the position reached and the digest of the state there."""
    with Database(scratch, FAMILIES) as database:
        store = StateStore(Buffer(database))
        replica = Replica(log, store)
        await replica.catch_up()
        replica.flush()
        return replica.position, store.digest()
