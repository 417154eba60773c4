"""The sums of what a replica keeps on disk, and of the read models beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec

from taskscheduler.domain.decision import FOLD_VERSION
from taskscheduler.projections.projector import TABLES
from taskscheduler.projections.tables import Table
from taskscheduler.streams.replay.fresh_rows import CODECS, owner_column
from taskscheduler.streams.replay.steps import add_step
from taskscheduler.streams.replay.sums import NOBODY, Sums
from taskscheduler.streams.replica import Position
from taskscheduler.streams.rocksdb import claim_tables, outbox_table, timer_table, use_table
from taskscheduler.streams.rocksdb.buffer import Buffer
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.keys import successor
from taskscheduler.streams.rocksdb.refusals import DataRefused
from taskscheduler.streams.rocksdb.state_store import OTHERS, StateStore
from taskscheduler.streams.rocksdb.views import FAMILY, RocksViews, prefix_of

TRIES = 5
"""How often a directory is opened that another process serves from: files may go while they are being opened."""

PAUSE = 0.2
"""Seconds between two of them."""


class Held(msgspec.Struct, frozen=True):
    """What was found: up to where it is folded, and the sums by task. `stale`: by other rules than today's."""

    position: Position
    sums: dict[str, int]
    stale: bool = False


def open_to_look(path: Path) -> Database:
    """The directory as it stands now, whoever serves from it. Raises DataRefused."""
    for left in reversed(range(TRIES)):
        try:
            return Database(path, (), read_only=True)
        except (DataRefused, FileNotFoundError):
            if not left:
                raise
            time.sleep(PAUSE)
    raise AssertionError("unreachable")


def state_sums(path: Path, only: Collection[str] | None = None) -> Held:
    """What a replica keeps in a directory: states with their active runs and keys, timers, waiting runs and steps."""
    with open_to_look(path) as database:
        position = _position(database)
        sums = Sums(only)
        for name in ("state", "state_runs", "state_keys", OTHERS):
            for key, value in _rows(database, name):
                sums.add(key.partition(b"\0")[0].decode(), name, key, value)
        for key, value in _rows(database, timer_table.FAMILY):
            sums.add(key[8:].decode(), timer_table.FAMILY, key, value)
        for key, _ in _rows(database, claim_tables.FAMILIES[0]):
            sums.add(claim_tables.task_of(key), claim_tables.FAMILIES[0], key, b"")
        for key, value in _rows(database, use_table.FAMILY):
            sums.add(key.partition(b"\0")[2].decode(), use_table.FAMILY, key, value)
        for key, value in _rows(database, outbox_table.FAMILY):
            add_step(sums, key, value)
        return Held(position, sums.of, position.fold_version != FOLD_VERSION)


def row_sums(path: Path, tables: Collection[str], only: Collection[str] | None = None) -> Held:
    """Some tables of the read models in force in a directory; they are where the replica beside them is."""
    with open_to_look(path) as database:
        position = _position(database)
        sums = Sums(only)
        if not _has(database, FAMILY):
            return Held(position, sums.of)
        views = RocksViews(Buffer(database), database.format.log_id)
        for number, table in enumerate(TABLES, start=1):
            if table.name not in tables:
                continue
            prefix = prefix_of(views.in_force) + bytes((number,))
            owner, cut, name = _owner(table), len(prefix), table.name
            for whole, value in database.family(FAMILY).scan(prefix, successor(prefix)):
                key = whole[cut:]
                sums.add(owner(key), name, key, value)
        return Held(position, sums.of, views.stale)


def _owner(table: Table[Any]) -> Callable[[bytes], str]:
    """Finds the task in the key of a row."""
    at = owner_column(table)
    if at is None:
        return lambda key: NOBODY
    if at == 0:
        # By far the most; the first column ends at the first two zero bytes.
        return lambda key: key[: key.index(b"\0\0")].replace(b"\0\xff", b"\0").decode()
    codec, name = CODECS[table], table.key_columns[at].name
    return lambda key: str(codec.values(key)[name])


def _position(database: Database) -> Position:
    # A log that was just brought here has not been folded by anybody.
    return StateStore(Buffer(database)).position() if _has(database, "position") else Position()


def _rows(database: Database, name: str) -> Iterator[tuple[bytes, bytes]]:
    return database.family(name).scan() if _has(database, name) else iter(())


def _has(database: Database, name: str) -> bool:
    return any(family.name == name for family in database.families)
