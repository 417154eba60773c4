"""The calendars in a schedule: their days stand there, since a decision reads no other stream."""

from __future__ import annotations

from msgspec.structs import replace

from taskscheduler.domain.excluded import ExceptCalendar
from taskscheduler.domain.schedule import Schedule
from taskscheduler.domain.state import Task


def calendars_of(schedule: Schedule) -> tuple[ExceptCalendar, ...]:
    """The calendars that a schedule leaves out."""
    if not schedule.excluded:
        return ()
    return tuple(one for one in schedule.excluded if type(one) is ExceptCalendar)


def calendars_used(task: Task) -> tuple[ExceptCalendar, ...]:
    """The calendars that a task uses, now or from a planned change on; one may be there twice."""
    definition, pending = task.definition, task.pending
    used = () if definition is None else calendars_of(definition.schedule)
    return used if pending is None else used + calendars_of(pending.schedule)


def with_calendar(schedule: Schedule, calendar: ExceptCalendar) -> Schedule:
    """The schedule with the days of a calendar as these are."""
    name = calendar.calendar
    excluded = tuple(
        calendar if type(one) is ExceptCalendar and one.calendar == name else one for one in schedule.excluded
    )
    return replace(schedule, excluded=excluded)
