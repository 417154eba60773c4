"""What a backfill is asked with."""

from __future__ import annotations

from typing import get_args

from taskscheduler.api.schemas.fields import Fields
from taskscheduler.api.schemas.shapes import INSTANT, Schema, request, words
from taskscheduler.api.schemas.task import OVERLAPS
from taskscheduler.domain.events import BackfillOverlap
from taskscheduler.domain.messages import Backfill

BACKFILL_OVERLAPS: tuple[BackfillOverlap, ...] = get_args(BackfillOverlap)


def read_backfill(fields: Fields) -> Backfill:
    """A backfill; errors are collected in `fields.errors`."""
    overlap = fields.raw("overlap")
    if overlap in OVERLAPS and overlap not in BACKFILL_OVERLAPS:
        fields.take("overlap")
        fields.error("overlap", f"{overlap} would drop most of what is asked for; say buffer_all or allow_all")
    for name in ("from", "to"):
        fields.required(name)
    start, until = fields.instant("from"), fields.instant("to")
    backfill = Backfill(start or 0, until or 0, fields.choice("overlap", BACKFILL_OVERLAPS, "buffer_all"))
    fields.end()
    return backfill


COMPONENTS: dict[str, Schema] = {
    "BackfillIn": request(
        {
            "from": {**INSTANT, "description": "At most 3,660 days ago."},
            "to": {**INSTANT, "description": "At most now; the fire time at `to` is not run."},
        },
        {
            "overlap": words(
                *BACKFILL_OVERLAPS,
                default="buffer_all",
                description="One run after another, or as many at once as there is room for.",
            )
        },
        description="At most 100,000 fire times.",
        examples=[{"from": "2030-01-01T00:00:00Z", "to": "2030-02-01T00:00:00Z", "overlap": "allow_all"}],
    ),
}
