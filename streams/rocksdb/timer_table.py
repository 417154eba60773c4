"""Timers on RocksDB: an ordered table of (due, task)."""

from __future__ import annotations

from taskscheduler.domain.values import Instant
from taskscheduler.streams.rocksdb.buffer import Buffer, BufferedTable
from taskscheduler.streams.timers import Timer

FAMILY = "timers"
_END = b"\xff" * 9


class RocksTimerTable:
    """Implements TimerTable."""

    def __init__(self, buffer: Buffer) -> None:
        self._rows: BufferedTable[int] = buffer.table(FAMILY, _encode, _decode)

    def put(self, due: Instant, task_id: str, version: int) -> None:
        """Set a timer."""
        self._rows.insert(_key(due, task_id), version)

    def delete(self, due: Instant, task_id: str) -> None:
        """Remove a timer."""
        self._rows.delete(_key(due, task_id))

    def get(self, due: Instant, task_id: str) -> int | None:
        """The version that set the timer, if it is still set."""
        return self._rows.get(_key(due, task_id))

    def first(self, limit: int, after: Timer | None) -> list[Timer]:
        """The next timers in order, strictly after a given one."""
        start = b"" if after is None else _key(*after[:2]) + b"\0"
        rows = self._rows.scan(start, _END, limit=limit)
        return [(int.from_bytes(key[:8], "big"), key[8:].decode(), version) for key, version in rows]

    def count_due(self, now: Instant, limit: int) -> int:
        """How many timers are due, counted up to `limit`."""
        return sum(1 for _ in self._rows.scan(b"", (now + 1).to_bytes(8, "big"), limit=limit))


def row_of(due: Instant, task_id: str, version: int) -> tuple[bytes, bytes]:
    """Key and value of a timer on disk."""
    return _key(due, task_id), _encode(version)


def _key(due: Instant, task_id: str) -> bytes:
    return due.to_bytes(8, "big") + task_id.encode()


def _encode(version: int) -> bytes:
    return version.to_bytes(8, "big")


def _decode(data: bytes) -> int:
    return int.from_bytes(data, "big")
