"""The end of a pause, and what becomes of the fire times that came in it."""

from __future__ import annotations

from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.draft import Draft
from taskscheduler.domain.fires import advance, carry_out, skip_range
from taskscheduler.domain.plan import plan_resumed
from taskscheduler.domain.schedule import is_recurring, next_after


def resume(draft: Draft, command: msg.Resume, by: str) -> None:
    """Resume a paused task. The only run of a one-time task is never skipped: settling makes it afterwards."""
    task = draft.task
    definition, start, end = task.definition, task.next_fire, draft.now + 1
    assert definition is not None
    schedule = definition.schedule
    resumed = ev.TaskResumed(at=draft.now, by=by, note=command.note, missed=command.missed)
    if start is None or start >= end or not is_recurring(schedule):
        draft.add(resumed)
        return
    after = next_after(schedule, draft.now)
    if command.missed == "skip":
        skip_range(draft, schedule, start, end, "paused")
        advance(draft, schedule, after, task.backlog)
        draft.add(resumed)
        return
    skips, plan = plan_resumed(task, end, latest=command.missed == "latest")
    for skip in skips:
        skip_range(draft, schedule, *skip)
    draft.add(resumed)
    carry_out(draft, schedule, plan, after)
