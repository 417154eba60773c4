"""The newest entries of a log as objects, so that readers near its end decode nothing."""

from __future__ import annotations

from taskscheduler.commands.ports import Entry

GENERATION = 4096
GENERATION_BYTES = 4 * 1024 * 1024


class Tail:
    """Keeps between one and two generations of entries, each bounded in number and in encoded bytes."""

    def __init__(self) -> None:
        self._old: list[Entry] = []
        self._young: list[Entry] = []
        self._young_bytes = 0

    def add(self, entry: Entry, size: int) -> None:
        """The next entry of the log; `size` is what it takes encoded, in bytes."""
        if len(self._young) >= GENERATION or self._young_bytes >= GENERATION_BYTES:
            self._old, self._young, self._young_bytes = self._young, [], 0
        self._young.append(entry)
        self._young_bytes += size

    def read(self, after: int, limit: int) -> list[Entry] | None:
        """Up to `limit` entries from `after` + 1 on, or None when that one is not kept."""
        if self._young and after + 1 >= self._young[0].position:
            start = after + 1 - self._young[0].position
            return self._young[start : start + limit]
        if self._old and after + 1 >= self._old[0].position:
            start = after + 1 - self._old[0].position
            found = self._old[start : start + limit]
            return found + self._young[: limit - len(found)]
        return None
