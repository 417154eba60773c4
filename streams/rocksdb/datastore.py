"""What the recorders of one `eventsourcing` application share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event, RLock

from eventsourcing.persistence import OperationalError

from taskscheduler.domain.values import Instant
from taskscheduler.streams.rocksdb.database import Batch, Database
from taskscheduler.streams.rocksdb.refusals import StorageFailed
from taskscheduler.streams.rocksdb.rows import LOG_FAMILIES, LogRows

RECORDS = "records"
TRACKING = "tracking"


class RocksDatastore:
    """The directory that the recorders of an application share. Raises DataRefused."""

    def __init__(self, path: Path, clock: Callable[[], Instant]) -> None:
        self.database = Database(path, (*LOG_FAMILIES, RECORDS, TRACKING))
        self.clock = clock
        self.lock = RLock()
        self.rows = LogRows(self.database)
        self.listeners: set[Event] = set()
        try:
            last = self.rows.check_sequence()
        except BaseException:
            self.database.close()
            raise
        self.position = last.position if last else 0

    def commit(self, batch: Batch) -> None:
        """Writes durably. Raises OperationalError."""
        try:
            self.database.write(batch)
            self.database.sync_now()
        except StorageFailed as error:
            raise OperationalError(str(error)) from error
