"""How a table lies in Cassandra: its partitions cut into pieces of bounded size, its rows as JSON beside their keys.

The piece of a row is told by its key and by the partition of the log that its task is in:

    (partition columns, shard, bucket), clustering columns -> row

`shard` is the partition of the log, for tables that are spread, and `bucket` a part of the first clustering column.
Which buckets there are is kept in a table beside, so that none has to be looked for in vain.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any, NamedTuple, TypeAlias

import msgspec

from taskscheduler.projections.tables import Column, Key, Table, Value
from taskscheduler.streams.cassandra.bounds import Bounds, Cut, descending

Wire: TypeAlias = tuple[bytes, ...]
"""Values of a key as they go over the wire."""

SHARD = Column("shard", "int")
GONE_AFTER = 6 * 3600
"""Seconds after which removed rows of an index are forgotten. A node that was away for longer than hints are kept (3 h)
may bring some back: an index is no more than a hint at where to look."""

_TYPES = {"int": "bigint", "text": "text"}
_encode = msgspec.json.Encoder().encode
_number = Struct(">q").pack


def wire(value: Value) -> bytes:
    """A value of a key."""
    return value.encode() if isinstance(value, str) else _number(value)


def wires(key: Sequence[Value]) -> Wire:
    """The values of a key."""
    return tuple([wire(value) for value in key])


def routing_key(partition: Wire) -> bytes:
    """What decides who keeps a partition."""
    if len(partition) == 1:
        return partition[0]
    return b"".join([len(part).to_bytes(2, "big") + part + b"\0" for part in partition])


def quoted(columns: Sequence[Column]) -> str:
    """Names for a list in CQL."""
    return ", ".join(f'"{column.name}"' for column in columns)


class Piece(NamedTuple):
    """A part of a partition that Cassandra keeps in one place."""

    partition: Key
    shard: int | None = None
    bucket: Value | None = None

    @property
    def key(self) -> Key:
        """The values of the columns that find it."""
        return (
            *self.partition,
            *(() if self.shard is None else (self.shard,)),
            *(() if self.bucket is None else (self.bucket,)),
        )

    def whole(self) -> Piece:
        """The partition, or the shard of it, that this is a bucket of."""
        return Piece(self.partition, self.shard)


class Layout:
    """One table of one generation. `name` is its own with that of the keyspace before it, as in CQL."""

    def __init__(self, table: Table[Any], name: str) -> None:
        self.table = table
        self.name = name
        self.descending = descending(table)
        first = table.clustering[0] if table.clustering else None
        bucket = None if table.bucket is None or first is None else Column("bucket", first.type, first.descending)
        self.bucket_column = bucket
        self.home = (*table.partition, *((SHARD,) if table.spread else ()), *((bucket,) if bucket else ()))
        self.columns = (*self.home, *table.clustering)
        self.key_only = not table.value_columns
        self._width = len(table.partition)
        self._decode = msgspec.json.Decoder(table.row).decode
        self._names = [column.name for column in table.key_columns]
        where = " AND ".join(f'"{column.name}" = ?' for column in self.columns)
        names = quoted(self.columns) + ("" if self.key_only else ", row")
        marks = ", ".join("?" * (len(self.columns) + (not self.key_only)))
        self.insert = f"INSERT INTO {name} ({names}) VALUES ({marks}) USING TIMESTAMP ?"
        self.delete = f"DELETE FROM {name} USING TIMESTAMP ? WHERE {where}"
        self._where_home = " AND ".join(f'"{column.name}" = ?' for column in self.home)
        self.selected = quoted(table.key_columns) if self.key_only else "row"

    def create(self) -> str:
        """The statement that makes the table."""
        columns = "".join(f'"{column.name}" {_TYPES[column.type]}, ' for column in self.columns)
        key = ", ".join(filter(None, (f"({quoted(self.home)})", quoted(self.table.clustering))))
        options = [
            *([_order(self.table.clustering)] if self.table.clustering else []),
            *([f"gc_grace_seconds = {GONE_AFTER}"] if self.key_only else []),
        ]
        return (
            f"CREATE TABLE IF NOT EXISTS {self.name} ({columns}{'' if self.key_only else 'row text, '}"
            f"PRIMARY KEY ({key}))" + (f" WITH {' AND '.join(options)}" if options else "")
        )

    def bucket(self, value: Value) -> Value | None:
        """The bucket of the rows whose first clustering column has this value."""
        width = self.table.bucket
        if width is None:
            return None
        return value[:width] if isinstance(value, str) else value // width

    def piece(self, key: Key, shard: int) -> Piece:
        """Where the row of a whole key lies."""
        bucket = None if self.bucket_column is None else self.bucket(key[self._width])
        return Piece(key[: self._width], shard if self.table.spread else None, bucket)

    def place(self, key: Key, shard: int) -> tuple[Wire, Wire]:
        """The piece in which the row of a whole key lies, and its place there."""
        # This runs for every row that is written.
        values = [value.encode() if type(value) is str else _number(value) for value in key]
        if len(self.columns) == len(values):
            return tuple(values[: self._width]), tuple(values[self._width :])
        home = values[: self._width]
        if self.table.spread:
            home.append(_number(shard))
        if self.bucket_column is not None:
            home.append(wire(self.bucket(key[self._width])))  # type: ignore[arg-type]
        return tuple(home), tuple(values[self._width :])

    def put(self, place: tuple[Wire, Wire], row: Any, timestamp: int) -> Wire:
        """The values of `insert`."""
        home, clustering = place
        if self.key_only:
            return (*home, *clustering, _number(timestamp))
        return (*home, *clustering, _encode(row), _number(timestamp))

    def remove(self, place: tuple[Wire, Wire], timestamp: int) -> Wire:
        """The values of `delete`."""
        home, clustering = place
        return (_number(timestamp), *home, *clustering)

    def row(self, found: tuple[Any, ...]) -> Any:
        """A row of what `select` or `whole` found."""
        return self.table.row(**dict(zip(self._names, found, strict=True))) if self.key_only else self._decode(found[0])

    def select(self, bounds: Bounds, *, backwards: bool = False) -> str:
        """Rows of a piece within bounds; its values are the piece, those of `values`, and how many rows at most.

        `backwards` is against the order of the values.
        """
        order = "" if backwards == self.descending else f" ORDER BY {_order(self.table.clustering, turned=True)}"
        return (
            f"SELECT {self.selected} FROM {self.name} WHERE {self._where_home}{self._within(bounds)}"
            f"{order if self.table.clustering else ''} LIMIT ?"
        )

    def select_whole(self) -> str:
        """One row by its whole key."""
        where = " AND ".join(f'"{column.name}" = ?' for column in self.columns)
        return f"SELECT {self.selected} FROM {self.name} WHERE {where}"

    def select_together(self) -> str:
        """The rows of a table without clustering columns by a list of keys, each with its key."""
        key = quoted(self.columns)
        return f"SELECT {key}, {self.selected} FROM {self.name} WHERE {key} IN ?"

    def bounds_of_buckets(self, bounds: Bounds) -> Bounds:
        """The buckets in which rows within bounds may lie."""

        def bucket(cut: Cut | None, behind: bool) -> Cut | None:
            value = None if cut is None else self.bucket(cut.prefix[0])
            return None if value is None else Cut((value,), behind)

        return Bounds(bucket(bounds.low, False), bucket(bounds.high, True))

    def delete_range(self, bounds: Bounds) -> str:
        """All rows of a piece within bounds; its values are the timestamp, the piece and those of `values`."""
        return f"DELETE FROM {self.name} USING TIMESTAMP ? WHERE {self._where_home}{self._within(bounds)}"

    def _within(self, bounds: Bounds) -> str:
        low, high = bounds
        return ("" if low is None else self._side(low, ">", ">=")) + (
            "" if high is None else self._side(high, "<=", "<")
        )

    def _side(self, cut: Cut, behind: str, before: str) -> str:
        columns = self.table.clustering[: len(cut.prefix)]
        marks = ", ".join("?" * len(columns))
        return f" AND ({quoted(columns)}) {behind if cut.behind else before} ({marks})"

    @staticmethod
    def values(bounds: Bounds) -> Wire:
        """What `select` and `delete_range` compare with."""
        return tuple([wire(value) for cut in bounds if cut is not None for value in cut.prefix])


def buckets_of(table: Table[Any]) -> Table[Any]:
    """The table that names the buckets of another one, for each of its shards."""
    home = (*table.partition, *((SHARD,) if table.spread else ()))
    first = table.clustering[0]
    return _keys(f"{table.name}_buckets", home, Column("bucket", first.type, first.descending))


def grams_of(table: Table[Any]) -> Table[Any]:
    """The table that leads from three characters to the rows of another one in whose searched text they are."""
    return _keys(f"{table.name}_grams", (Column("gram"),), Column("id"), spread=True)


def _order(columns: Sequence[Column], turned: bool = False) -> str:
    ways = ", ".join(f'"{column.name}" {"ASC" if column.descending == turned else "DESC"}' for column in columns)
    return ways if turned else f"CLUSTERING ORDER BY ({ways})"


def _keys(name: str, home: tuple[Column, ...], last: Column, *, spread: bool = False) -> Table[Any]:
    types = {"int": int, "text": str}
    row = msgspec.defstruct(name, [(column.name, types[column.type]) for column in (*home, last)], frozen=True)
    return Table(name, row, home, (last,), spread=spread)
