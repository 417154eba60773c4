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
    """The index rows of a task were `rows(before)` and are `rows(after)`.

    A store may put off the difference and merge it with later ones of the same task until the rows are read or written.
    """

    rows: Callable[[Task], list[tuple[Table[Any], Any]]]
    before: Task
    after: Task


Change: TypeAlias = Put | Delete | DeleteRange | Count | Reindex


def difference(change: Reindex) -> list[Put | Delete]:
    """The rows that a Reindex removes and adds; none for those that stay."""
    old, new = change.rows(change.before), change.rows(change.after)
    old_rows, new_rows = {row for _, row in old}, {row for _, row in new}
    gone: list[Put | Delete] = [Delete(table, table.key(row)) for table, row in old if row not in new_rows]
    return gone + [Put(table, row) for table, row in new if row not in old_rows]
