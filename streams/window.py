"""The head of an ordered table, held in memory.

The table on disk holds everything; the window holds what comes next. Rows that are removed from the table are not
looked for here: whoever takes one out of the window asks the table whether it still stands.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=tuple[object, ...])

SIZE = 512
"""Rows read from the table at once, few enough to be no pause. Up to four times as many are held."""

Read = Callable[[int, "Item | None"], "list[Item]"]
"""`read(limit, after)`: the next rows in order, strictly after one (from the start when None)."""


class Window(Generic[Item]):
    """A heap of the table's first rows. `identity` gives the part of a row that orders it and never changes."""

    def __init__(
        self,
        read: Read[Item],
        identity: Callable[[Item], tuple[object, ...]],
        *,
        size: int | None = None,
        known: tuple[list[Item], bool] | None = None,
    ) -> None:
        """`size` rows are read at once. `known` are the first rows, where they have been read, and whether all are."""
        self._read = read
        self._identity = identity
        self._size = SIZE if size is None else size
        self._heap: list[Item] = []
        self._horizon: Item | None = None
        if known is None:
            self._load(None)
        else:
            rows, whole = known
            self._heap = rows[: self._size]
            if not whole or len(rows) > self._size:
                self._horizon = self._heap[-1]

    def push(self, item: Item) -> bool:
        """A row was put into the table. Whether it is the first of all."""
        if self._horizon is not None and self._identity(item) > self._identity(self._horizon):
            return False
        heapq.heappush(self._heap, item)
        if len(self._heap) > 4 * self._size:
            self._shrink(item)
        return self._heap[0] is item

    def peek(self) -> Item | None:
        """The first row, or None when the table has no more."""
        if not self._heap and self._horizon is not None:
            self._load(self._horizon)
        return self._heap[0] if self._heap else None

    def pop(self) -> Item:
        """Take the first row out of the window; `peek` has found one."""
        return heapq.heappop(self._heap)

    def _shrink(self, last: Item) -> None:
        # A row that was put again and again is held as often, and only the last of it stands: cut between those, the
        # window would end with one that does not, and the next load begin behind it.
        newest: dict[tuple[object, ...], Item] = {}
        for item in self._heap:
            identity = self._identity(item)
            if identity not in newest or newest[identity] < item:
                newest[identity] = item
        newest[self._identity(last)] = last
        if len(newest) > self._size:
            self._heap = heapq.nsmallest(self._size, newest.values())
            self._horizon = self._heap[-1]
        else:
            self._heap = sorted(newest.values())

    def _load(self, after: Item | None) -> None:
        self._heap = self._read(self._size, after)
        self._horizon = self._heap[-1] if len(self._heap) == self._size else None
