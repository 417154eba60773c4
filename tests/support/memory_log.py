"""A log of decisions in memory that can be as unkind as Kafka, and a follower that folds it when it is let."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count

from taskscheduler.commands.ports import Entry, LogUnavailable, Receipt
from taskscheduler.domain.decision import Record, Verdict, fold, judge
from taskscheduler.domain.entities import Entity, empty, id_of
from taskscheduler.streams.codec import decode_record, encode_record

PARTITION = 0


class MemoryLog:
    """Implements DecisionLog, one partition.

    `refuses`: judges at the door as an embedded log does; otherwise everything lands and readers judge.
    `down`: takes nothing. `loses_replies`: takes records but never says so. `duplicates`: a producer that resends.
    `held`: appends wait until it is set again. `failing`, `losing`: numbers of appends, from 1,
    that it does not take or does not answer.
    """

    def __init__(self, clock: Callable[[], int] | None = None, *, refuses: bool = False) -> None:
        ticks = count(1_700_000_000_000)
        self.clock = clock or (lambda: next(ticks))
        self.refuses = refuses
        self.down = self.loses_replies = self.duplicates = False
        self.held = asyncio.Event()
        self.held.set()
        self.entries: list[Entry] = []
        self.followers: list[Callable[[], None]] = []
        self.appends = 0
        self.failing: set[int] = set()
        self.losing: set[int] = set()
        self._versions: dict[str, int] = {}
        self._grown = asyncio.Event()

    @property
    def records(self) -> list[Record]:
        return [entry.record for entry in self.entries if entry.record is not None]

    async def append(self, records: Sequence[Record]) -> list[Receipt]:
        """Append, as the switches say."""
        self.appends += 1
        number = self.appends
        await self.held.wait()
        if self.down or number in self.failing:
            raise LogUnavailable("the log is down")
        receipts = [self.land(record) for record in records]
        if self.duplicates:
            for record in records:
                self.land(record)
        self._tell()
        if self.loses_replies or number in self.losing:
            raise LogUnavailable("the reply was lost")
        return receipts

    def land(self, record: Record) -> Receipt:
        """Put a record at the end."""
        now = max(self.clock(), self.entries[-1].appended_at if self.entries else 0)
        verdict = judge(self._versions.get(record.stream, 0), record, now)
        if verdict is Verdict.ACCEPTED:
            self._versions[record.stream] = record.expected_version + 1
        elif self.refuses:
            return Receipt(PARTITION, None, now, verdict)
        position = len(self.entries) + 1
        self.entries.append(Entry(PARTITION, position, now, decode_record(encode_record(record))))
        return Receipt(PARTITION, position, now)

    def _tell(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()
        for follow in self.followers:
            follow()

    async def read(self, partition: int, after: int, limit: int) -> list[Entry]:
        """Entries above a position."""
        return self.entries[after : after + limit]

    async def wait(self, partition: int, after: int) -> None:
        """Until there is an entry above a position."""
        while len(self.entries) <= after:
            await self._grown.wait()

    async def end(self, partition: int) -> int:
        """The last position."""
        if self.down:
            raise LogUnavailable("the log is down")
        return len(self.entries)

    def partition_of(self, stream: str) -> int:
        """There is only one."""
        return PARTITION


class Follower:
    """Implements Folded. Folds whatever lands at once, or only in `step` while `held`."""

    def __init__(self, log: MemoryLog, *, held: bool = False) -> None:
        self.log = log
        self.held = held
        self.position = 0
        self.tasks: dict[str, Entity] = {}
        self.verdicts: list[Verdict] = []
        self._expected: dict[str, tuple[asyncio.Future[list[Verdict]], list[Verdict], int, list[int]]] = {}
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        log.followers.append(self._follow)

    def _follow(self) -> None:
        if not self.held:
            self.step()

    def release(self) -> None:
        """Fold what there is, and from now on at once."""
        self.held = False
        self.step()

    def step(self, limit: int | None = None) -> None:
        """Fold the next entries."""
        for entry in self.log.entries[self.position :][:limit]:
            self.position = entry.position
            if (record := entry.record) is None:
                continue
            task_id = id_of(record.stream)
            self.tasks[task_id], verdict = fold(self.state(task_id), record, entry.appended_at)
            self.verdicts.append(verdict)
            self._resolve(record.record_id, verdict)
        for position, future in self._waiting:
            if position <= self.position and not future.done():
                future.set_result(None)

    def _resolve(self, record_id: str, verdict: Verdict) -> None:
        if (found := self._expected.pop(record_id, None)) is None:
            return
        future, verdicts, index, left = found
        verdicts[index] = verdict
        left[0] -= 1
        if not left[0] and not future.done():
            future.set_result(verdicts)

    def state(self, id: str) -> Entity:
        """As far as folded."""
        return self.tasks.get(id) or empty(id)

    def expect(self, record_ids: Sequence[str]) -> Awaitable[list[Verdict]]:
        """Verdicts on first occurrences."""
        future: asyncio.Future[list[Verdict]] = asyncio.get_running_loop().create_future()
        verdicts, left = [Verdict.CONFLICT] * len(record_ids), [len(record_ids)]
        for index, record_id in enumerate(record_ids):
            self._expected[record_id] = (future, verdicts, index, left)
        return future

    def drafted(self, record: Record, before: Entity, after: Entity) -> None:
        """Folds for itself, so that a draft that differs would show."""

    def token(self, task_id: str) -> str:
        """As far as folded."""
        return f"{PARTITION}:{self.position}"

    async def caught_up(self, task_id: str) -> None:
        """The read barrier."""
        end = await self.log.end(PARTITION)
        if self.position < end:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((end, future))
            await future
