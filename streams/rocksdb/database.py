"""One RocksDB directory, shared by the log, the replica's state, its timers and the read models."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType

import msgspec
from rocksdict import AccessType, Cache, ColumnFamily, Rdict, ReadOptions, WriteBatch

from taskscheduler.streams.rocksdb.high_water import HighWater
from taskscheduler.streams.rocksdb.inspection import find_families, refusal
from taskscheduler.streams.rocksdb.lockfile import DirectoryLock
from taskscheduler.streams.rocksdb.options import BLOCK_CACHE, database_options, family_options
from taskscheduler.streams.rocksdb.refusals import DataDamaged, DataDirUnusable, StorageFailed
from taskscheduler.streams.rocksdb.sync_thread import SyncThread

FORMAT = 1
META = "meta"
_FORMAT_KEY = b"format"

_log = logging.getLogger("taskscheduler")


class Format(msgspec.Struct, frozen=True, gc=False):
    """What the directory holds. `log_id` is drawn at creation and names this log for ever."""

    format: int
    log_id: str
    partitions: int


class Family:
    """One column family: an ordered map of bytes. Sees every `write` at once, synced or not."""

    def __init__(self, database: Database, name: str, rows: Rdict, handle: ColumnFamily) -> None:
        self.name = name
        self.handle = handle
        self._database = database
        self._rows = rows

    def get(self, key: bytes) -> bytes | None:
        """The value of a key. Raises DataDamaged, StorageFailed after a close."""
        try:
            value: bytes | None = self._rows.get(key)
        except Exception as error:
            raise self._database.unreadable(error) from error
        return value

    def scan(
        self, start: bytes = b"", end: bytes | None = None, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) of start <= key < end as of the call of the first `next`, ascending or descending.

        Raises DataDamaged, StorageFailed after a close. A scan that is neither finished nor dropped keeps the
        directory locked.
        """
        bounds = ReadOptions()
        if end is not None:
            bounds.set_iterate_upper_bound(end)
        try:
            rows = self._rows.iter(bounds)
        except Exception as error:
            raise self._database.unreadable(error) from error
        if not reverse:
            rows.seek(start)
        elif end is None:
            rows.seek_to_last()
        else:
            rows.seek_for_prev(end)
        step = rows.prev if reverse else rows.next
        left = -1 if limit is None else limit
        while left != 0 and rows.valid():
            key: bytes = rows.key()
            if reverse and key < start:
                return
            yield key, rows.value()
            left -= 1
            step()
        # An iterator just ends at a block it cannot read: without this the rest of the data would look absent.
        try:
            rows.status()
        except Exception as error:
            raise self._database.unreadable(error) from error

    def close(self) -> None:
        """Writes what is only in memory into a table file, and drops what keeps the database open."""
        with contextlib.suppress(Exception):  # what could not be flushed is in the write-ahead log
            self._rows.close()
        del self.handle


class Batch:
    """Changes to several families, all or none."""

    __slots__ = ("raw",)

    def __init__(self) -> None:
        self.raw = WriteBatch(raw_mode=True)

    def __len__(self) -> int:
        return len(self.raw)

    def put(self, family: Family, key: bytes, value: bytes) -> None:
        """Sets a key."""
        self.raw.put(key, value, family.handle)

    def delete(self, family: Family, key: bytes) -> None:
        """Removes a key; nothing when it is absent."""
        self.raw.delete(key, family.handle)

    def delete_range(self, family: Family, start: bytes, end: bytes) -> None:
        """Removes every key with start <= key < end."""
        self.raw.delete_range(start, end, family.handle)


class Database:
    """Opens or creates the directory. Raises DataDirInUse, DataDamaged, DataDirUnusable.

    A `write` survives the end of the process at once, and the loss of power once a later `sync` has returned.
    After a failed write or sync all further ones are refused, and `failed` says why: what the disk holds is unknown
    until it is read again. `damaged` says what could not be read while serving. `syncs` counts the fsyncs.

    One that is `read_only` has the families that are there, as they stand at the opening, and keeps nobody out: another
    process may serve from the directory meanwhile. It has to be there.
    """

    def __init__(
        self, path: Path, families: Iterable[str], *, accept_loss: bool = False, read_only: bool = False
    ) -> None:
        self.path = path
        self.failed: str | None = None
        self.damaged: str | None = None
        self.syncs = 0
        self._closed = False
        self._syncing = False
        self._waiting: list[asyncio.Future[None]] = []
        self._families: dict[str, Family] = {}
        self._syncer = SyncThread(self.sync_now)
        self._lock = None if read_only else self._take(path)
        try:
            present = find_families(path, accept_loss)
            if read_only and not present:
                raise DataDirUnusable(path, "there is no data in it")
            names = sorted({*present, *(() if read_only else (META, *families))} - {"default"})
            self._db = self._open(names, accept_loss, read_only)
            self._high_water = None if read_only else self._mark(path, accept_loss)
        except BaseException:
            self._release()
            raise
        for name in names:
            handle = self._db.get_column_family_handle(name)
            self._families[name] = Family(self, name, self._db.get_column_family(name), handle)
        try:
            self.format = self._read_format()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _take(path: Path) -> DirectoryLock:
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            return DirectoryLock(path)
        except OSError as error:
            raise DataDirUnusable(path, error.strerror or str(error)) from error

    @staticmethod
    def _mark(path: Path, accept_loss: bool) -> HighWater:
        try:
            return HighWater(path, forget=accept_loss)
        except OSError as error:
            raise DataDirUnusable(path, error.strerror or str(error)) from error

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _open(self, names: list[str], accept_loss: bool, read_only: bool) -> Rdict:
        cache = Cache(BLOCK_CACHE)
        families = {name: family_options(cache, name) for name in names}
        options = database_options(cache, accept_loss)
        try:
            if not read_only:
                return Rdict(str(self.path), options, families)
            # Every file is held open from the start: who serves may delete it meanwhile.
            options.set_max_open_files(-1)
            options.create_if_missing(False)
            options.create_missing_column_families(False)
            with tempfile.TemporaryDirectory() as elsewhere:
                options.set_db_log_dir(elsewhere)
                return Rdict(str(self.path), options, families, AccessType.read_only())
        except Exception as error:
            raise refusal(self.path, error) from error

    def _read_format(self) -> Format:
        meta = self.family(META)
        stored = meta.get(_FORMAT_KEY)
        if stored is None:
            if any(next(family.scan(limit=1), None) for family in self._families.values()):
                raise DataDamaged(self.path, "its description (format and log id) is missing beside data")
            fresh = Format(FORMAT, uuid.uuid4().hex, 1)
            batch = Batch()
            batch.put(meta, _FORMAT_KEY, msgspec.json.encode(fresh))
            self.write(batch)
            self.sync_now()
            return fresh
        try:
            found = msgspec.json.decode(stored, type=Format)
        except msgspec.DecodeError as error:
            raise DataDamaged(self.path, f"its description (format and log id) cannot be read: {error}") from error
        if found.format != FORMAT or found.partitions != 1:
            raise DataDirUnusable(
                self.path,
                f"it has format {found.format} with {found.partitions} partition(s) and this release serves "
                f"format {FORMAT} with 1",
            )
        return found

    @property
    def families(self) -> list[Family]:
        """Every column family there is, wanted at opening or not."""
        return list(self._families.values())

    def family(self, name: str) -> Family:
        """The column family of a name given at opening."""
        return self._families[name]

    def write(self, batch: Batch) -> None:
        """Applies the batch, all or none. Raises StorageFailed."""
        if self.failed is not None:
            raise StorageFailed(self.failed)
        try:
            self._db.write(batch.raw)
        except Exception as error:
            raise self._fail("a write failed", error) from error

    async def sync(self) -> None:
        """Returns when everything written before the call is on disk; concurrent calls share. Raises StorageFailed."""
        if self.failed is not None:
            raise StorageFailed(self.failed)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        if not self._syncing:
            self._start_sync()
        await done

    def sync_now(self) -> None:
        """As `sync`, blocking the thread that calls."""
        if self.failed is not None:
            raise StorageFailed(self.failed)
        try:
            self._flush_wal()
        except Exception as error:
            raise self._fail("an fsync failed", error) from error

    def _flush_wal(self) -> None:
        self.syncs += 1
        self._db.flush_wal(True)

    def _start_sync(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._syncing = True
        # flush_wal gives up the interpreter lock while the disk works, which a synchronous write does not.
        self._syncer.ask(partial(self._synced, waiting))

    def _synced(self, waiting: list[asyncio.Future[None]], error: Exception | None) -> None:
        self._syncing = False
        for done in waiting:
            if not done.done():
                done.set_result(None) if error is None else done.set_exception(error)
        if self._waiting and self.failed is None:
            self._start_sync()
            return
        for done in self._waiting:
            if not done.done():
                done.set_exception(StorageFailed(str(self.failed)))
        self._waiting = []

    def _fail(self, what: str, error: Exception) -> StorageFailed:
        self.failed = f"{what} in {self.path}: {error}"
        _log.error("the storage failed, and takes nothing more until a restart: %s", self.failed)
        return StorageFailed(self.failed)

    def acknowledged(self, position: int) -> None:
        """The log is on disk up to this position, and whoever waits for it is about to be told."""
        if self._high_water is not None and not self._closed:
            self._high_water.set(position)

    def cut_short(self, end: int) -> str | None:
        """What is wrong when the log ends at this position: it was acknowledged further than that."""
        if self._high_water is None or self._high_water.reached <= end:
            return None
        return f"the log ends at row {end}, and it was acknowledged up to row {self._high_water.reached}"

    def unreadable(self, error: Exception) -> Exception:
        """Why a read failed: the database is closed, or it is damaged; `damaged` says so from then on."""
        if self._closed:
            return StorageFailed(f"{self.path} is closed")
        found = refusal(self.path, error)
        self.damaged = str(found)
        return found

    def close(self) -> None:
        """Flushes and lets the next process in. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._syncer.close()
        self.failed = self.failed or f"{self.path} is closed"
        for family in self._families.values():
            family.close()
        with contextlib.suppress(Exception):  # raised again for a write that failed before
            self._db.close()
        if self._high_water is not None:
            self._high_water.close()
        self._release()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
