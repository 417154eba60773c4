"""The log of decisions on RocksDB: refuses what lost at the door, and shares one fsync among concurrent appends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from taskscheduler.commands.ports import Entry, LogUnavailable, Receipt
from taskscheduler.domain.decision import Record, Verdict, judge
from taskscheduler.domain.values import Instant
from taskscheduler.streams.codec import Unreadable, decode_record, encode_record
from taskscheduler.streams.rocksdb.database import Batch, Database
from taskscheduler.streams.rocksdb.refusals import ACCEPT_LOSS, DataDamaged
from taskscheduler.streams.rocksdb.rows import LogRows, Row
from taskscheduler.streams.rocksdb.tail import Tail

DECISION_TOPIC = "taskscheduler.domain.decision:Record"
PARTITION = 0
CHECKPOINT_EVERY = 65_536
RECENT_STREAMS = 8_192
"""Streams whose version is known without asking the database; up to twice as many."""


class _Group:
    """What is made durable by one fsync, and who waits for it."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.batch = Batch()
        self.entries: list[tuple[Entry, int]] = []
        self.versions: dict[str, int] = {}
        self.waiting: list[asyncio.Future[None]] = []

    def resolve(self, error: Exception | None = None) -> None:
        for done in self.waiting:
            if not done.done():
                done.set_result(None) if error is None else done.set_exception(error)


class RocksEventLog:
    """DecisionLog of one partition. Raises DataDamaged when the sequence since the last checkpoint is not whole.

    Nor may it end before what was acknowledged.

    `clock` gives the instant of an append; one that goes back is held at the last. `observe` is called for every
    fsync with the seconds since its first append came and the number of records. `failed` says why nothing more is
    appended, None while all is well.
    """

    def __init__(
        self, database: Database, clock: Callable[[], Instant], observe: Callable[[float, int], None] | None = None
    ) -> None:
        self._database = database
        self._rows = LogRows(database)
        self._clock = clock
        self._observe = observe
        last = self._rows.check_sequence()
        self._durable = self._written = last.position if last else 0
        if (cut := database.cut_short(self._durable)) is not None:
            raise DataDamaged(database.path, cut, ACCEPT_LOSS)
        self._last_append: Instant = last.appended_at if last else 0
        self._checkpoint = self._rows.checkpoint()
        self._tail = Tail()
        self._versions: dict[str, int] = {}
        self._older: dict[str, int] = {}
        self._grown = asyncio.Event()
        self._waiting = 0
        self.follower: Callable[[list[Entry]], None] | None = None
        """Given every entry as soon as it is durable, before its append returns. Must not raise."""
        self._group: _Group | None = None
        self._flusher: asyncio.Task[None] | None = None
        self._failed: str | None = None

    @property
    def failed(self) -> str | None:
        """Why the log takes nothing more, None while it does."""
        return self._failed or self._database.failed

    async def append(self, records: Sequence[Record]) -> list[Receipt]:
        """Append durably, in order; one receipt each. Raises LogUnavailable."""
        if self.failed is not None:
            raise LogUnavailable(self.failed)
        loop = asyncio.get_running_loop()
        group = self._group
        if group is None:
            group = _Group(loop.time())
        now = self._last_append = max(self._clock(), self._last_append)
        receipts = [self._take(group, record, now) for record in records]
        # A refusal may rest on a record that is not durable yet: it is told no sooner than that one.
        if group.entries or self._flusher is not None:
            done: asyncio.Future[None] = loop.create_future()
            group.waiting.append(done)
            self._group = group
            if self._flusher is None:
                self._flusher = loop.create_task(self._flush())
            await done
        return receipts

    def _take(self, group: _Group, record: Record, now: Instant) -> Receipt:
        version = group.versions.get(record.stream)
        if version is None:
            version = self._versions.get(record.stream) or self._older.get(record.stream)
        if version is None:
            version = self._rows.last_version(record.stream) or 0
        verdict = judge(version, record, now)
        if verdict is not Verdict.ACCEPTED:
            return Receipt(PARTITION, None, now, verdict)
        state = encode_record(record)
        position = self._written + 1
        self._rows.put(group.batch, Row(position, now, record.stream, version + 1, DECISION_TOPIC, state))
        group.versions[record.stream] = version + 1
        group.entries.append((Entry(PARTITION, position, now, record), len(state)))
        self._written = position
        return Receipt(PARTITION, position, now)

    async def _flush(self) -> None:
        try:
            while (group := self._group) is not None:
                self._group = None
                try:
                    if group.entries:
                        await self._store(group)
                except BaseException as error:
                    self._fail(group, error)
                    raise
                group.resolve()
        except Exception:
            pass  # every append that waits has been told, and `failed` says why
        finally:
            self._flusher = None

    async def _store(self, group: _Group) -> None:
        if self._durable - self._checkpoint >= CHECKPOINT_EVERY:
            self._checkpoint = self._durable
            self._rows.put_checkpoint(group.batch, self._checkpoint)
        self._database.write(group.batch)
        if len(self._versions) > RECENT_STREAMS:
            self._older, self._versions = self._versions, {}
        self._versions.update(group.versions)
        await self._database.sync()
        for entry, size in group.entries:
            self._tail.add(entry, size)
        self._durable = group.entries[-1][0].position
        self._database.acknowledged(self._durable)
        if self.follower is not None:
            self.follower([entry for entry, _ in group.entries])
        if self._waiting:
            grown, self._grown = self._grown, asyncio.Event()
            grown.set()
        if self._observe is not None:
            self._observe(asyncio.get_running_loop().time() - group.since, len(group.entries))

    def _fail(self, group: _Group, error: BaseException) -> None:
        self._failed = str(error) or type(error).__name__
        for lost in (group, self._group):
            if lost is not None:
                lost.resolve(LogUnavailable(self._failed))
        self._group = None

    async def read(self, partition: int, after: int, limit: int) -> list[Entry]:
        """Up to `limit` durable entries above `after`, in order; empty at the end.

        Raises DataDamaged, and UnknownEvent for what a newer release wrote.
        """
        self._check(partition)
        if after >= self._durable or limit <= 0:
            return []
        kept = self._tail.read(after, limit)
        if kept is not None:
            return kept
        return [_entry(row) for row in self._rows.rows(after + 1, min(after + limit, self._durable))]

    async def wait(self, partition: int, after: int) -> None:
        """Returns when an entry above `after` can be read."""
        self._check(partition)
        while self._durable <= after:
            self._waiting += 1
            try:
                await self._grown.wait()
            finally:
                self._waiting -= 1

    async def end(self, partition: int) -> int:
        """The position of the last durable entry, 0 when there is none."""
        self._check(partition)
        return self._durable

    def partition_of(self, stream: str) -> int:
        """The partition that holds the stream."""
        return PARTITION

    async def close(self) -> None:
        """Refuses further appends, finishes those under way and sets the checkpoint. The database stays open."""
        if self._failed is not None:
            return
        if self._flusher is not None:
            self._failed = "the log is closing"
            await self._flusher
        self._failed = "the log is closed"
        if self._database.failed is None:
            batch = Batch()
            self._rows.put_checkpoint(batch, self._durable)
            self._database.write(batch)
            await self._database.sync()

    def _check(self, partition: int) -> None:
        if partition != PARTITION:
            raise ValueError(f"there is no partition {partition}")


def _entry(row: Row) -> Entry:
    if row.topic != DECISION_TOPIC:
        raise Unreadable(f"row {row.position} of the log is a {row.topic}, not a decision")
    return Entry(PARTITION, row.position, row.appended_at, decode_record(row.state))
