"""Folds one partition of the log for the read models, in a state of its own.

Everything that is projected is first folded, so a row needs the state before and after its record. The state on disk
is never ahead of what the read models hold: then what is missing there can always be folded again.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from taskscheduler.commands.ports import DecisionLog
from taskscheduler.domain.decision import FOLD_VERSION, AnyAccepted
from taskscheduler.domain.values import Instant
from taskscheduler.projections.ports import ViewStore
from taskscheduler.projections.projector import Projector
from taskscheduler.streams.looking import until
from taskscheduler.streams.replica import LogDiverged, Replica
from taskscheduler.streams.rocksdb.buffer import Buffer
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.refusals import DataDamaged
from taskscheduler.streams.rocksdb.state_store import FAMILIES, StateStore

BATCH = 1_000
SLICE = 100
"""Records that are folded before anything else gets a turn."""

KEEP_EVERY = 10.0
"""Seconds between two writes of the state to disk: what came since is folded again after a crash."""

KEEP_ROWS = 20_000
"""Rows of the state that wait in memory for that, at most."""

HANDED_OVER = 10.0
"""Seconds that the read models have to come up to a state that is ahead of them, before that is made anew."""

logger = structlog.get_logger("taskscheduler")


class FarViews(ViewStore, Protocol):
    """Read models that are written from afar; see CassandraViews."""

    async def take(self, partition: int) -> int: ...
    def reach(self, partition: int, position: int) -> None: ...
    async def flush(self) -> dict[int, int]: ...
    async def sweep(self) -> None: ...
    @property
    def pending(self) -> int: ...


class Lag(msgspec.Struct, frozen=True):
    """How far the read models are behind the log: in records, and in the age of the first one that they lack."""

    records: int = 0
    seconds: float = 0.0


class Turns(Protocol):
    """How a follower keeps pace with who writes; see Projecting."""

    def changed(self) -> None:
        """There is something to write."""
        ...

    async def room(self) -> None:
        """Returns when not too much waits to be written."""
        ...

    def well(self, partition: int) -> None:
        """The partition is being followed."""
        ...


class Follower:
    """One partition of the log, from the first record that the read models lack on."""

    def __init__(
        self, log: DecisionLog, views: FarViews, partition: int, path: Path, turns: Turns, clock: Callable[[], Instant]
    ) -> None:
        self._log = log
        self._views = views
        self._partition = partition
        self._path = path
        self._turns = turns
        self._clock = clock
        self.saved = 0
        self._saved_changed = asyncio.Event()
        self._unsaved: deque[tuple[int, Instant]] = deque()
        self.position = 0
        self.end = 0

    @property
    def lag(self) -> Lag:
        """As far as the end of the log is known here."""
        records = max(0, self.end - self.saved)
        if not records or not self._unsaved:
            return Lag(records)
        return Lag(records, max(0, self._clock() - self._unsaved[0][1]) / 1000)

    def wrote(self, position: int) -> None:
        """The read models hold everything up to here."""
        self.saved = max(self.saved, position)
        while self._unsaved and self._unsaved[0][0] <= position:
            self._unsaved.popleft()
        self._saved_changed.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        self.wrote(await self._views.take(self._partition))
        database = await self._open()
        try:
            await self._follow(_Held(StateStore(Buffer(database))))
        finally:
            database.close()

    async def _open(self) -> Database:
        try:
            return Database(self._path, FAMILIES)
        except DataDamaged as error:
            logger.warning("folding a partition anew", partition=self._partition, reason=str(error))
            await asyncio.to_thread(shutil.rmtree, self._path)
            return Database(self._path, FAMILIES)

    async def _follow(self, store: _Held) -> None:
        replica = await self._replica(store)
        kept_at = time.monotonic()
        try:
            while True:
                entries = await self._log.read(self._partition, replica.position, BATCH)
                self._turns.well(self._partition)
                if not entries:
                    await self._log.wait(self._partition, replica.position)
                    continue
                self.end = max(self.end, entries[-1].position)
                for at in range(0, len(entries), SLICE):
                    await self._turns.room()
                    some = entries[at : at + SLICE]
                    replica.fold(some)
                    self.position = replica.position
                    if replica.position > self.saved:
                        self._unsaved.append((replica.position, some[0].appended_at))
                        self._views.reach(self._partition, replica.position)
                        self._turns.changed()
                    await asyncio.sleep(0)
                if store.waiting >= KEEP_ROWS or time.monotonic() - kept_at >= KEEP_EVERY:
                    await until(lambda: self.saved >= replica.position, self._saved_changed)
                    store.keep(replica)
                    kept_at = time.monotonic()
        finally:
            replica.flush()
            if replica.position <= self.saved:
                store.keep(replica)

    async def _replica(self, store: _Held) -> Replica:
        """A replica that is not ahead of the read models, in a state that belongs to this log."""
        ahead = store.position().position
        if store.position().fold_version != FOLD_VERSION:
            store.start_over()
        elif ahead > self.saved and not await self._handed_over(ahead):
            logger.warning(
                "folding a partition anew", partition=self._partition, reason="the read models are behind it"
            )
            store.start_over()
        replica = self._new(store)
        try:
            await replica.check()
        except LogDiverged as error:
            logger.warning("folding a partition anew", partition=self._partition, reason=str(error))
            store.start_over()
            replica = self._new(store)
        return replica

    def _new(self, store: _Held) -> Replica:
        observer = _Lacking(self._views, lambda: self.saved)
        return Replica(self._log, store, (observer,), partition=self._partition, flush_after=3600.0)

    async def _handed_over(self, position: int) -> bool:
        """Whether somebody else brings the read models up to here: who makes a new generation follows for a while."""
        deadline = time.monotonic() + HANDED_OVER
        while self.saved < position and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
            self.wrote(await self._views.take(self._partition))
        return self.saved >= position


class _Lacking:
    """Projects what the read models lack."""

    def __init__(self, views: FarViews, saved: Callable[[], int]) -> None:
        self._projector = Projector(views)
        self._saved = saved

    def apply(self, accepted: Sequence[AnyAccepted]) -> None:
        saved = self._saved()
        if accepted[0].position <= saved:
            accepted = [one for one in accepted if one.position > saved]
        self._projector.apply(accepted)


class _Held:
    """A state store that writes when it is told to, not when its replica would."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._keeping = False
        self.load, self.save = store.load, store.save
        self.position, self.set_position = store.position, store.set_position
        self.start_over = store.start_over

    @property
    def dirty(self) -> int:
        return 0

    @property
    def waiting(self) -> int:
        """Rows that wait to be written."""
        return self._store.dirty

    def flush(self) -> int:
        return self._store.flush() if self._keeping else 0

    def keep(self, replica: Replica) -> None:
        """Write the state of the replica, unless a fold that failed has torn it."""
        self._keeping = True
        try:
            replica.flush()
        finally:
            self._keeping = False
