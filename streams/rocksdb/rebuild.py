"""Makes the read models anew from the log, beside those in force."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from taskscheduler.commands.ports import DecisionLog
from taskscheduler.domain.decision import FOLD_VERSION
from taskscheduler.projections.projector import Projector
from taskscheduler.streams.replica import Replica
from taskscheduler.streams.rocksdb.buffer import Buffer
from taskscheduler.streams.rocksdb.database import Batch, Database
from taskscheduler.streams.rocksdb.keys import successor
from taskscheduler.streams.rocksdb.state_store import FAMILIES, StateStore
from taskscheduler.streams.rocksdb.views import FAMILY, RocksViews, prefix_of

_BATCH = 1_000

SCRATCH = "rebuild"
"""The folder in the data directory where states lie meanwhile."""


class NothingToRebuild(Exception):
    """A sentence that says why."""


class Standing(msgspec.Struct, frozen=True):
    """Which generation is in force, and up to which position of the log its rows and the state beside them are."""

    in_force: int
    position: int


def standing(database: Database) -> Standing:
    """What a rebuild would find. Raises NothingToRebuild where the next start of a server does it anyway."""
    if all(family.name != FAMILY for family in database.families):
        raise NothingToRebuild(f"{database.path} holds a log that nobody has folded yet: the first start does that")
    buffer = Buffer(database)
    position = StateStore(buffer).position()
    views = RocksViews(buffer, database.format.log_id)
    if not position.position or position.fold_version != FOLD_VERSION or views.stale:
        raise NothingToRebuild(f"the next start folds all of {database.path} anew, with the read models")
    return Standing(views.in_force, position.position)


async def rebuild(
    database: Database,
    buffer: Buffer,
    log: DecisionLog,
    partitions: int = 1,
    *,
    to: int | None = None,
    progress: Callable[[int], None] = lambda folded: None,
) -> RocksViews:
    """Fold the log from its beginning into a new generation, put that in force, drop the one before.

    States lie on disk meanwhile, in the folder `rebuild` of the data directory. Who follows the log may go on anywhere
    in what was folded: records that come again change nothing. Given `to`, each partition is folded up to there; else
    all of it. `progress` is told how many records are. One that is cut short leaves what is in force alone.
    """
    log_id = database.format.log_id
    old = RocksViews(buffer, log_id).in_force
    _drop(database, old + 1)
    views = RocksViews(buffer, log_id, old + 1)
    projector = Projector(views)
    for partition in range(partitions):
        with _scratch(database.path / SCRATCH) as states:
            replica = Replica(log, StateStore(Buffer(states)), [projector], partition=partition)
            position = 0
            while entries := await log.read(partition, position, _BATCH if to is None else min(_BATCH, to - position)):
                replica.fold(entries)
                replica.flush()
                buffer.flush()
                position = replica.position
                progress(position)
    views.enter()
    buffer.flush()
    if old:
        _drop(database, old)
    return views


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Database]:
    """An empty database for states. One that was killed has left its own."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with Database(folder, FAMILIES) as database:
            yield database
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _drop(database: Database, generation: int) -> None:
    prefix = prefix_of(generation)
    batch = Batch()
    batch.delete_range(database.family(FAMILY), prefix, successor(prefix))
    database.write(batch)
