"""Where a log is read from by tools: from anywhere, in bulk, as it lies there or decoded."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol
from zlib import crc32

import msgspec

from taskscheduler.commands.ports import Entry
from taskscheduler.domain.values import Instant
from taskscheduler.streams.codec import decode_record
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.event_log import DECISION_TOPIC
from taskscheduler.streams.rocksdb.refusals import DataDamaged
from taskscheduler.streams.rocksdb.rows import LogRows, Row

BATCH = 1_000


class Share(msgspec.Struct, frozen=True):
    """The streams that are number `number` of `of` shares, whatever their partition."""

    number: int = 0
    of: int = 1

    def holds(self, stream: str) -> bool:
        """Whether the stream is in this share."""
        return self.of == 1 or crc32(stream.encode()) % self.of == self.number


WHOLE = Share()


class Raw(NamedTuple):
    """A record as it lies on the log. `written_at` is when it was appended to the first log that held it."""

    partition: int
    position: int
    appended_at: Instant
    data: bytes
    written_at: Instant


class Source(Protocol):
    """A log to read. `log_id` names it."""

    log_id: str
    partitions: int

    async def ends(self) -> Mapping[int, int]:
        """By partition, the position of the last record."""
        ...

    def raw(self, partition: int, after: int, to: int) -> AsyncGenerator[list[Raw]]:
        """What lies at the positions after < p <= to, in order; nothing for what no reader can take."""
        ...

    def entries(self, partition: int, after: int, to: int, share: Share = WHOLE) -> AsyncGenerator[list[Entry]]:
        """The same decoded, of the streams in a share. Raises UnknownEvent for what a newer release wrote."""
        ...


class RocksSource:
    """The log in a data directory, as it stands now. Raises DataRefused."""

    partitions = 1

    def __init__(self, database: Database) -> None:
        self._path: Path = database.path
        self._rows = LogRows(database)
        self.log_id = database.format.log_id

    async def ends(self) -> Mapping[int, int]:
        """By partition, the position of the last record."""
        last = self._rows.last()
        return {0: 0 if last is None else last.position}

    async def raw(self, partition: int, after: int, to: int) -> AsyncGenerator[list[Raw]]:
        """What lies at the positions after < p <= to, in order."""
        batch: list[Raw] = []
        for row in self._decisions(after, to):
            batch.append(Raw(partition, row.position, row.appended_at, row.state, row.appended_at))
            if len(batch) >= BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    async def entries(self, partition: int, after: int, to: int, share: Share = WHOLE) -> AsyncGenerator[list[Entry]]:
        """The same decoded, of the streams in a share. Raises UnknownEvent for what a newer release wrote."""
        batch: list[Entry] = []
        for row in self._decisions(after, to):
            if share.holds(row.stream):
                batch.append(Entry(partition, row.position, row.appended_at, decode_record(row.state)))
                if len(batch) >= BATCH:
                    yield batch
                    batch = []
        if batch:
            yield batch

    def _decisions(self, after: int, to: int) -> Iterator[Row]:
        if to <= after:
            return
        for row in self._rows.rows(after + 1, to):
            if row.topic != DECISION_TOPIC:
                raise DataDamaged(self._path, f"row {row.position} of the log is a {row.topic}, not a decision")
            yield row
