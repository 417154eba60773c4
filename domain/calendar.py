"""A calendar: the state of the stream `calendar/<name>`, and the rules of it. Pure, as those of a task are."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from taskscheduler.domain import errors
from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.calendar_definition import CalendarDefinition, ResolvedDays
from taskscheduler.domain.decided import Decided, check_version, folded, key_used, replayed
from taskscheduler.domain.evolve import with_key
from taskscheduler.domain.state import UsedKey
from taskscheduler.domain.values import Instant

CALENDAR_STREAM = "calendar/"


class Calendar(msgspec.Struct, frozen=True, gc=False, tag="calendar", omit_defaults=True):
    """`Calendar(id)` is one that never existed; its id is the name of its stream.

    `defined` is the version of the decision that gave it the definition it has: what clients and tasks know it by.
    `version` counts accepted decisions, and survives that the calendar is deleted and made again.
    """

    id: str
    version: int = 0
    recorded_at: Instant = 0
    definition: CalendarDefinition | None = None
    resolved: ResolvedDays | None = None
    defined: int = 0
    created_version: int = 0
    created_at: Instant = 0
    updated_at: Instant = 0
    keys: dict[str, UsedKey] = {}

    @property
    def name(self) -> str:
        """What users call it."""
        return self.id.removeprefix(CALENDAR_STREAM)

    @property
    def exists(self) -> bool:
        """Defined and not deleted."""
        return self.definition is not None


def calendar_id(name: str) -> str:
    """The id under which the state of a calendar is kept."""
    return CALENDAR_STREAM + name


def evolve(calendar: Calendar, event: ev.Event) -> Calendar:
    """The state after `event`. Total; an event of something else changes nothing."""
    match event:
        case ev.CalendarDefined():
            return replace(
                calendar,
                definition=event.definition,
                resolved=event.resolved,
                defined=calendar.version + 1,
                created_version=calendar.created_version if calendar.exists else calendar.version + 1,
                created_at=calendar.created_at if calendar.exists else event.at,
                updated_at=event.at,
            )
        case ev.CalendarDeleted():
            return Calendar(
                calendar.id, calendar.version, calendar.recorded_at, updated_at=event.at, keys=calendar.keys
            )
        case ev.KeyUsed():
            return replace(calendar, keys=with_key(calendar.keys, event))
        case _:
            return calendar


def decide(calendar: Calendar, command: msg.Command, context: msg.Context, policy: msg.Policy) -> Decided:
    """Apply the command. Raises a DomainError when it is refused. Defining what is there already changes nothing."""
    if (known := replayed(calendar, context)) is not None:
        return known
    events: list[ev.Event] = []
    match command:
        case msg.DefineCalendar():
            check_version("calendar", calendar.defined, context)
            if (command.definition, command.resolved) != (calendar.definition, calendar.resolved):
                events.append(ev.CalendarDefined(context.now, command.definition, command.resolved))
            verb = "replace" if calendar.exists else "create"
        case msg.DeleteCalendar():
            if not calendar.exists:
                raise errors.CalendarNotFound(f"there is no calendar {calendar.name!r}")
            check_version("calendar", calendar.defined, context)
            events.append(ev.CalendarDeleted(context.now, by=context.actor))
            verb = "delete"
        case _:
            raise errors.WrongState("a calendar can only be defined and deleted")
    return folded(calendar, events + key_used(context, verb), evolve)


def wakeup(calendar: Calendar) -> Instant | None:
    """A calendar never needs attention by itself."""
    return None
