"""What a projection does to tables: rows with absolute values, so that the same changes again change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import msgspec

from taskscheduler.domain.state import Task
from taskscheduler.projections.tables import Key, Table


class Put(msgspec.Struct, frozen=True, gc=False):
    """The row is now this one, whole."""

    table: Table[Any]
    row: Any


class Later(msgspec.Struct, frozen=True, gc=False):
    """The row of this key is now `build(*args)`. A store may put off building it, and build only the last of many."""

    table: Table[Any]
    key: Key
    build: Callable[..., Any]
    args: tuple[Any, ...]


class Delete(msgspec.Struct, frozen=True, gc=False):
    """The row of this key is gone."""

    table: Table[Any]
    key: Key


class DeleteRange(msgspec.Struct, frozen=True, gc=False):
    """All rows of a partition with start <= clustering key < end in the order of the table, and their companions.

    `start` and `end` may name the first clustering columns only; None is no bound.
    """

    table: Table[Any]
    partition: Key
    start: Key | None = None
    end: Key | None = None


class Count(msgspec.Struct, frozen=True, gc=False):
    """A counter goes up by `delta`. A record changes each counter at most once; `tally` makes absolute rows of it."""

    scope: str
    name: str
    delta: int


class Moved(NamedTuple):
    """The rows of a task in one index: it leaves the place `was` in the partitions `gone`, for `now` in those `come`.

    A partition is named by its only key column, a place by the clustering key.
    """

    table: Table[Any]
    gone: list[str]
    was: Key
    come: list[str]
    now: Key

    def rows(self) -> Iterator[tuple[Key, bool]]:
        """The key of each row, and whether it comes; those that go first."""
        for partition in self.gone:
            yield (partition, *self.was), False
        for partition in self.come:
            yield (partition, *self.now), True


class Reindex(msgspec.Struct, frozen=True, gc=False):
    """The index rows of a task have to follow it: `index(before, after)` names those that come and go.

    They hold nothing but their key, in the order of its columns. A store may put that off until the rows are read or
    written, and merge it with later ones of the same task.
    """

    index: Callable[[Task, Task], list[Moved]]
    before: Task
    after: Task

    def difference(self) -> Iterator[tuple[Table[Any], Key, bool]]:
        """Each row that comes (True) or goes; none that stays."""
        for moved in self.index(self.before, self.after):
            for key, comes in moved.rows():
                yield moved.table, key, comes


Change: TypeAlias = Put | Later | Delete | DeleteRange | Count | Reindex
