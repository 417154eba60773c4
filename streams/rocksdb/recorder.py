"""The recorders of the `eventsourcing` library on the rows of the log: a stored event is a row, its notification id
the row's position. Set `PERSISTENCE_MODULE=taskscheduler.streams.rocksdb.recorder` and `ROCKSDB_PATH`; one directory
belongs to one application.

Synchronous and safe to share among threads. What is inserted is on disk before the call returns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any, TypeVar, cast
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    IntegrityError,
    ListenNotifySubscription,
    Notification,
    ProcessRecorder,
    StoredEvent,
    Subscription,
    Tracking,
    TrackingRecorder,
)
from eventsourcing.utils import Environment, EnvType, resolve_topic

from taskscheduler.streams.rocksdb.database import Batch
from taskscheduler.streams.rocksdb.datastore import RECORDS, TRACKING, RocksDatastore
from taskscheduler.streams.rocksdb.rows import Row, number, number_of, version_key
from taskscheduler.streams.rocksdb.rows import pack_row as pack
from taskscheduler.streams.rocksdb.rows import unpack_row as unpack

MAX_VERSION = 2**63 - 1
_NOWHERE = number(0)

T = TypeVar("T")


class _Recorder:
    def __init__(self, datastore: RocksDatastore) -> None:
        self._datastore = datastore


class RocksAggregateRecorder(_Recorder, AggregateRecorder):
    """Streams that are in no common order, as snapshots are. Each purpose is a namespace of its own."""

    def __init__(self, datastore: RocksDatastore, purpose: str = "events") -> None:
        super().__init__(datastore)
        self._purpose = purpose
        self._records = datastore.database.family(RECORDS)

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Inserts all or none. Raises IntegrityError for a version that is there, OperationalError."""
        with self._datastore.lock:
            batch = Batch()
            seen: set[tuple[str, int]] = set()
            for event in stored_events:
                identity = (str(event.originator_id), event.originator_version)
                if identity in seen or self._exists(*identity):
                    raise IntegrityError(f"version {identity[1]} of {identity[0]} is already recorded")
                seen.add(identity)
            ids = self._stage(batch, stored_events, **kwargs)
            if len(batch):
                self._datastore.commit(batch)
                self._committed(ids)
        return ids or None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """The events of a stream with gt < version <= lte, ascending or descending."""
        first = 0 if gt is None else gt + 1
        last = MAX_VERSION if lte is None else lte
        found: list[StoredEvent] = []
        for row in self._rows_of(str(originator_id), first, last, desc):
            if limit is not None and len(found) >= limit:
                break
            found.append(StoredEvent(_originator(row), row.version, row.topic, row.state))
        return found

    def _exists(self, stream: str, version: int) -> bool:
        return self._records.get(self._key(stream, version)) is not None

    def _stage(self, batch: Batch, stored_events: Sequence[StoredEvent], **_: Any) -> list[int]:
        for event in stored_events:
            row = self._row(0, event)
            batch.put(self._records, self._key(row.stream, row.version), pack(row))
        return []

    def _committed(self, ids: list[int]) -> None:
        """Called under the lock, once what was staged is on disk."""

    def _rows_of(self, stream: str, first: int, last: int, desc: bool) -> Iterator[Row]:
        start, end = self._key(stream, first), self._key(stream, last + 1)
        for _, value in self._records.scan(start, end, reverse=desc):
            yield unpack(_NOWHERE, value)

    def _key(self, stream: str, version: int) -> bytes:
        return self._purpose.encode() + b"\0" + version_key(stream, version)

    def _row(self, position: int, event: StoredEvent) -> Row:
        is_uuid = isinstance(event.originator_id, UUID)
        stream = str(event.originator_id)
        return Row(
            position, self._datastore.clock(), stream, event.originator_version, event.topic, event.state, is_uuid
        )


class RocksApplicationRecorder(RocksAggregateRecorder, ApplicationRecorder):
    """Streams in one common order: the log."""

    def __init__(self, datastore: RocksDatastore) -> None:
        super().__init__(datastore)
        self._log = datastore.rows

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Up to `limit` notifications with start <= id <= stop, of the topics where any are given."""
        first = max(1, (start or 0) + (0 if inclusive_of_start else 1))
        last = self._datastore.position if stop is None else min(stop, self._datastore.position)
        found: list[Notification] = []
        if first > last:
            return found
        for row in self._log.rows(first, last):
            if len(found) >= limit:
                break
            if not topics or row.topic in topics:
                found.append(Notification(_originator(row), row.version, row.topic, row.state, row.position))
        return found

    def max_notification_id(self) -> int | None:
        """The last position, None while there is none."""
        return self._datastore.position or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        """Yields the notifications after `gt`, then waits for more."""
        return RocksSubscription(self, gt, topics)

    def listen(self, event: Event) -> None:
        """Sets the event whenever something was inserted."""
        with self._datastore.lock:
            self._datastore.listeners.add(event)

    def unlisten(self, event: Event) -> None:
        """Stops setting it."""
        with self._datastore.lock:
            self._datastore.listeners.discard(event)

    def _exists(self, stream: str, version: int) -> bool:
        return self._log.position(stream, version) is not None

    def _stage(self, batch: Batch, stored_events: Sequence[StoredEvent], **_: Any) -> list[int]:
        position = self._datastore.position
        ids = list(range(position + 1, position + 1 + len(stored_events)))
        for at, event in zip(ids, stored_events, strict=True):
            self._log.put(batch, self._row(at, event))
        return ids

    def _committed(self, ids: list[int]) -> None:
        self._datastore.position += len(ids)
        for listener in self._datastore.listeners:
            listener.set()

    def _rows_of(self, stream: str, first: int, last: int, desc: bool) -> Iterator[Row]:
        return (self._log.row(position) for position in self._log.positions(stream, first, last, desc))


class RocksSubscription(ListenNotifySubscription[RocksApplicationRecorder]):
    """Woken by the recorder."""

    def __init__(self, recorder: RocksApplicationRecorder, gt: int | None, topics: Sequence[str]) -> None:
        super().__init__(recorder, gt, topics)
        recorder.listen(self._has_been_notified)

    def stop(self) -> None:
        """Stops the subscription."""
        super().stop()
        self._recorder.unlisten(self._has_been_notified)


class RocksTrackingRecorder(_Recorder, TrackingRecorder):
    """How far each upstream application has been processed."""

    def insert_tracking(self, tracking: Tracking) -> None:
        """Raises IntegrityError unless the notification id is above the last one of its application."""
        with self._datastore.lock:
            batch = Batch()
            self._stage_tracking(batch, tracking)
            self._datastore.commit(batch)

    def max_tracking_id(self, application_name: str) -> int | None:
        """The last notification id recorded for an application."""
        data = self._datastore.database.family(TRACKING).get(application_name.encode())
        return None if data is None else number_of(data)

    def _stage_tracking(self, batch: Batch, tracking: Tracking) -> None:
        last = self.max_tracking_id(tracking.application_name)
        if last is not None and tracking.notification_id <= last:
            raise IntegrityError(f"{tracking.application_name} is already tracked up to {last}")
        family = self._datastore.database.family(TRACKING)
        batch.put(family, tracking.application_name.encode(), number(tracking.notification_id))


class RocksProcessRecorder(RocksTrackingRecorder, RocksApplicationRecorder, ProcessRecorder):
    """Events and the tracking of what they came from, all or none."""

    def _stage(self, batch: Batch, stored_events: Sequence[StoredEvent], **kwargs: Any) -> list[int]:
        tracking: Tracking | None = kwargs.get("tracking")
        if tracking is not None:
            self._stage_tracking(batch, tracking)
        return super()._stage(batch, stored_events)


class RocksFactory(InfrastructureFactory[RocksTrackingRecorder]):
    """Opens `ROCKSDB_PATH`. Raises OSError when it is not set, DataRefused."""

    ROCKSDB_PATH = "ROCKSDB_PATH"

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        path = self.env.get(self.ROCKSDB_PATH)
        if not path:
            raise OSError(f"set one of {', '.join(self.env.create_keys(self.ROCKSDB_PATH))} to a directory")
        self.datastore = RocksDatastore(Path(path), lambda: time.time_ns() // 1_000_000)

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """For streams beside the log, such as snapshots."""
        return RocksAggregateRecorder(self.datastore, purpose)

    def application_recorder(self) -> ApplicationRecorder:
        """For the log."""
        return self._chosen(self.APPLICATION_RECORDER_TOPIC, RocksApplicationRecorder)

    def tracking_recorder(
        self, tracking_recorder_class: type[RocksTrackingRecorder] | None = None
    ) -> RocksTrackingRecorder:
        """For tracking alone; a subclass may add views."""
        if tracking_recorder_class is not None:
            return tracking_recorder_class(self.datastore)
        return self._chosen(self.TRACKING_RECORDER_TOPIC, RocksTrackingRecorder)

    def process_recorder(self) -> ProcessRecorder:
        """For the log together with tracking."""
        return self._chosen(self.PROCESS_RECORDER_TOPIC, RocksProcessRecorder)

    def _chosen(self, variable: str, default: Callable[[RocksDatastore], T]) -> T:
        topic = self.env.get(variable)
        chosen = cast("Callable[[RocksDatastore], T]", resolve_topic(topic)) if topic else default
        return chosen(self.datastore)

    def close(self) -> None:
        """Flushes and unlocks the directory."""
        self.datastore.database.close()


def _originator(row: Row) -> UUID | str:
    return UUID(row.stream) if row.is_uuid else row.stream
