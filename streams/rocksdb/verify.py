"""The whole data directory read from the beginning, for `doctor`. At opening only what is new is checked."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from taskscheduler.streams.codec import Unreadable, decode_envelope
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.event_log import DECISION_TOPIC
from taskscheduler.streams.rocksdb.refusals import DataDamaged
from taskscheduler.streams.rocksdb.rows import STREAMS, LogRows, Row, number_of, version_key


class Verified(msgspec.Struct, frozen=True):
    """How many rows the log has, and a sentence for everything that is not as it was written."""

    rows: int
    damage: tuple[str, ...]


def verify(database: Database) -> Verified:
    """Reads every row of every family, and checks the log against its streams. Takes seconds per million rows."""
    damage: list[str] = []
    for family in database.families:
        try:
            for _ in family.scan():
                pass
        except DataDamaged as error:
            damage.append(f"{family.name}: {error.what}")
    if damage:
        return Verified(0, tuple(damage))
    count = 0
    try:
        for row in LogRows(database).checked(1):
            count = row.position
            damage.extend(_decision_damage(row))
    except DataDamaged as error:
        damage.append(error.what)
    else:
        damage.extend(_streams_damage(database, count))
    return Verified(count, tuple(damage))


def _decision_damage(row: Row) -> Iterator[str]:
    if row.topic != DECISION_TOPIC:
        return
    try:
        envelope = decode_envelope(row.state)
    except Unreadable as error:
        yield f"row {row.position} of the log is no decision: {error}"
        return
    if envelope.stream != row.stream or envelope.expected_version != row.version - 1:
        yield f"row {row.position} of the log is filed as version {row.version} of {row.stream}, which it is not"


def _streams_damage(database: Database, rows: int) -> Iterator[str]:
    """Each row of the log has its place in a stream; so as many places as rows means that none is left over."""
    places = 0
    stream = b""
    stated = newest = newest_at = 0
    for key, value in database.family(STREAMS).scan():
        version = version_key(key)
        if version is None:
            if stated != newest:
                yield _wrong_last(stream, stated, newest)
            stream, stated, newest, newest_at = key[:-1], number_of(value), 0, 0
            continue
        places += 1
        if number_of(value) > newest_at:
            newest, newest_at = version, number_of(value)
    if stated != newest:
        yield _wrong_last(stream, stated, newest)
    if places != rows:
        yield f"the streams have {places} versions and the log has {rows} rows"


def _wrong_last(stream: bytes, stated: int, newest: int) -> str:
    return f"{stream.decode(errors='replace')} states its last version as {stated}, and it is {newest}"
