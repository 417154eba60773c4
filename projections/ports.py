"""What read models need from the outside: a store of tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from taskscheduler.projections.changes import Change
from taskscheduler.projections.tables import Key, R, Table


class ViewsUnavailable(Exception):
    """The store of the read models did not answer in time, or is not yet where the reader has to be."""


class ViewReader(Protocol):
    """Reads the tables of the read models. Raises ViewsUnavailable where the store is another process."""

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


class ViewStore(ViewReader, Protocol):
    """Keeps the tables of the read models. What is applied is seen by every later read."""

    def apply(self, changes: Sequence[Change], partition: int, position: int) -> None:
        """Apply what one record of the log changes, in order. The same record again changes nothing."""
        ...


@runtime_checkable
class FarReader(ViewReader, Protocol):
    """Reads from afar: a row costs a round trip, so rows are asked for together, and the store helps to search."""

    async def get_many(self, table: Table[R], keys: Sequence[Key]) -> list[R | None]:
        """The rows of some whole keys (partition, then clustering), in their order."""
        ...

    async def containing(self, table: Table[Any], part: str) -> list[str] | None:
        """The ids of the rows whose searched column contains `part` when case is ignored, and maybe of a few others.

        None where they are too many to be told, or the part too short to look for.
        """
        ...
