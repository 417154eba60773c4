"""The whole data directory read from the beginning, for `doctor`. At opening only what is new is checked."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from taskscheduler.streams.codec import Unreadable, decode_envelope
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.event_log import DECISION_TOPIC
from taskscheduler.streams.rocksdb.refusals import ACCEPT_LOSS, CARRY, RESTORE, DataDamaged
from taskscheduler.streams.rocksdb.rows import LOG_FAMILIES, STREAMS, VERSIONS, LogRows, Row, number, number_of


class Verified(msgspec.Struct, frozen=True, gc=False):
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
            remedy = RESTORE if family.name in LOG_FAMILIES else CARRY
            damage.append(f"{family.name}: {error.what}. {remedy}")
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
        if (cut := database.cut_short(count)) is not None:
            damage.append(f"{cut}. {ACCEPT_LOSS}")
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
    places = streams = newest = newest_at = 0
    stream: bytes | None = None
    for key, value in database.family(STREAMS).scan():
        name, version, position = key[:-9], int.from_bytes(key[-8:], "big"), number_of(value)
        places += 1
        if name != stream:
            yield from _last_version_damage(database, stream, newest)
            stream, newest_at = name, 0
            streams += 1
        if position > newest_at:
            newest, newest_at = version, position
    yield from _last_version_damage(database, stream, newest)
    if places != rows:
        yield f"the streams have {places} versions and the log has {rows} rows"
    stated = sum(1 for _ in database.family(VERSIONS).scan())
    if stated != streams:
        yield f"there are {streams} streams and {stated} last versions"


def _last_version_damage(database: Database, stream: bytes | None, newest: int) -> Iterator[str]:
    if stream is None:
        return
    stated = database.family(VERSIONS).get(stream)
    if stated != number(newest):
        found = "nothing" if stated is None else number_of(stated)
        yield f"{stream.decode(errors='replace')} states its last version as {found}, and it is {newest}"
