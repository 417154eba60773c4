"""Dead letters as the API shows them."""

from __future__ import annotations

from typing import Any

import msgspec

from taskscheduler.api import render
from taskscheduler.api.values import format_instant
from taskscheduler.projections.late_reports import LateReport
from taskscheduler.projections.letters import DeadLetterView, Group, Story


def dead_letter(view: DeadLetterView, status: str | None = None) -> dict[str, Any]:
    """A run that failed for good, with what its task was then; `status` is that of the run made of it since."""
    retried = view.retried
    return {
        **render.run(view.run),
        "task_name": view.letter.task_name,
        "tags": view.letter.tags,
        "retried": None
        if retried is None
        else {
            "run_id": retried.by_run,
            "at": format_instant(retried.at),
            "by": retried.actor,
            "status": status,
        },
    }


def story(of: Story) -> dict[str, Any]:
    """All that is known of one."""
    return {
        **dead_letter(of.view, None if of.again is None else of.again.status),
        "definition": None if of.definition is None else render.definition(of.definition),
        "late_reports": late_reports(of.late),
    }


def late_reports(reports: tuple[LateReport, ...]) -> list[dict[str, Any]]:
    """What was reported too late."""
    return [
        {
            "attempt": report.number,
            "at": format_instant(report.at),
            "outcome": report.outcome,
            "result": None if report.result is None else msgspec.Raw(report.result.encode()),
            "error": report.error,
        }
        for report in reports
    ]


def group(of: Group) -> dict[str, Any]:
    """Those with one type of error."""
    last = of.last
    return {
        "error_type": of.error_type,
        "count": of.count,
        "exact": of.exact,
        "tasks": of.tasks,
        "first_seen": format_instant(of.first_seen),
        "last_seen": format_instant(of.last_seen),
        "last": {
            "task_id": last.task_id,
            "run_id": last.run_id,
            "task_name": last.task_name,
            "reason": last.reason,
        },
    }
