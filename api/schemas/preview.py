"""What a preview asks for."""

from __future__ import annotations

import msgspec

from taskscheduler.api.schemas.fields import Fields
from taskscheduler.api.schemas.schedule import read_schedule
from taskscheduler.api.schemas.shapes import ID, INSTANT, Schema, ref, request, whole
from taskscheduler.domain.schedule import Schedule
from taskscheduler.domain.values import Instant

MOST_FIRE_TIMES = 1_000
FIRE_TIMES = 10


class PreviewRequest(msgspec.Struct, frozen=True):
    """Up to `count` fire times in after < t <= until. `after` None is now; `task_id` is what `H` follows from."""

    schedule: Schedule
    count: int
    after: Instant | None
    until: Instant | None
    task_id: str


def read_preview(fields: Fields, now: Instant) -> PreviewRequest:
    """A preview; errors are collected in `fields.errors`."""
    asked = PreviewRequest(
        read_schedule(fields.object("schedule", required=True), now),
        fields.integer("count", 1, MOST_FIRE_TIMES, FIRE_TIMES),
        fields.instant("after"),
        fields.instant("until"),
        fields.id("task_id") or "",
    )
    fields.end()
    return asked


COMPONENTS: dict[str, Schema] = {
    "PreviewIn": request(
        {"schedule": ref("ScheduleIn")},
        {
            "count": whole(1, MOST_FIRE_TIMES, default=FIRE_TIMES),
            "after": {**INSTANT, "description": "Now by default."},
            "until": INSTANT,
            "task_id": {**ID, "description": "The task whose `H` is meant; left out, one without an id."},
        },
        examples=[{"schedule": {"cron": "0 2 * * *", "timezone": "Europe/Berlin"}, "count": 3}],
    )
}
