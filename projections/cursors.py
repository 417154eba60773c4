"""Cursors: the place where a page ended, as text that clients hand back without looking into it.

A cursor holds the key of a row, not a count, so rows that come or go elsewhere neither repeat nor hide any.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from taskscheduler.domain.errors import Invalid
from taskscheduler.domain.ids import digest
from taskscheduler.projections.tables import Key, Table

_LONGEST = 4_096
_BOUND = 1 << 63


def encode(query: str, place: Key) -> str:
    """The cursor to the rows after `place`, good for the same query only."""
    text = msgspec.json.encode([_sign(query, place), *place])
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def decode(query: str, cursor: str, table: Table[Any]) -> Key:
    """The key in a cursor. Raises Invalid at `/cursor` for one that was not made for this query."""
    try:
        if len(cursor) > _LONGEST:
            raise ValueError("too long")
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        _, *place = msgspec.json.decode(base64.b64decode(padded, b"-_", validate=True), type=list[str | int])
    except (ValueError, msgspec.DecodeError) as error:
        raise Invalid("/cursor", "this is no cursor; use next_cursor of the page before as it is") from error
    key = tuple(place)
    if not _fits(key, table) or encode(query, key) != cursor:
        raise Invalid("/cursor", "this cursor belongs to another query; start again without it")
    return key


def _fits(key: Key, table: Table[Any]) -> bool:
    types = [int if column.type == "int" else str for column in table.key_columns]
    return [type(value) for value in key] == types and all(
        isinstance(value, str) or -_BOUND <= value < _BOUND for value in key
    )


def _sign(query: str, place: Key) -> str:
    return digest(query, *map(str, place))[:12]
