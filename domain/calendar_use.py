"""What becomes of a task when a calendar that it uses changes."""

from __future__ import annotations

from msgspec.structs import replace

from taskscheduler.domain import events as ev
from taskscheduler.domain.calendar_days import calendars_of, calendars_used, with_calendar
from taskscheduler.domain.draft import Draft, tzdata_of
from taskscheduler.domain.excluded import ExceptCalendar
from taskscheduler.domain.fires import drop_owed
from taskscheduler.domain.schedule import (
    OneTime,
    Schedule,
    count_between,
    first_fire,
    next_after,
    nominal_of,
    prev_before,
)
from taskscheduler.domain.settle import settle
from taskscheduler.domain.values import Instant


def follow(draft: Draft, calendar: ExceptCalendar) -> None:
    """Let the task go by the days of a newer version of a calendar, if it uses it, now or from a planned change on.

    What has come is settled already and stays so; `next_fire` and what comes after it go by the new days.
    """
    task, definition = draft.task, draft.task.definition
    if definition is None:
        return
    before, pending = definition.schedule, task.pending
    held = (one.version for one in calendars_used(task) if one.calendar == calendar.calendar)
    if min(held, default=calendar.version) >= calendar.version:
        return
    after = with_calendar(before, calendar)
    # What is owed is a stretch of the schedule: under another one it would be other fire times.
    owed = [] if task.backlog is None else [(task.backlog.next, task.backlog.until)]
    if task.pause is not None and task.next_fire is not None:
        owed.append((task.next_fire, draft.now + 1))
    if not all(_same_between(before, after, start, end) for start, end in owed):
        drop_owed(draft, draft.now + 1)
    fire = _next_fire(draft, before, after)
    draft.add(
        ev.CalendarFollowed(
            at=draft.now,
            calendar=calendar,
            next_fire=fire,
            tzdata=tzdata_of(after),
            pending=None if pending is None else _planned(pending, calendar),
        )
    )
    settle(draft)


def _planned(pending: ev.Pending, calendar: ExceptCalendar) -> ev.Pending:
    schedule = with_calendar(pending.schedule, calendar)
    return replace(pending, schedule=schedule, next_fire=first_fire(schedule, pending.effective_from - 1))


def _next_fire(draft: Draft, before: Schedule, after: Schedule) -> Instant | None:
    task, now = draft.task, draft.now
    fire = task.next_fire
    if fire is not None and fire <= now:
        return fire  # it waits for the end of a pause
    if isinstance(after, OneTime):
        return next_after(after, now)
    if task.exhausted:
        return None
    if fire is not None and (nominal := nominal_of(before, fire)) <= now:
        # Its time has come, and it is only put off by jitter.
        first = first_fire(after, nominal - 1)
        if first is not None and nominal_of(after, first) == nominal:
            return first
    return first_fire(after, now)


def _same_between(before: Schedule, after: Schedule, start: Instant, end: Instant) -> bool:
    """Whether both name the same fire times in start <= t < end. Counted, not walked: a pause may be long."""
    first, last = next_after(before, start - 1), prev_before(before, end)
    if (first, last) != (next_after(after, start - 1), prev_before(after, end)):
        return False
    if first is None or last is None or last < first:
        return True
    # Those between are put off alike where they are the same, and they are where leaving out the days of both takes
    # none of them away.
    begin, until = nominal_of(before, first), nominal_of(before, last) + 1
    both = replace(after, excluded=after.excluded + calendars_of(before))
    counts = {count_between(replace(each, jitter=0), begin, until) for each in (before, after, both)}
    return len(counts) == 1
