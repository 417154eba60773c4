"""Changes of a definition, at once or from a stated instant on."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.calendar_days import calendars_of, calendars_used, with_calendar
from taskscheduler.domain.calendar_use import follow
from taskscheduler.domain.definition import Definition, DefinitionPatch
from taskscheduler.domain.draft import Draft, resolved, tzdata_of
from taskscheduler.domain.errors import Invalid
from taskscheduler.domain.fires import drop_owed
from taskscheduler.domain.schedule import first_fire
from taskscheduler.domain.settle import settle
from taskscheduler.domain.switch import planned


def update(draft: Draft, definition: Definition, command: msg.Update) -> None:
    """Change the definition; only what is named changes. Raises Invalid."""
    patch = as_of_now(draft, command.patch)
    definition = draft.task.definition or definition
    changed = patch.apply_to(definition)
    rescheduled, pending = patch.schedule is not msgspec.UNSET, draft.task.pending
    if command.effective_from is not None:
        if not rescheduled:
            raise Invalid("/effective_from", "goes with `schedule`: name the one that is to hold from then on")
        pending = planned(draft, changed.schedule, command.effective_from)
        changed, rescheduled = replace(changed, schedule=definition.schedule), False
    elif rescheduled:
        schedule = resolved(draft, changed.schedule, draft.now, draft.task.created_at)
        changed = replace(changed, schedule=schedule)
        rescheduled, pending = schedule != definition.schedule, None
    elif command.drop_pending:
        pending = None
    replanned = pending != draft.task.pending
    if changed == definition and not replanned:
        return
    if rescheduled:
        drop_owed(draft, draft.now + 1)
    computed = changed.schedule if rescheduled else pending.schedule if replanned and pending is not None else None
    draft.add(
        ev.TaskUpdated(
            at=draft.now,
            definition=changed,
            next_fire=first_fire(changed.schedule, draft.now) if rescheduled else draft.task.next_fire,
            tzdata=None if computed is None else tzdata_of(computed),
            pending=pending,
        )
    )
    settle(draft)


def as_of_now(draft: Draft, patch: DefinitionPatch) -> DefinitionPatch:
    """With the newest days that the patch or the task has of a calendar: who asked did not mean to change those."""
    schedule = patch.schedule
    if schedule is msgspec.UNSET:
        return patch
    known = {one.calendar: one for one in calendars_used(draft.task)}
    for calendar in calendars_of(schedule):
        mine = known.get(calendar.calendar)
        if mine is not None and mine.version > calendar.version:
            schedule = with_calendar(schedule, mine)
        else:
            follow(draft, calendar)
    return replace(patch, schedule=schedule)
