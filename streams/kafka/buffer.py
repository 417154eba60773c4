"""The newest entries of a partition as they were fetched, for readers near the end of the log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from taskscheduler.commands.ports import Entry
from taskscheduler.streams.codec import UnknownEvent

KEPT = 4_096
"""Entries kept behind the foremost reader, for others."""

AHEAD = 16_384
AHEAD_BYTES = 32 * 1024 * 1024
"""So much is fetched ahead of the foremost reader at most."""


class PartitionBuffer:
    """Contiguous entries from `first` up to before `next`. `known_end` is the last position known to be on the log."""

    def __init__(self, known_end: int) -> None:
        self.first = self.next = 0
        self.known_end = known_end
        self.started = False
        self._entries: list[Entry] = []
        self._sizes: list[int] = []
        self._read_to = 0
        self._ahead_bytes = self._behind_bytes = 0
        self._unknown: UnknownEvent | None = None
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def start(self, position: int) -> None:
        """What comes next is the entry at `position`."""
        self.started = True
        self.first = self.next = self._read_to = position

    @property
    def full(self) -> bool:
        """Whether nothing more should be fetched for now."""
        return self.next - self._read_to >= AHEAD or self._ahead_bytes >= AHEAD_BYTES

    def add(self, entries: Sequence[Entry], sizes: Sequence[int]) -> None:
        """The next entries, with the bytes they take encoded."""
        self._entries += entries
        self._sizes += sizes
        self._ahead_bytes += sum(sizes)
        self.next += len(entries)
        self.known_end = max(self.known_end, self.next - 1)
        self._wake()

    def stop_at(self, error: UnknownEvent) -> None:
        """Nothing can be read from here on, and readers that come here are told why."""
        self._unknown = error
        self._wake()

    def holds(self, position: int) -> bool:
        """Whether the entry at `position` is here, or the reason why it is not."""
        return self.first <= position < self.next or (position == self.next and self._unknown is not None)

    def read(self, position: int, limit: int) -> list[Entry]:
        """Up to `limit` entries from `position` on, which is held. Raises UnknownEvent."""
        start = position - self.first
        found = self._entries[start : start + limit]
        if not found and self._unknown is not None:
            raise self._unknown
        reached = position + len(found)
        if reached > self._read_to:
            size = sum(self._sizes[self._read_to - self.first : reached - self.first])
            self._ahead_bytes -= size
            self._behind_bytes += size
            self._read_to = reached
            self._trim()
        return found

    async def reach(self, position: int) -> None:
        """Returns when the entry at `position` is held."""
        while not (position < self.next or self.holds(position)):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((position, future))
            await future

    def fail(self, error: Exception) -> None:
        """Tell everybody who waits."""
        waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            if not future.done():
                future.set_exception(error)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for position, future in waiting:
            if position >= self.next and self._unknown is None:
                self._waiting.append((position, future))
            elif not future.done():
                future.set_result(None)

    def _trim(self) -> None:
        behind = self._read_to - self.first
        if behind > 2 * KEPT or self._behind_bytes > AHEAD_BYTES:
            dropped = max(behind - KEPT, behind // 2)
            self._behind_bytes -= sum(self._sizes[:dropped])
            del self._entries[:dropped]
            del self._sizes[:dropped]
            self.first += dropped
