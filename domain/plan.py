"""Planning: what becomes of fire times that have come, by the overlap and catch-up policies of the task."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from taskscheduler.domain import events as ev
from taskscheduler.domain.definition import Overlap
from taskscheduler.domain.schedule import Schedule, count_between, next_after, prev_before
from taskscheduler.domain.state import MAX_ACTIVE_RUNS, Task
from taskscheduler.domain.values import Instant, Millis

BUFFERS: tuple[Overlap, ...] = ("buffer_one", "buffer_all")
MOST_BUFFERED = 1_000
"""Fire times that `buffer_all` lets wait."""

AFTER_FIRES: tuple[ev.SkipReason, ...] = ("overlap", "too_many_active")
"""Reasons of skips that follow from the fires of the same decision."""

Skip = tuple[Instant, Instant, ev.SkipReason]
"""Every fire time in start <= t < end."""

Fire = tuple[Instant, ev.RunCause]


class Plan(NamedTuple):
    """Skips, what is owed after it, and the runs to be made at once."""

    skips: list[Skip]
    backlog: ev.Backlog | None
    fires: list[Fire]


def plan_one_time(task: Task) -> Plan:
    """What becomes of the only fire time, which has come. It is never given up for being late."""
    assert task.definition is not None and task.next_fire is not None
    start, end = task.next_fire, task.next_fire + 1
    if len(task.runs) >= MAX_ACTIVE_RUNS and task.definition.overlap != "cancel_other":
        return Plan([(start, end, "too_many_active")], task.backlog, [])
    return _plan_on_time(task, start, end)


def plan_fires(task: Task, now: Instant, end: Instant, late_after: Millis) -> Plan:
    """What becomes of the fire times from `next_fire` up to `end`. Those over `late_after` ago were missed."""
    assert task.definition is not None and task.next_fire is not None
    schedule, policy = task.definition.schedule, task.definition.catch_up
    start, late = task.next_fire, now - late_after
    on_time = _first_from(schedule, start, late)
    on_time = on_time if on_time is not None and on_time < end else None
    skips: list[Skip] = []
    fires: list[Fire] = []
    if start < late:
        missed_end = min(late, end)
        # What is not missed yet is not outside the window either, however short that is.
        oldest = min(now - policy.window, late)
        if policy.policy == "none":
            skips.append((start, missed_end, "missed"))
        elif policy.policy == "latest":
            last = prev_before(schedule, missed_end)
            wanted = last is not None and last >= max(start, oldest) and on_time is None
            cut = last if wanted and last is not None else missed_end
            skips += [(start, min(oldest, cut), "outside_window"), (max(start, oldest), cut, "missed")]
            if wanted and last is not None:
                if (kept_from := _kept_from(task)) is not None:
                    skips.append((last, missed_end, kept_from))
                else:
                    fires.append((last, "catch_up"))
        else:
            return _plan_backlog(task, start, oldest, missed_end, end)
    if on_time is None:
        return Plan(skips, task.backlog, fires)
    plan = _plan_on_time(task, on_time, end)
    return Plan(skips + plan.skips, plan.backlog, fires + plan.fires)


def _plan_on_time(task: Task, first: Instant, end: Instant) -> Plan:
    assert task.definition is not None
    schedule, overlap = task.definition.schedule, task.definition.overlap
    if overlap == "allow_all":
        return _plan_all(task, first, end)
    if overlap == "cancel_other":
        last = prev_before(schedule, end) or first
        return Plan([(first, last, "overlap")], task.backlog, [(last, "schedule")])
    if _waits(task):
        return _plan_buffer(task, first, end)
    plan = _plan_buffer(task, first + 1, end)
    return Plan(plan.skips, plan.backlog, [(first, "schedule")])


def _plan_all(task: Task, first: Instant, end: Instant) -> Plan:
    assert task.definition is not None
    schedule, room = task.definition.schedule, MAX_ACTIVE_RUNS - len(task.runs)
    fires: list[Fire] = []
    fire: Instant | None = first
    while fire is not None and fire < end and len(fires) < room:
        fires.append((fire, "schedule"))
        fire = next_after(schedule, fire)
    return Plan([] if fire is None else [(fire, end, "too_many_active")], task.backlog, fires)


def _plan_buffer(task: Task, start: Instant, end: Instant) -> Plan:
    """What waits of the fire times from `start` on, behind a run that is active or made by this decision."""
    assert task.definition is not None
    schedule, overlap, older = task.definition.schedule, task.definition.overlap, task.backlog
    first = next_after(schedule, start - 1)
    if overlap not in BUFFERS or first is None or first >= end:
        return Plan([(start, end, "overlap")], older, [])
    room = 1 if overlap == "buffer_one" else MOST_BUFFERED
    if older is not None:
        room -= count_between(schedule, older.next, older.until)
        if room <= 0 or count_between(schedule, older.until, first):
            # A backlog is one stretch; between the two lie fire times that were settled otherwise.
            return Plan([(start, end, "overlap")], older, [])
    cut = first
    for _ in range(room):
        following = next_after(schedule, cut - 1)
        if following is None or following >= end:
            cut = end
            break
        cut = following + 1
    made = _backlog(schedule, first, cut)
    if older is not None:
        made = replace(older, until=cut, count=older.count + made.count)
    return Plan([(cut, end, "overlap")], made, [])


def _backlog(schedule: Schedule, start: Instant, end: Instant, resumed_until: Instant | None = None) -> ev.Backlog:
    return ev.Backlog(start, end, count_between(schedule, start, end), resumed_until)


def _waits(task: Task) -> bool:
    """Whether a fire has to wait for runs that are active, or for what is owed before it."""
    assert task.definition is not None
    busy = task.busy > 0 or task.backlog is not None
    return busy and task.definition.overlap not in ("allow_all", "cancel_other")


def _kept_from(task: Task) -> ev.SkipReason | None:
    """What keeps a single fire time from running at once."""
    if _waits(task):
        return "overlap"
    assert task.definition is not None
    full = len(task.runs) >= MAX_ACTIVE_RUNS and task.definition.overlap == "allow_all"
    return "too_many_active" if full else None


def _plan_backlog(task: Task, start: Instant, oldest: Instant, late: Instant, end: Instant) -> Plan:
    """The last missed times within window and limit are caught up, and with them what is due now."""
    assert task.definition is not None
    schedule, limit = task.definition.schedule, task.definition.catch_up.limit
    skips, start, resumed_until = _joined(task, start)
    first = _last_n_start(schedule, max(start, oldest), end, limit)
    if first is None:
        first = end
    skips.append((start, min(oldest, first), "outside_window"))
    skips.append((max(start, oldest), min(first, late), "missed"))
    skips.append((max(start, late), first, "overlap"))
    return Plan(skips, _backlog(schedule, first, end, resumed_until) if first < end else None, [])


def plan_resumed(task: Task, end: Instant, *, latest: bool) -> tuple[list[Skip], Plan]:
    """What becomes of the fire times that came in a pause, now that the latest or all of them shall run.

    Someone asked for them, so that the catch-up window does not count; the limit does. The skips apart from the plan
    are of times that the pause covered, or of what was owed before it.
    """
    assert task.definition is not None and task.next_fire is not None
    schedule, began = task.definition.schedule, task.next_fire
    if latest:
        last = prev_before(schedule, end)
        assert last is not None
        skips: list[Skip] = [(began, last, "paused")]
        match _kept_from(task):
            case None:
                return skips, Plan([], task.backlog, [(last, "catch_up")])
            case "overlap":
                plan = _plan_buffer(task, last, end)
            case reason:
                plan = Plan([(last, end, reason)], task.backlog, [])
        waiting = plan.backlog
        if waiting is not None and waiting is not task.backlog:
            waiting = replace(waiting, resumed_until=end)
        return skips, plan._replace(backlog=waiting)
    skips, start, _ = _joined(task, began)
    first = _last_n_start(schedule, start, end, task.definition.catch_up.limit)
    assert first is not None
    skips += [(start, min(first, began), "missed"), (began, first, "paused")]
    return skips, Plan([], _backlog(schedule, first, end, resumed_until=end), [])


def _joined(task: Task, start: Instant) -> tuple[list[Skip], Instant, Instant | None]:
    """Where a backlog of the times from `start` on begins, with the older one if that reaches up to it.

    A backlog names one stretch: an older one apart from it, with times between that were settled otherwise, gives way.
    """
    older = task.backlog
    assert task.definition is not None
    if older is None:
        return [], start, None
    if count_between(task.definition.schedule, older.until, start):
        return [(older.next, older.until, "missed")], start, None
    return [], older.next, older.resumed_until


def _first_from(schedule: Schedule, start: Instant, instant: Instant) -> Instant | None:
    """The first fire time at or after both instants, where `start` is one."""
    return start if start >= instant else next_after(schedule, instant - 1)


def _last_n_start(schedule: Schedule, start: Instant, end: Instant, limit: int) -> Instant | None:
    """The first of the last `limit` fire times in start <= t < end."""
    first, cursor = None, end
    for _ in range(limit):
        previous = prev_before(schedule, cursor)
        if previous is None or previous < start:
            break
        first = cursor = previous
    return first
