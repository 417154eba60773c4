"""What a clock change did to a fire time of a cron schedule, in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from taskscheduler.domain.local_days import DAY
from taskscheduler.domain.on_clock import OnClock, Times
from taskscheduler.domain.schedule import AnyOf, Every, Manual, OneTime, Schedule, next_after
from taskscheduler.domain.values import Instant
from taskscheduler.domain.zones import Zone, offsets

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def note_of(schedule: Schedule, since: Instant, fire: Instant) -> str | None:
    """The same of any schedule, at one of its nominal times; None where it goes by no clock."""
    if isinstance(schedule, AnyOf):
        notes = ((each, note_of(each, since, fire)) for each in schedule.members)
        return next((note for each, note in notes if note is not None and next_after(each, fire - 1) == fire), None)
    if isinstance(schedule, OneTime | Every | Manual):
        return None
    return clock_note(schedule.compiled(), schedule.timezone, since, fire)


def clock_note(clocked: OnClock, zone: str, since: Instant, fire: Instant) -> str | None:
    """Why the first fire time after `since` is where it is, or what was dropped before it; None on other days."""
    clock, at, times = offsets(zone), fire // 1000, clocked.times
    start, end, offset, before = clock.segment(at)
    local = at + offset
    if at == start and before < offset and clocked.gap == "shift" and (swallowed := times.count(at + before, local)):
        missing = _shown(times.next_from(at + before), local)
        if swallowed > 1:
            return f"shifted: {missing} and {swallowed - 1} more do not exist"
        return f"shifted: {missing} does not exist"
    if local < start + before and before > offset:
        return f"{_shown(local, local)} comes twice: this is the second time" + _only(clocked)
    if local >= end + clock.segment(end)[2]:
        return f"{_shown(local, local)} comes twice: this is the first time" + _only(clocked)
    dropped = _dropped(times, clock, max(since // 1000, 0), local) if clocked.gap == "skip" else None
    return None if dropped is None else f"skipped before: {_shown(dropped, local)} does not exist"


def _only(clocked: OnClock) -> str:
    return "" if clocked.fold == "both" else ", the other one is skipped"


def _dropped(times: Times, clock: Zone, since: int, local: int) -> int | None:
    """The local time right after the instant `since` that matches but does not exist, if it is before `local`."""
    match = times.next_from(since + 1 + clock.segment(since)[2])
    if match >= local:
        return None
    at = max(match - 2 * DAY, 0)
    while at < match + 2 * DAY:
        start, end, offset, before = clock.segment(at)
        if start + before <= match < start + offset:
            return match
        at = end
    return None


def _shown(local: int, near: int) -> str:
    """The local time, with its date where that is not the date of `near`."""
    moment = _EPOCH + timedelta(seconds=local)
    clock = moment.strftime("%H:%M:%S" if local % 60 else "%H:%M")
    return clock if local // DAY == near // DAY else f"{clock} on {moment:%Y-%m-%d}"
