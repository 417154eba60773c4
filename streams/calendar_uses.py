"""Which tasks use which calendar, and which version of it each goes by: an index of the state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from taskscheduler.domain.calendar import Calendar
from taskscheduler.domain.calendar_days import calendars_used
from taskscheduler.domain.decision import Accepted, AcceptedOther, AnyAccepted
from taskscheduler.domain.state import Task


class Use(NamedTuple):
    """A task goes by this version of the calendar."""

    task_id: str
    version: int


class UseTable(Protocol):
    """Uses in order of (calendar, task)."""

    def put(self, calendar: str, use: Use) -> None: ...
    def delete(self, calendar: str, task_id: str) -> None: ...
    def of(self, calendar: str, after: str, limit: int) -> list[Use]: ...
    def calendars(self) -> list[str]: ...


class CalendarUses:
    """An observer of a replica.

    `defined` is told the name of each calendar that was given another definition, `used` what tasks have begun to use.
    """

    def __init__(self, table: UseTable) -> None:
        self._table = table
        self.defined: Callable[[str], None] = lambda calendar: None
        self.used: Callable[[str, int], None] = lambda calendar, version: None

    def apply(self, accepted: Sequence[AnyAccepted]) -> None:
        """Note what these decisions changed."""
        for change in accepted:
            if isinstance(change, AcceptedOther):
                before, after = change.before, change.after
                if isinstance(before, Calendar) and isinstance(after, Calendar) and before.defined != after.defined:
                    self.defined(after.name)
            elif _may_differ(change):
                self._move(change)

    def of(self, calendar: str, after: str = "", limit: int = 1_000) -> list[Use]:
        """Up to `limit` uses of a calendar by tasks with ids above `after`, in the order of these."""
        return self._table.of(calendar, after, limit)

    def calendars(self) -> list[str]:
        """The names of the calendars that are used."""
        return self._table.calendars()

    def _move(self, change: Accepted) -> None:
        task_id = change.after.id
        before, after = uses_of(change.before), uses_of(change.after)
        for calendar in before.keys() - after.keys():
            self._table.delete(calendar, task_id)
        for calendar, version in after.items():
            if before.get(calendar) != version:
                self._table.put(calendar, Use(task_id, version))
                self.used(calendar, version)


def uses_of(task: Task) -> Mapping[str, int]:
    """The calendars that a task uses, each with its version; none once it is cancelled or deleted."""
    if task.cancelled_at or task.deleted_at:
        return {}
    found: dict[str, int] = {}
    for one in calendars_used(task):
        found[one.calendar] = min(one.version, found.get(one.calendar, one.version))
    return found


def _may_differ(change: Accepted) -> bool:
    # This runs for every record of the log, and nearly none of them changes a definition.
    before, after = change.before, change.after
    return (
        before.definition is not after.definition
        or before.pending is not after.pending
        or before.cancelled_at != after.cancelled_at
        or before.deleted_at != after.deleted_at
    )
