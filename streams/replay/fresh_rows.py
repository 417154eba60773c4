"""The rows that projecting afresh gives, as hashes: what they hold is compared, never read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from taskscheduler.projections.changes import Change, Count, Delete, DeleteRange, Later, Put, Reindex
from taskscheduler.projections.counters import COUNTERS, CounterRow
from taskscheduler.projections.events import EVENTS
from taskscheduler.projections.projector import TABLES
from taskscheduler.projections.tables import Key, Table
from taskscheduler.projections.task_view import TASKS
from taskscheduler.streams.replay.sums import NOBODY, Sums, hash_of
from taskscheduler.streams.rocksdb.keys import KeyCodec, successor

WAITING = 4_096
"""Rows that are built and hashed together: of one that changes again meanwhile, only the last state is."""

CODECS: dict[Table[Any], KeyCodec] = {table: KeyCodec(table, b"") for table in TABLES}
"""How keys are written for hashing."""

_encode = msgspec.json.Encoder().encode

_KEYS_ONLY = frozenset(table for table in TABLES if not table.value_columns)

_Counters = dict[tuple[str, str], tuple[int, int]]


def owner_column(table: Table[Any]) -> int | None:
    """Which key column names the task of a row; None where rows are not of a single one."""
    names = [column.name for column in table.key_columns]
    return next((names.index(name) for name in ("task_id", "id") if name in names), None)


_OWNERS = {table: owner_column(table) for table in TABLES}
_OWNER_OF: dict[Table[Any], Callable[[Any], str]] = {
    table: attrgetter(table.key_columns[at].name) for table, at in _OWNERS.items() if at is not None
}


class FreshRows:
    """Takes changes as a ViewStore does, of some tasks of one partition of the log."""

    def __init__(self) -> None:
        self._tasks: dict[Key, Later] = {}
        self._waiting: dict[tuple[Table[Any], Key], Later] = {}
        self._moved: dict[str, Reindex] = {}
        self._decisions: dict[str, int] = {}
        self._rows: dict[Table[Any], dict[str, dict[bytes, int]]] = {table: {} for table in TABLES}
        self._companions: dict[bytes, tuple[tuple[Table[Any], Key], ...]] = {}
        self.counters: _Counters = {}
        """By scope and name: the value, and the position of the record that changed it last."""

    def apply(self, changes: Sequence[Change], position: int) -> None:
        """Apply what one record changes."""
        for change in changes:
            kind = type(change)
            if kind is Later:
                self._put_off(change)  # type: ignore[arg-type]
            elif kind is Put:
                self._put(change.table, change.row)  # type: ignore[union-attr]
            elif isinstance(change, Count):
                value, _ = self.counters.get((change.scope, change.name), (0, 0))
                self.counters[change.scope, change.name] = value + change.delta, position
            elif isinstance(change, Reindex):
                earlier = self._moved.get(change.after.id)
                before = change.before if earlier is None else earlier.before
                self._moved[change.after.id] = Reindex(change.index, before, change.after)
            elif isinstance(change, Delete):
                self._delete(change.table, change.key)
            elif isinstance(change, DeleteRange):
                self._delete_range(change)

    def _put_off(self, later: Later) -> None:
        if later.table is TASKS:
            self._tasks[later.key] = later
            return
        self._waiting[later.table, later.key] = later
        if len(self._waiting) >= WAITING:
            self._build()

    def _build(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for (table, _), later in waiting.items():
            self._put(table, later.build(*later.args))

    def _put(self, table: Table[Any], row: Any) -> None:
        key = CODECS[table].of_row(row)
        hashed = hash_of(table.name, key, b"" if table in _KEYS_ONLY else _encode(row))
        owner = _OWNER_OF.get(table)
        task_id = NOBODY if owner is None else owner(row)
        if table is EVENTS:
            # Each is put once and goes with all others of its task, so that none need be known by itself.
            self._decisions[task_id] = self._decisions.get(task_id, 0) + hashed
            return
        self._rows[table].setdefault(task_id, {})[key] = hashed
        if table.companions is not None:
            self._companions[key] = table.companions(row)

    def _delete(self, table: Table[Any], key: Key) -> None:
        if table is TASKS:
            self._tasks.pop(key, None)
            return
        self._waiting.pop((table, key), None)
        at = _OWNERS[table]
        rows = self._rows[table].get(NOBODY if at is None else str(key[at]))
        if rows is not None:
            rows.pop(CODECS[table].of(key), None)

    def _delete_range(self, change: DeleteRange) -> None:
        table, (task_id,) = change.table, change.partition
        if table is EVENTS:
            self._decisions.pop(str(task_id), None)
            return
        self._build()
        rows = self._rows[table].get(str(task_id))
        if not rows:
            return
        of = CODECS[table].of
        whole = of(change.partition)
        low = whole if change.start is None else of(change.partition + change.start)
        high = successor(whole) if change.end is None else of(change.partition + change.end)
        for key in [key for key in rows if low <= key < high]:
            del rows[key]
            for other, companion in self._companions.pop(key, ()):
                self._delete(other, companion)

    def sums(self, sums: Sums) -> None:
        """Add up all rows but the counters."""
        self._build()
        for key, later in self._tasks.items():
            sums.add(str(key[0]), TASKS.name, CODECS[TASKS].of(key), _encode(later.build(*later.args)))
        for task_id, move in self._moved.items():
            for table, key, comes in move.difference():
                if comes:
                    sums.add(task_id, table.name, CODECS[table].of(key), b"")
        for task_id, hashed in self._decisions.items():
            sums.add_hash(task_id, EVENTS.name, hashed)
        for table, owners in self._rows.items():
            if _OWNERS[table] is not None:
                for task_id, rows in owners.items():
                    sums.add_hash(task_id, table.name, sum(rows.values()))

    def shared(self) -> dict[str, dict[bytes, int]]:
        """The hashes of the rows that are not of a single task, by table and key."""
        return {
            table.name: dict(owners.get(NOBODY, {})) for table, owners in self._rows.items() if _OWNERS[table] is None
        }


def counter_rows(counters: Iterable[tuple[int, _Counters]]) -> Iterable[CounterRow]:
    """The rows of what was counted, given with the partition of the log; shares of a partition are added up."""
    whole: dict[tuple[str, str, int], tuple[int, int]] = {}
    for partition, share in counters:
        for (scope, name), (value, position) in share.items():
            before, at = whole.get((scope, name, partition), (0, 0))
            whole[scope, name, partition] = before + value, max(at, position)
    return [CounterRow(*key, value, position) for key, (value, position) in whole.items()]


def add_shared(
    sums: Sums, counters: Iterable[tuple[int, _Counters]], shared: Iterable[dict[str, dict[bytes, int]]]
) -> None:
    """Add up the rows that are not of a single task, from all shares of the log."""
    for row in counter_rows(counters):
        sums.add(NOBODY, COUNTERS.name, CODECS[COUNTERS].of_row(row), _encode(row))
    whole: dict[tuple[str, bytes], int] = {}
    for share in shared:
        for table, rows in share.items():
            whole.update({(table, key): hashed for key, hashed in rows.items()})
    for (table, _), hashed in whole.items():
        sums.add_hash(NOBODY, table, hashed)
