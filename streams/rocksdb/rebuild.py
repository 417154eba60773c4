"""Makes the read models anew from the log, beside those in force."""

from __future__ import annotations

from taskscheduler.commands.ports import DecisionLog
from taskscheduler.domain.decision import Accepted, Verdict, fold, task_id_of
from taskscheduler.domain.state import Task
from taskscheduler.projections.projector import Projector
from taskscheduler.streams.rocksdb.buffer import Buffer
from taskscheduler.streams.rocksdb.database import Batch, Database
from taskscheduler.streams.rocksdb.keys import successor
from taskscheduler.streams.rocksdb.views import FAMILY, RocksViews, prefix_of

_BATCH = 1_000


async def rebuild(database: Database, buffer: Buffer, log: DecisionLog, partitions: int = 1) -> RocksViews:
    """Fold the log from its beginning into a new generation, put that in force, drop the one before.

    Holds the state of every task in memory. Who follows the log may go on anywhere in what was folded: records that
    come again change nothing.
    """
    log_id = database.format.log_id
    old = RocksViews(buffer, log_id).in_force
    _drop(database, old + 1)
    views = RocksViews(buffer, log_id, old + 1)
    projector = Projector(views)
    for partition in range(partitions):
        tasks: dict[str, Task] = {}
        position = 0
        while entries := await log.read(partition, position, _BATCH):
            accepted = []
            for entry in entries:
                record = entry.record
                if record is None:
                    continue
                task_id = task_id_of(record.stream)
                before = tasks.get(task_id) or Task(task_id)
                after, verdict = fold(before, record, entry.appended_at)
                if verdict is Verdict.ACCEPTED:
                    tasks[task_id] = after
                    accepted.append(Accepted(entry.partition, entry.position, entry.appended_at, record, before, after))
            projector.apply(accepted)
            position = entries[-1].position
            buffer.flush()
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
