"""Write-behind tables: rows stay objects in memory until they are flushed together, in one atomic write.

What a replica derives from the log can always be derived again, so its rows need no write of their own: a row that
changes three times between two flushes is encoded and written once. The position up to which the log is folded goes
into the same write, so what is on disk is always the state at some position, whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Generic, TypeVar

from taskscheduler.streams.rocksdb.database import Batch, Database, Family

T = TypeVar("T")

LAST_KEY = b"\xff" * 64
"""No key of any table is above this."""


class BufferedTable(Generic[T]):
    """A table of rows `bytes -> T` over one column family. Made by `Buffer.table`.

    Without `encode` the keys say everything, and values are empty.
    """

    def __init__(self, family: Family, encode: Callable[[T], bytes] | None, decode: Callable[[bytes], T]):
        self._family = family
        self._encode = encode
        self._decode = decode
        self.dirty: dict[bytes, T | None] = {}
        self._new: set[bytes] = set()

    def get(self, key: bytes) -> T | None:
        """The row as last put, flushed or not."""
        if key in self.dirty:
            return self.dirty[key]
        data = self._family.get(key)
        return None if data is None else self._decode(data)

    def put(self, key: bytes, row: T) -> None:
        """Set a row. It is on disk after the next flush."""
        self.dirty[key] = row

    def insert(self, key: bytes, row: T) -> None:
        """Set a row where none is. One that is deleted before the next flush leaves no trace on disk."""
        if key not in self.dirty:
            self._new.add(key)
        self.dirty[key] = row

    def delete(self, key: bytes) -> None:
        """Remove a row, if it is there."""
        if key in self._new:
            self._new.discard(key)
            del self.dirty[key]
        else:
            self.dirty[key] = None

    def delete_range(self, start: bytes, end: bytes) -> None:
        """Remove all rows with start <= key < end."""
        for key in [key for key, _ in self._family.scan(start, end)]:
            self.dirty[key] = None
        for key in self.dirty:
            if start <= key < end:
                self.dirty[key] = None

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, T]]:
        """Rows with start <= key < end in key order (backwards when `reverse`), flushed or not."""
        found = self._merged(start, end, reverse)
        return found if limit is None else islice(found, limit)

    def scan_flushed(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, T]]:
        """The same where it is known that none of these rows waits for a flush."""
        for key, data in self._family.scan(start, end):
            yield key, self._decode(data)

    def _merged(self, start: bytes, end: bytes, reverse: bool) -> Iterator[tuple[bytes, T]]:
        # A reader must not cause a flush: in the middle of a fold that would tear state from its position.
        dirty = self.dirty
        pending = sorted((key for key in dirty if start <= key < end), reverse=not reverse)
        for key, data in self._family.scan(start, end, reverse=reverse):
            while pending and (pending[-1] >= key if reverse else pending[-1] <= key):
                waiting = pending.pop()
                row = dirty.get(waiting)
                if row is not None:
                    yield waiting, row
                if waiting == key:
                    break
            else:
                yield key, self._decode(data)
        while pending:
            waiting = pending.pop()
            row = dirty.get(waiting)
            if row is not None:
                yield waiting, row

    def names(self, prefix: bytes = b"") -> list[str]:
        """What stands in keys between the prefix, which ends with a zero byte or is empty, and the next zero byte."""
        found: list[str] = []
        start, end = prefix, prefix[:-1] + b"\1" if prefix else LAST_KEY
        while (row := next(self.scan(start, end, limit=1), None)) is not None:
            name = row[0][len(prefix) :].partition(b"\0")[0]
            found.append(name.decode())
            start = prefix + name + b"\1"
        return found

    def clear(self, batch: Batch) -> None:
        """Put the removal of all rows into the batch."""
        self.dirty = {}
        self._new.clear()
        batch.delete_range(self._family, b"", LAST_KEY)

    def stage(self, batch: Batch) -> int:
        """Put the dirty rows into the batch; how many there are. They stay dirty until it is written."""
        handle, encode = self._family.handle, self._encode
        put, delete = batch.raw.put, batch.raw.delete
        for key, row in self.dirty.items():
            if row is None:
                delete(key, handle)
            else:
                put(key, b"" if encode is None else encode(row), handle)
        return len(self.dirty)

    def written(self) -> None:
        """What was staged is on disk."""
        self.dirty = {}
        self._new = set()


class Buffer:
    """The tables that are flushed together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tables: list[BufferedTable[object]] = []
        self._before_flush: list[Callable[[], None]] = []

    def table(self, family: str, encode: Callable[[T], bytes] | None, decode: Callable[[bytes], T]) -> BufferedTable[T]:
        """A table on a column family of its own."""
        table = BufferedTable(self._database.family(family), encode, decode)
        self._tables.append(table)  # type: ignore[arg-type]
        return table

    def before_flush(self, call: Callable[[], None]) -> None:
        """`call` puts rows that its owner has put off until now."""
        self._before_flush.append(call)

    def clear(self) -> None:
        """Remove every row of every table, at once and whole."""
        batch = Batch()
        for table in self._tables:
            table.clear(batch)
        self._database.write(batch)

    @property
    def dirty(self) -> int:
        """Rows that are not on disk yet."""
        return sum(len(table.dirty) for table in self._tables)

    def flush(self) -> int:
        """Write every dirty row in one atomic batch; how many there were. Not fsynced: the log is."""
        for call in self._before_flush:
            call()
        batch = Batch()
        count = sum(table.stage(batch) for table in self._tables)
        if count:
            self._database.write(batch)
            for table in self._tables:
                table.written()
        return count
