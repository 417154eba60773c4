"""Limits as clients see them: values for JSON."""

from __future__ import annotations

from typing import Any

from taskscheduler.api.durations import format_duration
from taskscheduler.api.values import format_instant
from taskscheduler.domain.definition import Concurrency
from taskscheduler.domain.limit_definition import LimitDefinition
from taskscheduler.projections.limits import LimitView


def limit(view: LimitView) -> dict[str, Any]:
    """A limit, and how much of it is in use."""
    definition = view.definition or LimitDefinition()
    rate = definition.rate
    return {
        "name": view.name,
        "concurrency": definition.concurrency,
        "rate": None if rate is None else {"count": rate.count, "per": format_duration(rate.per), "burst": rate.burst},
        "note": definition.note,
        "in_use": view.in_use,
        "own": view.own,
        "version": view.version,
        "created_at": format_instant(view.created_at) if view.version else None,
        "updated_at": format_instant(view.updated_at) if view.version else None,
    }


def concurrency(of: Concurrency | None) -> dict[str, Any] | None:
    """What a task says about itself."""
    return None if of is None else {"key": of.key, "limit": of.limit}
