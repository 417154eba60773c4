"""What holders of attempts reported too late: evidence that was never applied."""

from __future__ import annotations

from typing import Literal

import msgspec

from taskscheduler.domain import events as ev
from taskscheduler.domain.values import Instant, Json
from taskscheduler.projections.tables import Column, Table


class LateReport(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What the holder of attempt `number` said at `at`, when that had ended otherwise. `result` is JSON text."""

    task_id: str
    run_id: str
    number: int
    at: Instant
    outcome: Literal["succeeded", "failed"]
    result: Json | None = None
    error: ev.Error | None = None


LATE_REPORTS = Table(
    "late_reports",
    LateReport,
    partition=(Column("task_id"),),
    clustering=(Column("run_id"), Column("number", "int")),
)


def late_report(task_id: str, event: ev.ReportedLate) -> LateReport:
    """The row of an event."""
    return LateReport(task_id, event.run_id, event.number, event.at, event.outcome, event.result, event.error)
