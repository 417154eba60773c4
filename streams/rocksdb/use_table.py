"""Uses of calendars on RocksDB: a row for each, found by the calendar and then the task."""

from __future__ import annotations

from taskscheduler.streams.calendar_uses import Use
from taskscheduler.streams.rocksdb.buffer import Buffer, BufferedTable

FAMILY = "calendar_uses"


class RocksUseTable:
    """Implements UseTable. Names and ids hold no zero byte, so it can part them."""

    def __init__(self, buffer: Buffer) -> None:
        self._rows: BufferedTable[int] = buffer.table(FAMILY, _encode, lambda data: int.from_bytes(data, "big"))

    def put(self, calendar: str, use: Use) -> None:
        """Note a use."""
        self._rows.put(key_of(calendar, use.task_id), use.version)

    def delete(self, calendar: str, task_id: str) -> None:
        """It is used no more."""
        self._rows.delete(key_of(calendar, task_id))

    def of(self, calendar: str, after: str, limit: int) -> list[Use]:
        """The next uses of a calendar in order."""
        start = key_of(calendar, after) + (b"\0" if after else b"")
        rows = self._rows.scan(start, calendar.encode() + b"\1", limit=limit)
        return [Use(key.partition(b"\0")[2].decode(), version) for key, version in rows]

    def calendars(self) -> list[str]:
        """The names of calendars that are used."""
        return self._rows.names()


def row_of(calendar: str, use: Use) -> tuple[bytes, bytes]:
    """Key and value on disk."""
    return key_of(calendar, use.task_id), _encode(use.version)


def key_of(calendar: str, task_id: str) -> bytes:
    """Key on disk."""
    return f"{calendar}\0{task_id}".encode()


def _encode(version: int) -> bytes:
    return version.to_bytes(8, "big")
