"""Calendars as clients see them: values for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from taskscheduler.api.calendars.spans import days_of
from taskscheduler.api.values import format_instant
from taskscheduler.projections.calendars import CalendarView


def summary(view: CalendarView) -> dict[str, Any]:
    """A calendar without its days."""
    definition, resolved, holidays = view.definition, view.resolved, view.definition.holidays
    return {
        "name": view.name,
        "timezone": definition.timezone,
        "dates": definition.dates,
        "ranges": [{"from": one.first, "to": one.last} for one in definition.ranges],
        "holidays": None
        if holidays is None
        else {
            "country": holidays.country,
            "region": holidays.region,
            "years": holidays.years,
            "categories": holidays.categories,
        },
        "note": definition.note,
        "version": view.version,
        "day_count": resolved.count,
        "resolved": {
            "first_year": resolved.first_year,
            "last_year": resolved.last_year,
            "holidays": resolved.holidays,
            "tzdata": resolved.tzdata,
        },
        "created_at": format_instant(view.created_at),
        "updated_at": format_instant(view.updated_at),
    }


def calendar(
    view: CalendarView, users: Sequence[str], since: date | None = None, until: date | None = None
) -> dict[str, Any]:
    """A calendar with its days from `since` to `until`, both included, and some tasks that use it."""
    days = [
        day.isoformat()
        for day in days_of(view.resolved.days)
        if (since is None or day >= since) and (until is None or day <= until)
    ]
    return {**summary(view), "ics": view.definition.ics, "days": days, "used_by": users}
