"""The history of a task: one row for each decision, its events as they are on the log."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from taskscheduler.domain.decision import Accepted
from taskscheduler.domain.events import TaskPurged
from taskscheduler.domain.values import Instant
from taskscheduler.projections.changes import Change, DeleteRange, Put
from taskscheduler.projections.tables import Column, Table


class DecisionView(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A decision on a task. `events` is JSON: an array of events, each with its `type` and `at`."""

    task_id: str
    version: int
    recorded_at: Instant
    actor: str
    events: msgspec.Raw
    cause: str | None = None


EVENTS = Table(
    "events", DecisionView, partition=(Column("task_id"),), clustering=(Column("version", "int"),), bucket=1_024
)

_encode = msgspec.json.Encoder().encode


def project(accepted: Accepted) -> Sequence[Change]:
    """One row; a purge removes what was there before it, itself included."""
    after, record = accepted.after, accepted.record
    events = record.events
    for index, event in enumerate(events):
        if isinstance(event, TaskPurged):
            return _purged(accepted, index)
    row = DecisionView(
        after.id, after.version, record.recorded_at, record.actor, msgspec.Raw(_encode(events)), record.cause
    )
    return (Put(EVENTS, row),)


def _purged(accepted: Accepted, index: int) -> Sequence[Change]:
    after, record = accepted.after, accepted.record
    gone = DeleteRange(EVENTS, (after.id,))
    rest = record.events[index + 1 :]
    if after.definition is None:
        return (gone,)
    row = DecisionView(
        after.id, after.version, record.recorded_at, record.actor, msgspec.Raw(_encode(rest)), record.cause
    )
    return (gone, Put(EVENTS, row))
