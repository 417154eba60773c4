"""Calendars as clients see them, and the list of all."""

from __future__ import annotations

import msgspec

from taskscheduler.domain.calendar import CALENDAR_STREAM, Calendar
from taskscheduler.domain.calendar_definition import CalendarDefinition, ResolvedDays
from taskscheduler.domain.decision import AcceptedOther
from taskscheduler.domain.values import Instant
from taskscheduler.projections.changes import Change, Delete, Later, Put
from taskscheduler.projections.tables import Column, Table


class CalendarView(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A calendar with its definition and its days. `version` is that of the definition."""

    id: str
    definition: CalendarDefinition
    resolved: ResolvedDays
    version: int
    created_at: Instant
    updated_at: Instant

    @property
    def name(self) -> str:
        """What users call it."""
        return self.id.removeprefix(CALENDAR_STREAM)


class ById(msgspec.Struct, frozen=True, gc=False):
    list: str
    id: str


ALL = "all"
CALENDARS = Table("calendars", CalendarView, partition=(Column("id"),))
BY_ID = Table("calendars_by_id", ById, partition=(Column("list"),), clustering=(Column("id"),))


def view_of(calendar: Calendar) -> CalendarView:
    """The view of a calendar that exists. Raises ValueError for any other."""
    if calendar.definition is None or calendar.resolved is None:
        raise ValueError(f"there is no calendar {calendar.name!r}")
    return CalendarView(
        calendar.id,
        calendar.definition,
        calendar.resolved,
        calendar.defined,
        calendar.created_at,
        calendar.updated_at,
    )


def project(accepted: AcceptedOther) -> list[Change]:
    """The row after the decision, and its place in the list."""
    before, after = accepted.before, accepted.after
    assert isinstance(before, Calendar) and isinstance(after, Calendar)
    if after.exists:
        changes: list[Change] = [Later(CALENDARS, (after.id,), view_of, (after,))]
        return changes if before.exists else [*changes, Put(BY_ID, ById(ALL, after.id))]
    return [Delete(CALENDARS, (after.id,)), Delete(BY_ID, (ALL, after.id))]
