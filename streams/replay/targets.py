"""The log in a data directory, to be appended to by an import."""

from __future__ import annotations

from collections.abc import Sequence

from taskscheduler.streams.replay.importing import Brought
from taskscheduler.streams.replay.source import RocksSource
from taskscheduler.streams.rocksdb.database import Batch, Database
from taskscheduler.streams.rocksdb.event_log import DECISION_TOPIC, PARTITION
from taskscheduler.streams.rocksdb.rows import LogRows, Row


class RocksTarget:
    """Keeps the instants at which records were first appended; the first start folds what was brought."""

    def __init__(self, database: Database) -> None:
        self.source = RocksSource(database)
        self._database = database
        self._rows = LogRows(database)
        last = self._rows.last()
        self._position, self._appended_at = (0, 0) if last is None else (last.position, last.appended_at)

    def partition_of(self, stream: str) -> int:
        """There is one."""
        return PARTITION

    async def put(self, records: Sequence[Brought]) -> None:
        """Append durably, in order. Raises StorageFailed."""
        batch = Batch()
        for brought in records:
            self._position += 1
            # Several partitions may not have agreed on the time; on one log it never goes back.
            self._appended_at = max(self._appended_at, brought.written_at)
            self._rows.put(
                batch,
                Row(self._position, self._appended_at, brought.stream, brought.version, DECISION_TOPIC, brought.data),
            )
        self._database.write(batch)
        self._database.sync_now()
