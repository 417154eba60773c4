"""Ledgers and reasons as the API shows them."""

from __future__ import annotations

from typing import Any

from taskscheduler.api.values import format_instant
from taskscheduler.api.why_words import answer, said_of, summary
from taskscheduler.domain import events as ev
from taskscheduler.domain.ledger import Difference
from taskscheduler.domain.values import Instant
from taskscheduler.projections.ledgers import TaskLedger
from taskscheduler.projections.task_view import TaskView
from taskscheduler.projections.whys import Why


def ledger(task_id: str, of: TaskLedger) -> dict[str, Any]:
    """The ledger of a task."""
    sums = of.ledger
    return {
        "task_id": task_id,
        "from": format_instant(of.start),
        "to": format_instant(of.end),
        "known_from": _instant(of.known_from),
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


def why(of: Why, view: TaskView) -> dict[str, Any]:
    """Why a task did or did not run at an instant."""
    changes = {(one.version, one.number): one for one in (of.change, of.paused) if one is not None}
    chain = [_link(one.version, one.at, one.type, said_of(one)) for _, one in sorted(changes.items())]
    chain += [_link(one.version, one.event.at, ev.tag_of(one.event), summary(one.event)) for one in of.steps]
    return {
        "task_id": of.task_id,
        "at": format_instant(of.at),
        "nominal_at": _instant(of.nominal_at),
        "outcome": of.outcome,
        "answer": answer(of, view),
        "run_id": None if of.run is None else of.run.id,
        "before": _instant(of.before),
        "after": _instant(of.after),
        "events": sorted(chain, key=lambda link: link["version"]),
    }


def _link(version: int, at: Instant, type: str, said: str) -> dict[str, Any]:
    return {"version": version, "at": format_instant(at), "type": type, "summary": said}


def _instant(instant: Instant | None) -> str | None:
    return None if instant is None else format_instant(instant)
