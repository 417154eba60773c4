"""Keys as bytes that sort as the rows of a table do.

Text is UTF-8 with zero bytes escaped and two of them at the end, so that no key begins another; integers are eight
bytes, shifted so that negative ones come first. A descending column has every bit turned over.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from typing import Any

from taskscheduler.projections.tables import Column, Key, Table, Value

PARTITIONS = 4_096
"""Encoded partition keys that are remembered for each table with few of them."""

_BIAS = 1 << 63
_OVER = bytes(255 - byte for byte in range(256))
_END = b"\0\0"
_END_OVER = b"\xff\xff"


def encode_text(value: str) -> bytes:
    """Text of any length, in the order of its code points."""
    if "\0" in value:
        return value.encode().replace(b"\0", b"\0\xff") + _END
    return value.encode() + _END


def encode_text_descending(value: str) -> bytes:
    """The same, the last one first."""
    return encode_text(value).translate(_OVER)


def encode_int(value: int) -> bytes:
    """An integer of 64 bits. Raises OverflowError for any other."""
    return (value + _BIAS).to_bytes(8, "big")


def encode_int_descending(value: int) -> bytes:
    """The same, the largest first."""
    return (_BIAS - 1 - value).to_bytes(8, "big")


def successor(prefix: bytes) -> bytes:
    """The least key above all that begin with `prefix`. Raises ValueError when there is none."""
    kept = prefix.rstrip(b"\xff")
    if not kept:
        raise ValueError("no key lies above a prefix of ones")
    return kept[:-1] + bytes((kept[-1] + 1,))


def _encoder(column: Column) -> Callable[[Any], bytes]:
    if column.type == "int":
        return encode_int_descending if column.descending else encode_int
    return encode_text_descending if column.descending else encode_text


class KeyCodec:
    """The keys of a table, all beginning with `prefix`."""

    def __init__(self, table: Table[Any], prefix: bytes) -> None:
        self.prefix = prefix
        self._columns = table.key_columns
        self._encoders = [_encoder(column) for column in self._columns]
        if len(self._encoders) == 3:
            # Such a table has few partitions (lists, scopes) with many rows each.
            self._encoders[0] = lru_cache(PARTITIONS)(self._encoders[0])
        partition = self._encoders[0]
        self.head: Callable[[Value], bytes] = lru_cache(PARTITIONS)(lambda value: prefix + partition(value))
        """What the keys of a partition begin with, where one column names it."""
        self.of_row = _row_encoder(prefix, [column.name for column in self._columns], self._encoders)

    def of(self, values: Key) -> bytes:
        """The key of the first columns, or of all of them."""
        if len(values) == 3:
            first, second, third = self._encoders[:3]
            return self.prefix + first(values[0]) + second(values[1]) + third(values[2])
        return self.prefix + b"".join([encode(value) for encode, value in zip(self._encoders, values, strict=False)])

    def place(self, clustering: Key) -> bytes:
        """What follows the head in the key of a row, where two columns name its place."""
        _, first, second = self._encoders
        return first(clustering[0]) + second(clustering[1])

    def values(self, key: bytes) -> dict[str, Value]:
        """The key columns in a whole key, by name."""
        at, found = len(self.prefix), dict[str, Value]()
        for column in self._columns:
            found[column.name], at = _decode(column, key, at)
        return found


def _row_encoder(prefix: bytes, names: list[str], encoders: list[Callable[[Any], bytes]]) -> Callable[[Any], bytes]:
    # One call of a closure for each row instead of a loop: this runs many times for every record of the log.
    if len(names) == 1:
        get, encode = attrgetter(names[0]), encoders[0]
        return lambda row: prefix + encode(get(row))
    get = attrgetter(*names)
    if len(names) == 2:
        first, second = encoders

        def of_two(row: Any) -> bytes:
            a, b = get(row)
            return prefix + first(a) + second(b)

        return of_two
    if len(names) > 3:
        return lambda row: prefix + b"".join([encode(value) for encode, value in zip(encoders, get(row), strict=True)])
    first, second, third = encoders

    def of_three(row: Any) -> bytes:
        a, b, c = get(row)
        return prefix + first(a) + second(b) + third(c)

    return of_three


def _decode(column: Column, key: bytes, at: int) -> tuple[Value, int]:
    if column.type == "int":
        number = int.from_bytes(key[at : at + 8], "big")
        return (_BIAS - 1 - number if column.descending else number - _BIAS), at + 8
    end = _END_OVER if column.descending else _END
    zero = end[:1]
    stop = at
    while key[stop : stop + 2] != end:
        stop = key.index(zero, stop + 2 if key[stop : stop + 1] == zero else stop)
    raw = key[at:stop].translate(_OVER) if column.descending else key[at:stop]
    return raw.replace(b"\0\xff", b"\0").decode(), stop + 2
