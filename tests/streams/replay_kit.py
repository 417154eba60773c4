"""What the tests of the replay tool share: data directories as an embedded server leaves them, and what lies there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from taskscheduler.api.bootstrap import FAMILIES, open_storage
from taskscheduler.domain.decision import AnyAccepted, Record
from taskscheduler.domain.definition import Definition, NoopTarget
from taskscheduler.domain.entities import rules_of
from taskscheduler.domain.events import FiresSkipped, RunsExpired
from taskscheduler.domain.limit_definition import Granted, LimitDefinition, limit_id
from taskscheduler.domain.messages import (
    Announce,
    Backfill,
    Complete,
    Create,
    DefineLimit,
    GrantSlots,
    Lose,
    Retry,
    StartOperation,
    Taken,
    Want,
)
from taskscheduler.domain.operation import operation_id
from taskscheduler.domain.operation_definition import OperationDefinition, Selection
from taskscheduler.domain.values import HOUR, MINUTE
from taskscheduler.domain.worker import worker_id
from taskscheduler.domain.worker_info import WorkerInfo
from taskscheduler.projections.projector import Projector
from taskscheduler.projections.tables import Key
from taskscheduler.streams.calendar_uses import CalendarUses
from taskscheduler.streams.claimable import Claimables
from taskscheduler.streams.codec import encode_record
from taskscheduler.streams.dispatch.dispatcher import HOLDER
from taskscheduler.streams.holders import Holders
from taskscheduler.streams.outbox import Outbox
from taskscheduler.streams.replica import Replica
from taskscheduler.streams.rocksdb.database import Batch, Database
from taskscheduler.streams.rocksdb.event_log import DECISION_TOPIC
from taskscheduler.streams.rocksdb.rows import LOG_FAMILIES, LogRows, Row
from taskscheduler.streams.timers import Timers
from tests.projections.history import EVERY_MINUTE, START, History

STREAMS = (
    *("often", "failing", "waiting", "first"),
    *("calendar/holidays", "calendar/gone", "worker/w", "operation/o", "limit/queue:mail"),
)
"""The ids of all that `a_history` is about."""


def a_history(rounds: int = 3) -> History:
    """Tasks that fired and failed, one run again and reported late, one with steps that wait; calendars, one of them
    deleted and one changed; a worker, an operation and a limit."""
    history = History()
    history.define("holidays", "2026-12-25")
    history.define("gone", "2026-05-01")
    for name in ("often", "failing", "waiting"):
        history.create(name, schedule=EVERY_MINUTE, tags={"team": "ops", "env": name})
    for _ in range(rounds):
        history.advance(MINUTE)
        history.succeed("often", '{"ok":true}')
        dead = history.fail("failing")
        history.wake("waiting")
    history.do("failing", Retry(dead))
    lost = history.claim("failing")
    history.do("failing", Lose(lost, 1, "hash"))
    history.do("failing", Complete(lost, 1, "hash", '"late"'))
    if rounds > 1:  # before that no fire time is over
        history.do("often", Backfill(START, history.now, "buffer_all"))
    skipped = FiresSkipped(history.now, "stretch", START - 3 * HOUR, "missed", START - HOUR, 121)
    history.record("often", (skipped, RunsExpired(history.now, START - 2 * HOUR, None)))
    history.do("first", Create(Definition("first", EVERY_MINUTE, NoopTarget(), then=("often", "waiting"))))
    for result in ('"one"', '"two"'):
        history.advance(MINUTE)
        history.succeed("first", result)
    history.do("first", Taken({"often": 1}))
    history.define("holidays", "2026-12-25", "2026-12-26", note="both")
    history.undefine("gone")
    history.do(worker_id("w"), Announce(WorkerInfo("5c1f", ("mail",)), 2))
    history.do(operation_id("o"), StartOperation(OperationDefinition("pause", Selection())))
    limit = limit_id("queue:mail")
    history.do(limit, DefineLimit(LimitDefinition(concurrency=2)))
    history.do(limit, GrantSlots((Want(Granted("grant", "waiting", "run", 1)),)))
    return history


def as_decided(change: AnyAccepted) -> Record:
    """The record with the wakeup that a handler would have written into it."""
    return msgspec.structs.replace(change.record, wakeup=rules_of(change.after.id).wakeup(change.after))


def lay_down(history: History, path: Path) -> None:
    """The history as the log in a data directory; `fold` does the rest."""
    with Database(path, LOG_FAMILIES) as database:
        rows, batch = LogRows(database), Batch()
        for change in history.accepted:
            record = as_decided(change)
            state, version = encode_record(record), change.after.version
            rows.put(batch, Row(change.position, change.appended_at, record.stream, version, DECISION_TOPIC, state))
        database.write(batch)
        database.sync_now()


async def fold(path: Path) -> None:
    """What the next start of a server does with the log."""
    with Database(path, FAMILIES) as database:
        storage = open_storage(database, lambda: 0)
        derived = (
            Projector(storage.views),
            Timers(storage.timers),
            Claimables(storage.claimable, lambda: 0),
            Holders(storage.holders, always=(HOLDER,)),
            CalendarUses(storage.uses),
            Outbox(storage.outbox),
        )
        replica = Replica(storage.log, storage.store, derived)
        await replica.catch_up()
        replica.flush()


def a_folded_directory(folder: Path) -> Path:
    """A data directory in good order, below `folder`."""
    path = folder / "data"
    lay_down(a_history(), path)
    asyncio.run(fold(path))
    return path


def contents(path: Path) -> tuple[int, str, list[tuple[str, Key, bytes]]]:
    """Where a folded directory is, the hash over all states, and every row of the read models."""
    with Database(path, FAMILIES) as database:
        storage = open_storage(database, lambda: 0)
        return storage.store.position().position, storage.store.digest(), storage.views.contents()


def log_rows(path: Path) -> list[Row]:
    """The log in a data directory."""
    with Database(path, LOG_FAMILIES) as database:
        return list(LogRows(database).rows(1))


def put(
    path: Path, family: str, rows: Iterable[tuple[bytes, bytes | None]], families: Sequence[str] = FAMILIES
) -> None:
    """Write to a data directory behind everybody's back; None removes."""
    with Database(path, families) as database:
        batch = Batch()
        for key, value in rows:
            if value is None:
                batch.delete(database.family(family), key)
            else:
                batch.put(database.family(family), key, value)
        database.write(batch)


def rows_in(path: Path, family: str, families: Sequence[str] = FAMILIES) -> list[tuple[bytes, bytes]]:
    """What lies in a family."""
    with Database(path, families) as database:
        return list(database.family(family).scan())
