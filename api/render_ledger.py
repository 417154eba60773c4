"""Ledgers as the API shows them."""

from __future__ import annotations

from typing import Any

from taskscheduler.api.values import format_instant
from taskscheduler.domain.ledger import Difference
from taskscheduler.projections.ledgers import TaskLedger


def ledger(task_id: str, of: TaskLedger) -> dict[str, Any]:
    """The ledger of a task."""
    sums = of.ledger
    return {
        "task_id": task_id,
        "from": format_instant(of.start),
        "to": format_instant(of.end),
        "known_from": None if of.known_from is None else format_instant(of.known_from),
        "nominal": sums.nominal,
        "fired": sums.fired,
        "caught_up": sums.caught_up,
        "skipped": sums.skipped,
        "owed": sums.owed,
        "pending": sums.pending,
        "to_come": sums.to_come,
        "backfilled": of.backfilled,
        "balanced": sums.balanced,
        "differing": sums.differing,
        "differences": [_difference(one) for one in sums.differences],
    }


def _difference(of: Difference) -> dict[str, Any]:
    return {
        "from": format_instant(of.first),
        "until": format_instant(of.last),
        "nominal": of.nominal,
        "accounted": of.accounted,
        "detail": of.detail,
    }
