"""Makes the read models anew from the log, beside those in force."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from taskscheduler.commands.ports import DecisionLog
from taskscheduler.domain.decision import FOLD_VERSION, Verdict, accepted_as, fold
from taskscheduler.domain.entities import Entity, empty, id_of
from taskscheduler.projections.projector import Projector
from taskscheduler.streams.rocksdb.buffer import Buffer
from taskscheduler.streams.rocksdb.database import Batch, Database
from taskscheduler.streams.rocksdb.keys import successor
from taskscheduler.streams.rocksdb.state_store import StateStore
from taskscheduler.streams.rocksdb.views import FAMILY, RocksViews, prefix_of

_BATCH = 1_000


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

    Holds the state of everything in memory. Who follows the log may go on anywhere in what was folded: records that
    come again change nothing. Given `to`, each partition is folded up to there; else all of it. `progress` is told how
    many records are. One that is cut short leaves what is in force alone.
    """
    log_id = database.format.log_id
    old = RocksViews(buffer, log_id).in_force
    _drop(database, old + 1)
    views = RocksViews(buffer, log_id, old + 1)
    projector = Projector(views)
    for partition in range(partitions):
        states: dict[str, Entity] = {}
        position = 0
        while entries := await log.read(partition, position, _BATCH if to is None else min(_BATCH, to - position)):
            accepted = []
            for entry in entries:
                record = entry.record
                if record is None:
                    continue
                id = id_of(record.stream)
                before = states.get(id) or empty(id)
                after, verdict = fold(before, record, entry.appended_at)
                if verdict is Verdict.ACCEPTED:
                    states[id] = after
                    at = entry.partition, entry.position, entry.appended_at
                    accepted.append(accepted_as(*at, record, before, after))
            projector.apply(accepted)
            position = entries[-1].position
            buffer.flush()
            progress(position)
    views.enter()
    buffer.flush()
    if old:
        _drop(database, old)
    return views


def _drop(database: Database, generation: int) -> None:
    prefix = prefix_of(generation)
    batch = Batch()
    batch.delete_range(database.family(FAMILY), prefix, successor(prefix))
    database.write(batch)
