"""When a schedule would fire."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from litestar import post
from litestar.handlers import HTTPRouteHandler
from msgspec.structs import replace

from taskscheduler.api import operations as op
from taskscheduler.api.body import read_object
from taskscheduler.api.calendars.conflicts import conflicts
from taskscheduler.api.calendars.fill_in import fill_in
from taskscheduler.api.node import Node
from taskscheduler.api.problems import FieldError, invalid
from taskscheduler.api.reply import Reply, json_reply
from taskscheduler.api.routes.common import Request
from taskscheduler.api.schedule_warnings import warnings
from taskscheduler.api.schedule_words import describe
from taskscheduler.api.schemas.fields import Errors, Fields
from taskscheduler.api.schemas.preview import PreviewRequest, read_preview
from taskscheduler.api.schemas.shapes import ref
from taskscheduler.api.values import format_instant, format_local, offset_of, parse_instant
from taskscheduler.domain.bounds import Bounded
from taskscheduler.domain.calendar_days import calendars_of
from taskscheduler.domain.clock_notes import note_of
from taskscheduler.domain.schedule import (
    NeverFires,
    Schedule,
    first_fire,
    resolve,
    times_of,
    zone_of,
)
from taskscheduler.domain.values import DAY, Instant

FAR = 366 * DAY

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
        if not errors.found:
            asked = replace(asked, schedule=await fill_in(node, asked.schedule, errors))
        errors.check()
        fires: list[dict[str, Any]] = []
        for fire in fire_times(asked, now):
            fires.append(fire)
            if len(fires) % BREATH == 0:
                await asyncio.sleep(0)
        said: dict[str, Any] = {"description": describe(asked.schedule), "warnings": warnings(asked.schedule, now)}
        if calendars_of(asked.schedule):
            taken_out = await asyncio.to_thread(_conflicts, asked, now, [fire["at"] for fire in fires])
            said["warnings"] += _conflict_warnings(asked.schedule, taken_out)
            said["conflicts"] = [
                {"at": format_instant(at), "local": _local(asked.schedule, at), "calendars": names}
                for at, names in taken_out.items()
            ]
        return json_reply(200, {"fire_times": fires, **said})

    return [preview]


def fire_times(asked: PreviewRequest, now: Instant) -> Iterator[dict[str, Any]]:
    """The fire times that a preview shows. Raises Problem 422 where the schedule never fires."""
    try:
        schedule = resolve(asked.schedule, now, now, asked.task_id)
    except NeverFires as error:
        raise invalid([FieldError(f"/schedule/{error.field}", str(error))]) from None
    times = times_of(schedule)
    since = now if asked.after is None else asked.after
    # Without `after` it is what a task made now would do.
    fire = first_fire(schedule, now) if asked.after is None else times.next_after(asked.after)
    left = _most(asked, schedule)
    while fire is not None and left and (asked.until is None or fire <= asked.until):
        nominal = times.nominal_of(fire) if isinstance(times, Bounded) else fire
        yield {"at": format_instant(fire), "local": _local(schedule, fire), "note": note_of(schedule, since, nominal)}
        since, fire, left = fire, times.next_after(fire), left - 1


def _conflicts(asked: PreviewRequest, now: Instant, shown: list[str]) -> Mapping[Instant, list[str]]:
    """What calendars take out as far as fire times are shown; of a year where there are no more."""
    schedule = resolve(asked.schedule, now, now, asked.task_id)
    began = now if asked.after is None else asked.after
    last = parse_instant(shown[-1]) if shown else began
    return conflicts(schedule, began, last if len(shown) == _most(asked, schedule) else asked.until or last + FAR)


def _most(asked: PreviewRequest, schedule: Schedule) -> int:
    """How many fire times are shown at most."""
    return asked.count if schedule.max_runs is None else min(asked.count, schedule.max_runs)


def _conflict_warnings(schedule: Schedule, taken_out: Mapping[Instant, list[str]]) -> list[str]:
    """One for each calendar that takes out anything."""
    found: dict[str, list[Instant]] = {}
    for at, names in taken_out.items():
        for name in dict.fromkeys(names):
            found.setdefault(name, []).append(at)
    return [
        f"conflicts with calendars: {name} takes out {_local(schedule, times[0])}"
        + (f" and {len(times) - 1} more" if len(times) > 1 else "")
        for name, times in found.items()
    ]


def _local(schedule: Schedule, instant: Instant) -> str:
    zone = zone_of(schedule)
    return format_local(instant, timedelta(0) if zone is None else offset_of(zone, instant))
