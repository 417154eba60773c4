"""The days of the calendars that a schedule names, as they are now: a decision on a task reads no other stream."""

from __future__ import annotations

from msgspec.structs import replace

from taskscheduler.api.node import Node
from taskscheduler.api.problems import FieldError
from taskscheduler.api.schemas.fields import Errors
from taskscheduler.domain.calendar import Calendar, calendar_id
from taskscheduler.domain.excluded import ExceptCalendar, Exclusion
from taskscheduler.domain.schedule import Schedule


async def fill_in(node: Node, schedule: Schedule, errors: Errors) -> Schedule:
    """The schedule with these days. What names no calendar is an error, which a request that is repeated may have."""
    if not any(isinstance(one, ExceptCalendar) for one in schedule.excluded):
        return schedule
    excluded: list[Exclusion] = []
    for place, one in enumerate(schedule.excluded):
        if isinstance(one, ExceptCalendar):
            calendar = await _known(node, one.calendar)
            if calendar.resolved is None:
                detail = f"there is no calendar {one.calendar!r}; make it with PUT /api/calendars/{one.calendar}"
                errors.late.append(FieldError(f"/schedule/except/{place}/calendar", detail))
            else:
                one = ExceptCalendar(one.calendar, calendar.defined, calendar.resolved.days)
        excluded.append(one)
    return replace(schedule, excluded=tuple(excluded))


async def _known(node: Node, name: str) -> Calendar:
    calendar = node.handler.calendar(name)
    if not calendar.exists:
        # Another instance may have made it a moment ago.
        await node.handler.caught_up(calendar_id(name))
        calendar = node.handler.calendar(name)
    return calendar
