"""When a schedule would fire."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from litestar import post
from litestar.handlers import HTTPRouteHandler

from taskscheduler.api import operations as op
from taskscheduler.api.body import read_object
from taskscheduler.api.node import Node
from taskscheduler.api.problems import FieldError, invalid
from taskscheduler.api.reply import Reply, json_reply
from taskscheduler.api.routes.common import Request
from taskscheduler.api.schedule_warnings import warnings
from taskscheduler.api.schedule_words import describe
from taskscheduler.api.schemas.fields import Errors, Fields
from taskscheduler.api.schemas.preview import PreviewRequest, read_preview
from taskscheduler.api.schemas.shapes import ref
from taskscheduler.api.values import format_instant, format_local, offset_of
from taskscheduler.domain.bounds import Bounded
from taskscheduler.domain.clock_notes import clock_note
from taskscheduler.domain.schedule import (
    AnyOf,
    Every,
    NeverFires,
    OneTime,
    Schedule,
    first_fire,
    next_after,
    resolve,
    times_of,
    zone_of,
)
from taskscheduler.domain.values import Instant

BREATH = 50
"""After so many fire times what is due gets its turn."""


def handlers(node: Node) -> list[HTTPRouteHandler]:
    """The routes of schedules."""

    @post(
        "/api/schedules/preview",
        status_code=200,
        opt=op.documented(
            op.Operation(
                "previewSchedule",
                "schedules",
                "When a schedule would fire",
                {200: op.Response("The fire times in after < t ≤ until.", ref("Preview"))},
                description="Nothing is created. `now`, a delay and an interval without anchor count from now.",
                body="PreviewIn",
            )
        ),
    )
    async def preview(request: Request) -> Reply:
        body, deep = await read_object(request)
        now, errors = node.clock(), Errors(deep)
        asked = read_preview(Fields(body, "", errors), now)
        errors.check()
        fires: list[dict[str, Any]] = []
        for fire in fire_times(asked, now):
            fires.append(fire)
            if len(fires) % BREATH == 0:
                await asyncio.sleep(0)
        said = {"description": describe(asked.schedule), "warnings": warnings(asked.schedule, now)}
        return json_reply(200, {"fire_times": fires, **said})

    return [preview]


def fire_times(asked: PreviewRequest, now: Instant) -> Iterator[dict[str, Any]]:
    """The fire times that a preview shows. Raises Problem 422 where the schedule never fires."""
    try:
        schedule = resolve(asked.schedule, now, now, asked.task_id)
    except NeverFires as error:
        raise invalid([FieldError(f"/schedule/{error.field}", str(error))]) from None
    times, zone = times_of(schedule), zone_of(schedule)
    since = now if asked.after is None else asked.after
    # Without `after` it is what a task made now would do.
    fire = first_fire(schedule, now) if asked.after is None else times.next_after(asked.after)
    left = asked.count if schedule.max_runs is None else min(asked.count, schedule.max_runs)
    while fire is not None and left and (asked.until is None or fire <= asked.until):
        nominal = times.nominal_of(fire) if isinstance(times, Bounded) else fire
        local = format_local(fire, timedelta(0) if zone is None else offset_of(zone, fire))
        yield {"at": format_instant(fire), "local": local, "note": _note(schedule, since, nominal)}
        since, fire, left = fire, times.next_after(fire), left - 1


def _note(schedule: Schedule, since: Instant, fire: Instant) -> str | None:
    if isinstance(schedule, AnyOf):
        notes = ((each, _note(each, since, fire)) for each in schedule.members)
        return next((note for each, note in notes if note is not None and next_after(each, fire - 1) == fire), None)
    if isinstance(schedule, OneTime | Every):
        return None
    return clock_note(schedule.compiled(), schedule.timezone, since, fire)
