"""The log in memory: bytes in order, and the clock of who keeps it."""

from __future__ import annotations

from typing import NamedTuple

from taskscheduler.domain.decision import Record
from taskscheduler.domain.entities import id_of
from taskscheduler.streams.codec import decode_record, encode_record


class Entry(NamedTuple):
    """A record where it stands."""

    appended_at: int
    task_id: str
    record: Record


class Log:
    """A position is how many entries there are up to it."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.entries: list[Entry] = []

    def append(self, record: Record, now: int) -> int:
        """Put a record at the end; its position."""
        data = encode_record(record)
        if self.entries:
            now = max(now, self.entries[-1].appended_at)
        self.data.append(data)
        self.entries.append(Entry(now, id_of(record.stream), decode_record(data)))
        return len(self.entries)
