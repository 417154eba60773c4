"""What makes a task unique, in requests and replies."""

from __future__ import annotations

from typing import Any, get_args

from taskscheduler.api.durations import LONGEST, format_duration
from taskscheduler.api.schemas.fields import Fields
from taskscheduler.api.schemas.shapes import (
    DURATION,
    DURATION_OUT,
    LABEL,
    Schema,
    nullable,
    request,
    response,
    text,
    words,
)
from taskscheduler.domain.definition import OnConflict, Uniqueness
from taskscheduler.domain.values import SECOND

LONGEST_KEY = 255
ON_CONFLICT: tuple[OnConflict, ...] = get_args(OnConflict)


def read_unique(fields: Fields | None) -> Uniqueness | None:
    """The unique key of a task; errors are collected."""
    if fields is None:
        return None
    unique = Uniqueness(
        fields.label("key", 1, LONGEST_KEY, required=True) or "",
        fields.duration("period", SECOND, LONGEST, None),
        fields.choice("on_conflict", ON_CONFLICT, "reject"),
    )
    fields.end()
    return unique


def render_unique(unique: Uniqueness) -> dict[str, Any]:
    """As the API shows it."""
    period = None if unique.period is None else format_duration(unique.period)
    return {"key": unique.key, "period": period, "on_conflict": unique.on_conflict}


SCHEMA: Schema = request(
    {"key": text(1, LONGEST_KEY, pattern=LABEL)},
    {
        "period": {**DURATION, "description": "Unique for so long; without it until the task has ended."},
        "on_conflict": words(
            *ON_CONFLICT,
            default="reject",
            description="When another task has the key: 409; that task is cancelled and this one made; or 200 with "
            "that task.",
        ),
    },
    description="No other task with the same key is made meanwhile. It is fixed when the task is made.",
    examples=[{"key": "report-of-customer-7", "on_conflict": "return_existing"}],
)
SHOWN = response(
    {"key": text(1, LONGEST_KEY), "period": nullable(DURATION_OUT), "on_conflict": words(*ON_CONFLICT)},
)
