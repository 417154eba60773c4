"""Counters: tasks by status, runs by how they ended, in all and by day. They outlive the retention of runs."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from taskscheduler.domain import events as ev
from taskscheduler.domain.decision import Accepted
from taskscheduler.domain.values import Instant
from taskscheduler.projections.calendar import day_of
from taskscheduler.projections.changes import Change, Count
from taskscheduler.projections.tables import Column, Table


class CounterRow(msgspec.Struct, frozen=True, gc=False):
    """The value of a counter over one partition of the log, up to the record at `position`."""

    scope: str
    name: str
    partition: int
    value: int
    position: int


COUNTERS = Table(
    "counters", CounterRow, partition=(Column("scope"),), clustering=(Column("name"), Column("partition", "int"))
)

BY_STATUS = "status"
TOTALS = "totals"

_ENDS_RUNS = frozenset((ev.AttemptSucceeded, ev.AttemptFailed, ev.RunFailed, ev.RunCancelled, ev.FiresSkipped))


def day_scope(instant: Instant) -> str:
    """The scope of the counters of the day in which `instant` lies."""
    return "day:" + day_of(instant)


def project(accepted: Accepted) -> Sequence[Change]:
    """Deltas. Names of totals are an outcome, with its reason where reasons are few: `failed:gave_up`."""
    old, new = accepted.status_before, accepted.status_after
    changes: list[Change] = []
    if old != new:
        if old is not None:
            changes.append(Count(BY_STATUS, old, -1))
        if new is not None:
            changes.append(Count(BY_STATUS, new, 1))
    ended: dict[tuple[str, str], int] | None = None
    for event in accepted.record.events:
        if type(event) in _ENDS_RUNS and (name := _outcome(event)) is not None:
            ended = {} if ended is None else ended
            more = event.count if isinstance(event, ev.FiresSkipped) else 1
            for scope in (TOTALS, day_scope(event.at)):
                ended[scope, name] = ended.get((scope, name), 0) + more
    if ended is not None:
        changes += [Count(scope, name, delta) for (scope, name), delta in ended.items()]
    return changes


def _outcome(event: ev.Event) -> str | None:
    match event:
        case ev.AttemptSucceeded():
            return "succeeded"
        case ev.AttemptFailed(reason=reason):
            return None if reason is None else f"failed:{reason}"
        case ev.RunFailed(reason=reason):
            return f"failed:{reason}"
        case ev.RunCancelled():
            return "cancelled"
        case ev.FiresSkipped(reason=reason):
            return f"skipped:{reason}"
    return None
