"""The change of schedule that was asked for from an instant on."""

from __future__ import annotations

from taskscheduler.domain import events as ev
from taskscheduler.domain.draft import Draft, resolved, tzdata_of
from taskscheduler.domain.errors import Invalid
from taskscheduler.domain.fires import catch_up, drop_owed, settle_fires
from taskscheduler.domain.schedule import Manual, OneTime, Schedule, first_fire, next_after, nominal_of
from taskscheduler.domain.state import Task
from taskscheduler.domain.values import DAY, Instant, Millis

FARTHEST: Millis = 3_660 * DAY
"""How far ahead a change may be planned."""


def planned(draft: Draft, schedule: Schedule, effective_from: Instant) -> ev.Pending:
    """The change to a schedule as it was asked for. Raises Invalid."""
    if effective_from <= draft.now:
        raise Invalid("/effective_from", "must lie in the future; leave it out to change the schedule now")
    if effective_from > draft.now + FARTHEST:
        raise Invalid("/effective_from", f"must be at most {FARTHEST // DAY:,} days ahead")
    schedule = resolved(draft, schedule, effective_from, draft.task.created_at)
    if isinstance(schedule, OneTime) and schedule.at < effective_from:
        raise Invalid("/schedule/at", "lies before effective_from; name a later instant, or change the schedule now")
    first = first_fire(schedule, effective_from - 1)
    if isinstance(schedule, Manual):
        raise Invalid(
            "/schedule/manual", "cannot be planned: it names no fire time; change the schedule when it is due"
        )
    if first is None:
        raise Invalid("/schedule", "never fires from effective_from on")
    return ev.Pending(schedule, effective_from, first)


def switch(draft: Draft) -> None:
    """Let the pending schedule take force when its time has come: after what the old one still named before it.

    What is owed then, and does not run at once, is skipped, as it is by any change of schedule.
    """
    task = draft.task
    pending, definition = task.pending, task.definition
    if pending is None or pending.effective_from > draft.now or definition is None:
        return
    end = _end_of(task, definition.schedule, pending.effective_from)
    settle_fires(draft, end)
    catch_up(draft)
    drop_owed(draft, end)
    draft.add(
        ev.ScheduleSwitched(
            at=draft.now,
            schedule=pending.schedule,
            effective_from=pending.effective_from,
            next_fire=pending.next_fire,
            tzdata=tzdata_of(pending.schedule),
        )
    )


def _end_of(task: Task, schedule: Schedule, effective_from: Instant) -> Instant:
    """Past the last fire time whose nominal time lies before `effective_from`: jitter may have put it off beyond."""
    fire = task.next_fire
    if fire is None or fire < effective_from:
        fire = next_after(schedule, effective_from - 1)
    return effective_from if fire is None or nominal_of(schedule, fire) >= effective_from else fire + 1
