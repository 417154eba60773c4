"""Tables, declared once for every store: what finds a row, in which order rows lie, what they hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import msgspec

R = TypeVar("R", bound=msgspec.Struct)

Value: TypeAlias = str | int
Key: TypeAlias = tuple[Value, ...]
"""Values of key columns, in the order of the columns."""


@dataclass(frozen=True)
class Column:
    """A key column. `descending` turns the order of the rows around."""

    name: str
    type: Literal["text", "int"] = "text"
    descending: bool = False


@dataclass(frozen=True)
class Searched:
    """The rows of this partition can be looked for by a part of the text in `column`; they are told by their `id`."""

    partition: Key
    column: str


@dataclass(frozen=True, eq=False)
class Table(Generic[R]):
    """Rows of type `row`. A partition is found by its whole key; within it rows lie in the order of `clustering`.

    Rows of a table with `companions` stand for rows elsewhere, which go when a range of the table is deleted:
    `companions(row)` names them as (table, key). Raises TypeError for a key column that the row does not have.

    A partition that could grow for ever says how a store may cut it up. `bucket` is what shares a piece by the first
    clustering column: integers within a range of that width, or texts that begin with as many characters alike.
    `spread`: it holds rows of many tasks, so it may be cut by the partitions of the log too. A store that has no use
    for that ignores it, and none shows it. `searched` asks for help with finding rows by a part of a text.
    """

    name: str
    row: type[R]
    partition: tuple[Column, ...]
    clustering: tuple[Column, ...] = ()
    companions: Callable[[R], tuple[tuple[Table[Any], Key], ...]] | None = None
    bucket: int | None = None
    spread: bool = False
    searched: Searched | None = None

    def __post_init__(self) -> None:
        unknown = {column.name for column in self.key_columns} - set(self.row.__struct_fields__)
        if unknown:
            raise TypeError(f"{self.name}: {self.row.__name__} has no column {', '.join(sorted(unknown))}")

    @property
    def key_columns(self) -> tuple[Column, ...]:
        """The columns that find a row: those of its partition, then the clustering ones."""
        return self.partition + self.clustering

    @property
    def value_columns(self) -> tuple[str, ...]:
        """What a row holds beside its key."""
        keys = {column.name for column in self.key_columns}
        return tuple(name for name in self.row.__struct_fields__ if name not in keys)

    def key(self, row: R) -> Key:
        """The key of a row."""
        return tuple(getattr(row, column.name) for column in self.key_columns)
