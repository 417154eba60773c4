"""The log's rows in RocksDB, and what must hold between them.

    log      position            -> crc, instant of the append, version, kind of originator, stream, topic, state
    streams  stream NUL version  -> position
    versions stream              -> last version of the stream

The checksum covers the position too, so a row that is whole but in another's place is found as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from struct import Struct
from zlib import crc32

import msgspec

from taskscheduler.domain.values import Instant
from taskscheduler.streams.rocksdb.database import META, Batch, Database
from taskscheduler.streams.rocksdb.refusals import DataDamaged

LOG = "log"
STREAMS = "streams"
VERSIONS = "versions"
LOG_FAMILIES = (LOG, STREAMS, VERSIONS)
CHECKPOINT_KEY = b"log.checkpoint"

_NUMBER = Struct(">Q")
_CRC = Struct(">I")
_REST = Struct(">qQBHH")
_HEAD = Struct(">IqQBHH")
_HEAD_SIZE = _HEAD.size
number = _NUMBER.pack


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row of the log. `is_uuid` tells whether the originator was given as a UUID rather than as text."""

    position: int
    appended_at: Instant
    stream: str
    version: int
    topic: str
    state: bytes
    is_uuid: bool = False


def number_of(data: bytes) -> int:
    """The number that `number` packed."""
    value: int = _NUMBER.unpack(data)[0]
    return value


def version_key(stream: str, version: int) -> bytes:
    """The key of a version in its stream. Raises ValueError for a NUL in the stream."""
    if "\0" in stream:
        raise ValueError(f"{stream!r} contains a NUL")
    return stream.encode() + b"\0" + _NUMBER.pack(version)


def pack_row(row: Row) -> bytes:
    """The value of a row."""
    stream, topic = row.stream.encode(), row.topic.encode()
    head = _REST.pack(row.appended_at, row.version, row.is_uuid, len(stream), len(topic))
    body = b"".join((head, stream, topic, row.state))
    return _CRC.pack(crc32(body, crc32(number(row.position)))) + body


def unpack_row(key: bytes, value: bytes) -> Row:
    """The row under a key. Raises ValueError for one that is not what was written there."""
    if len(key) != 8 or len(value) < _HEAD_SIZE:
        raise ValueError("it is too short")
    crc, appended_at, version, is_uuid, stream_size, topic_size = _HEAD.unpack_from(value)
    if crc != crc32(value[4:], crc32(key)):
        raise ValueError("its checksum does not match")
    topic_at = _HEAD_SIZE + stream_size
    state_at = topic_at + topic_size
    return Row(
        number_of(key),
        appended_at,
        value[_HEAD_SIZE:topic_at].decode(),
        version,
        value[topic_at:state_at].decode(),
        value[state_at:],
        bool(is_uuid),
    )


class LogRows:
    """Reads and writes the rows. Takes part in batches, never writes by itself."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._log = database.family(LOG)
        self._streams = database.family(STREAMS)
        self._versions = database.family(VERSIONS)
        self._meta = database.family(META)

    def put(self, batch: Batch, row: Row) -> None:
        """The row, its place in the stream and the stream's last version."""
        put, position = batch.raw.put, number(row.position)
        put(position, pack_row(row), self._log.handle)
        put(version_key(row.stream, row.version), position, self._streams.handle)
        put(row.stream.encode(), number(row.version), self._versions.handle)

    def last_version(self, stream: str) -> int | None:
        """The last version of the stream, None when it has none."""
        data = self._versions.get(stream.encode())
        return None if data is None else number_of(data)

    def position(self, stream: str, version: int) -> int | None:
        """Where a version of the stream stands in the log."""
        data = self._streams.get(version_key(stream, version))
        return None if data is None else number_of(data)

    def positions(self, stream: str, first: int, last: int, reverse: bool) -> Iterator[int]:
        """The positions of the versions first <= v <= last of the stream."""
        start, end = version_key(stream, first), version_key(stream, last) + b"\0"
        for _, data in self._streams.scan(start, end, reverse=reverse):
            yield number_of(data)

    def row(self, position: int) -> Row:
        """The row at a position that must be there. Raises DataDamaged."""
        key = number(position)
        value = self._log.get(key)
        if value is None:
            raise DataDamaged(self._database.path, f"row {position} of the log is missing")
        return self._unpack(key, value)

    def rows(self, first: int, last: int | None = None) -> Iterator[Row]:
        """The rows from a position to another (both included), which follow each other. Raises DataDamaged."""
        expected = first
        for key, value in self._log.scan(number(first), None if last is None else number(last + 1)):
            row = self._unpack(key, value)
            if row.position != expected:
                raise DataDamaged(self._database.path, f"row {expected} of the log is missing")
            expected += 1
            yield row
        if last is not None and expected <= last:
            raise DataDamaged(self._database.path, f"row {expected} of the log is missing")

    def last(self) -> Row | None:
        """The last row of the log."""
        for key, value in self._log.scan(reverse=True, limit=1):
            return self._unpack(key, value)
        return None

    def checkpoint(self) -> int:
        """Up to this position the sequence has been checked."""
        data = self._meta.get(CHECKPOINT_KEY)
        return 0 if data is None else number_of(data)

    def put_checkpoint(self, batch: Batch, position: int) -> None:
        """Lets the check at opening begin after `position`."""
        batch.put(self._meta, CHECKPOINT_KEY, number(position))

    def check_sequence(self) -> Row | None:
        """Reads everything from the row at the checkpoint on. The last row. Raises DataDamaged.

        Damage before it is found when it is read, and by `verify`.
        """
        checkpoint = self.checkpoint()
        last = deque(self.checked(max(checkpoint, 1)), maxlen=1)
        if checkpoint and not last:
            raise DataDamaged(self._database.path, f"the log ends before row {checkpoint}, which it had")
        return last[0] if last else None

    def checked(self, first: int) -> Iterator[Row]:
        """The rows from a position on. Raises DataDamaged when one is missing, out of order or not in its stream."""
        appended_at = None
        for row in self.rows(first):
            if appended_at is not None and row.appended_at < appended_at:
                raise DataDamaged(self._database.path, f"row {row.position} of the log is older than the one before")
            if self.position(row.stream, row.version) != row.position:
                raise DataDamaged(self._database.path, f"row {row.position} of the log is not in its stream")
            appended_at = row.appended_at
            yield row

    def _unpack(self, key: bytes, value: bytes) -> Row:
        try:
            return unpack_row(key, value)
        except ValueError as error:
            raise DataDamaged(self._database.path, f"row {int.from_bytes(key, 'big')} of the log: {error}") from error
