"""What read models need from the outside: a store of tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from taskscheduler.projections.changes import Change
from taskscheduler.projections.tables import Key, R, Table


class ViewStore(Protocol):
    """Keeps the tables of the read models. What is applied is seen by every later read."""

    def apply(self, changes: Sequence[Change], partition: int, position: int) -> None:
        """Apply what one record of the log changes, in order. The same record again changes nothing."""
        ...

    async def get(self, table: Table[R], partition_key: Key, clustering_key: Key = ()) -> R | None:
        """One row, or None."""
        ...

    async def scan(
        self,
        table: Table[R],
        partition_key: Key,
        *,
        start: Key | None = None,
        end: Key | None = None,
        after: Key | None = None,
        reverse: bool = False,
        limit: int,
    ) -> list[R]:
        """Up to `limit` rows of a partition in the order of the table, from its end when `reverse`.

        start <= clustering key < end in the order of the table; both may name the first columns only. `after` is a
        whole clustering key: rows beyond it in the direction of the scan.
        """
        ...
