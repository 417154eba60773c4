"""What a projection does to tables: rows with absolute values, so that the same changes again change nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

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


class Reindex(msgspec.Struct, frozen=True, gc=False):
    """The index rows of a task have to follow it: `index(before, after)` names those that come (True) and go.

    They hold nothing but their key, in the order of its columns. A store may put that off until the rows are read or
    written, and merge it with later ones of the same task.
    """

    index: Callable[[Task, Task], list[tuple[Table[Any], Key, bool]]]
    before: Task
    after: Task

    def difference(self) -> list[Put | Delete]:
        """The rows that come and go, as changes; none that stay."""
        moves = self.index(self.before, self.after)
        return [Put(table, table.row(*key)) if comes else Delete(table, key) for table, key, comes in moves]


Change: TypeAlias = Put | Later | Delete | DeleteRange | Count | Reindex
