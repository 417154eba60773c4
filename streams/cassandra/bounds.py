"""Where a range of rows begins and ends, in the order of the values, whichever way round the table lies."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from taskscheduler.projections.tables import Key, Table

_Place: TypeAlias = tuple[tuple[Any, ...], ...]


class Cut(NamedTuple):
    """A place between rows: before or behind all whose first clustering columns are `prefix`."""

    prefix: Key
    behind: bool

    @property
    def place(self) -> _Place:
        """Compares with other places."""
        return (*((1, value) for value in self.prefix), (2,) if self.behind else (0,))


def place(clustering: Key) -> _Place:
    """The place of a row, to compare with that of a cut."""
    return (*((1, value) for value in clustering), (1,))


class Bounds(NamedTuple):
    """The rows between two cuts; None is no bound."""

    low: Cut | None = None
    high: Cut | None = None

    @property
    def empty(self) -> bool:
        """Whether no row can lie there."""
        return self.low is not None and self.high is not None and self.low.place >= self.high.place

    def hold(self, clustering: Key) -> bool:
        """Whether a row lies there."""
        here = place(clustering)
        return (self.low is None or self.low.place < here) and (self.high is None or here < self.high.place)

    def beyond(self, clustering: Key, backwards: bool) -> Bounds:
        """Those after a row, or before it when `backwards`; a row outside changes nothing."""
        cut = Cut(clustering, not backwards)
        if backwards:
            return Bounds(self.low, cut if self.high is None else min(self.high, cut, key=lambda one: one.place))
        return Bounds(cut if self.low is None else max(self.low, cut, key=lambda one: one.place), self.high)


def descending(table: Table[Any]) -> bool:
    """Whether the rows of a table lie from the largest to the smallest. Raises TypeError for one with mixed columns."""
    ways = {column.descending for column in table.clustering}
    if len(ways) > 1:
        raise TypeError(f"{table.name}: its columns lie in different directions")
    return ways == {True}


def between(table: Table[Any], start: Key | None, end: Key | None) -> Bounds:
    """start <= clustering key < end in the order of the table; both may name the first columns only."""
    if descending(table):
        start_cut, end_cut = start and Cut(start, True), end and Cut(end, True)
        return Bounds(end_cut or None, start_cut or None)
    return Bounds(Cut(start, False) if start else None, Cut(end, False) if end else None)
