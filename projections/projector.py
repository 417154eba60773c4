"""All read models together: what an accepted record changes in their tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from taskscheduler.domain.calendar import Calendar
from taskscheduler.domain.decision import AcceptedOther, AnyAccepted
from taskscheduler.domain.limit import Limit
from taskscheduler.domain.operation import Operation
from taskscheduler.domain.worker import Worker
from taskscheduler.projections import (
    calendars,
    counters,
    dead_letters,
    events,
    late_reports,
    ledger_rows,
    limits,
    operations,
    runs,
    task_list,
    task_view,
    workers,
)
from taskscheduler.projections.changes import Change
from taskscheduler.projections.ports import ViewStore
from taskscheduler.projections.tables import Table

PROJECTION_VERSION = 7
"""Raised whenever a table or what goes into one changes; a store at another one is rebuilt from the log."""

TABLES: tuple[Table[Any], ...] = (
    task_view.TASKS,
    task_list.BY_CREATED,
    task_list.BY_NEXT_FIRE,
    task_list.BY_NAME,
    runs.RUNS,
    events.EVENTS,
    *dead_letters.TABLES,
    late_reports.LATE_REPORTS,
    counters.COUNTERS,
    ledger_rows.CHANGES,
    ledger_rows.STRETCHES,
    ledger_rows.BACKFILLED,
    ledger_rows.KEPT,
    calendars.CALENDARS,
    calendars.BY_ID,
    workers.WORKERS,
    operations.OPERATIONS,
    operations.BY_START,
    limits.LIMITS,
    limits.BY_ID,
)

_OTHERS: dict[type, Callable[[AcceptedOther], list[Change]]] = {
    Calendar: calendars.project,
    Worker: workers.project,
    Operation: operations.project,
    Limit: limits.project,
}
"""Of what else is on the log nothing is asked."""


def project(accepted: AnyAccepted) -> list[Change]:
    """What the record changes, in order."""
    if isinstance(accepted, AcceptedOther):
        of = _OTHERS.get(type(accepted.after))
        return [] if of is None else of(accepted)
    return [
        *task_view.project(accepted),
        *task_list.project(accepted),
        *runs.project(accepted),
        *events.project(accepted),
        *dead_letters.project(accepted),
        *counters.project(accepted),
        *ledger_rows.project(accepted),
    ]


class Projector:
    """Keeps a store up with the log. Give it every accepted record, in order; a repeated one changes nothing."""

    def __init__(self, store: ViewStore) -> None:
        self._store = store

    def apply(self, accepted: Sequence[AnyAccepted]) -> None:
        """Apply some records."""
        for record in accepted:
            self._store.apply(project(record), record.partition, record.position)
