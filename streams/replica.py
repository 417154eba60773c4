"""A replica: folds a partition of the log into keyed state and tells observers what was accepted.

It goes on from its own position after a restart. State, what observers derived, and the position are flushed in one
write, so they never disagree on disk.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Iterable, Sequence
from typing import Protocol

import msgspec

from taskscheduler.commands.ports import DecisionLog, Entry
from taskscheduler.domain import events as ev
from taskscheduler.domain.decision import FOLD_VERSION, AnyAccepted, Record, Verdict, accepted_as, fold, judge
from taskscheduler.domain.entities import Entity, empty, id_of
from taskscheduler.domain.values import Instant
from taskscheduler.streams.expectations import Expectations
from taskscheduler.streams.observer import Observer

BATCH = 1_000
LONGEST_PUT_OFF = 25
"""How many times a flush is put off while there is a rush."""


_OF_A_RUN = (
    ev.RunQueued,
    ev.RunRequeued,
    ev.GrantsRevoked,
    ev.AttemptClaimed,
    ev.AttemptRenewed,
    ev.AttemptSucceeded,
    ev.AttemptFailed,
    ev.RunFailed,
    ev.AttemptReleased,
    ev.ReportedLate,
    ev.RunCancelled,
)


class Kept(msgspec.Struct, frozen=True, gc=False):
    """What a replica keeps of a stream: its state, its one timer, and a hash over the ids of accepted records."""

    state: Entity
    wakeup: Instant | None = None
    chain: str = ""


class Position(msgspec.Struct, frozen=True, gc=False):
    """Up to where the log is folded, by which rules, and the id of the record that stands there."""

    position: int = 0
    record_id: str = ""
    fold_version: int = FOLD_VERSION


class Store(Protocol):
    """Where a replica keeps its state."""

    def load(self, id: str) -> Kept | None: ...
    def save(self, id: str, kept: Kept, run_ids: Iterable[str], keys: Iterable[str]) -> None: ...
    def position(self) -> Position: ...
    def set_position(self, position: Position) -> None: ...
    def flush(self) -> int: ...
    @property
    def dirty(self) -> int: ...


class LogDiverged(Exception):
    """The log does not hold the record that the replica saw last: it is another log, or was cut."""


class Replica:
    """Follows one partition of the log. `run` is its loop; everything else is called on the same event loop."""

    def __init__(
        self,
        log: DecisionLog,
        store: Store,
        observers: Sequence[Observer] = (),
        *,
        partition: int = 0,
        flush_rows: int = 20_000,
        flush_after: float = 0.02,
        expectations: Expectations | None = None,
    ) -> None:
        self._log = log
        self._store = store
        self._observers = list(observers)
        self._partition = partition
        self._flush_rows = flush_rows
        self._flush_after = flush_after
        self._position = store.position()
        self._expectations = Expectations() if expectations is None else expectations
        self._reached: list[tuple[int, asyncio.Future[None]]] = []
        self._flush_timer: asyncio.TimerHandle | None = None
        self._torn = False
        self.failure: str | None = None

    @property
    def position(self) -> int:
        """The position of the last record folded."""
        return self._position.position

    def observe(self, observer: Observer) -> None:
        """Add an observer; it sees what is folded from now on."""
        self._observers.append(observer)

    def state(self, id: str) -> Entity:
        """The state of what has this id as far as the log is folded."""
        kept = self._store.load(id)
        return empty(id) if kept is None else kept.state

    def expect(self, record_ids: Sequence[str]) -> Awaitable[list[Verdict]]:
        """Resolves to the verdicts on the first occurrence of each record."""
        return self._expectations.expect(record_ids)

    def drafted(self, record: Record, before: Entity, after: Entity) -> None:
        """Spares folding the record once more, if it is accepted on this very state."""
        self._expectations.drafts[record.record_id] = (before, after)

    def token(self, id: str) -> str:
        """Up to where the log is folded; a reader that is there sees what this replica does."""
        return f"{self._partition}:{self._position.position}"

    async def caught_up(self, id: str) -> None:
        """The read barrier: returns when what is on the partition now is folded."""
        await self.reached(await self._log.end(self._partition))

    async def reached(self, position: int) -> None:
        """Returns when the record at `position` is folded."""
        if self._position.position >= position:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reached.append((position, future))
        await future

    async def check(self) -> None:
        """Re-read the record at the own position and compare. Raises LogDiverged."""
        mine = self._position
        if mine.position == 0:
            return
        entries = await self._log.read(self._partition, mine.position - 1, 1)
        found = _name(entries[0]) if entries else None
        if found != mine.record_id:
            raise LogDiverged(
                f"the log holds {found or 'nothing'} at position {mine.position} where the state was folded from "
                f"{mine.record_id}: the data directory does not belong together; restore it whole from a backup"
            )

    async def catch_up(self) -> int:
        """Fold everything that is on the log now; how many records there were."""
        start = self._position.position
        while entries := await self._log.read(self._partition, self._position.position, BATCH):
            self.fold(entries)
        return self._position.position - start

    def follow(self, entries: Sequence[Entry]) -> None:
        """Fold what has just come onto the log; takes the place of `run` where the log can tell. Never raises."""
        if self.failure is not None or entries[0].position != self._position.position + 1:
            return
        try:
            self.fold(entries)
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"
            asyncio.get_running_loop().call_exception_handler({"message": "the replica failed", "exception": error})

    async def run(self) -> None:
        """Follow the log until cancelled."""
        try:
            while True:
                await self._log.wait(self._partition, self._position.position)
                await self.catch_up()
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"
            raise

    def fold(self, entries: Sequence[Entry]) -> None:
        """Fold entries that follow the own position, tell the observers, resolve who waits for verdicts."""
        store, accepted = self._store, list[AnyAccepted]()
        drafts, expected = self._expectations.drafts, self._expectations.expected
        verdicts: list[tuple[str, Verdict]] = []
        self._torn = True
        for entry in entries:
            record = entry.record
            if record is None:
                continue
            record_id = record.record_id
            draft = drafts.pop(record_id, None)
            id = id_of(record.stream) if draft is None else draft[0].id
            kept = store.load(id) or Kept(empty(id))
            before = kept.state
            if draft is not None and draft[0] is before:
                verdict = judge(before.version, record, entry.appended_at)
                after = draft[1] if verdict is Verdict.ACCEPTED else before
            else:
                after, verdict = fold(before, record, entry.appended_at)
            if verdict is Verdict.ACCEPTED:
                chain = chain_of(kept.chain, record_id)
                run_ids = {e.run_id for e in record.events if isinstance(e, _OF_A_RUN)}
                keys = before.keys.keys() ^ after.keys.keys() if before.keys is not after.keys else ()
                store.save(id, Kept(after, record.wakeup, chain), run_ids, keys)
                accepted.append(
                    accepted_as(entry.partition, entry.position, entry.appended_at, record, before, after, kept.wakeup)
                )
            if record_id in expected:
                verdicts.append((record_id, verdict))
        if accepted:
            for observer in self._observers:
                observer.apply(accepted)
        last = entries[-1]
        self._position = Position(last.position, _name(last))
        store.set_position(self._position)
        self._torn = False
        for record_id, verdict in verdicts:
            self._expectations.resolve(record_id, verdict)
        if self._reached:
            self._release()
        self._flush_when_due()

    def flush(self) -> None:
        """Write state, derived rows and position, now; never a part of what a fold that failed has left."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if not self._torn:
            self._store.flush()

    def _flush_when_due(self) -> None:
        loop = asyncio.get_running_loop()
        if self._store.dirty >= self._flush_rows:
            if self._flush_timer is not None:
                self._flush_timer.cancel()
            # Not at once: who was just told a verdict goes first.
            self._flush_timer = loop.call_later(0.0, self.flush)
        elif self._flush_timer is None:
            self._flush_timer = loop.call_later(self._flush_after, self._flush_unless_busy, 1)

    def _flush_unless_busy(self, asked: int) -> None:
        # Small flushes keep pauses short. In a rush, a row that waits a little is changed again and written once.
        if self._store.dirty <= self._flush_rows // 6 or asked >= LONGEST_PUT_OFF:
            self.flush()
            return
        self._flush_timer = asyncio.get_running_loop().call_later(self._flush_after, self._flush_unless_busy, asked + 1)

    def _release(self) -> None:
        waiting, self._reached = self._reached, []
        for position, future in waiting:
            if position > self._position.position:
                self._reached.append((position, future))
            elif not future.done():
                future.set_result(None)


def chain_of(before: str, record_id: str) -> str:
    """The hash over the ids of accepted records, one more of them."""
    return hashlib.blake2b((before + record_id).encode(), digest_size=8).hexdigest()


def _name(entry: Entry) -> str:
    return "" if entry.record is None else entry.record.record_id
