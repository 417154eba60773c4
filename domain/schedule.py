"""Schedules: which fire times a definition names. Arithmetic over instants; the evaluation of cron lives in `cron`."""

from __future__ import annotations

from typing import Literal, TypeAlias, assert_never

import msgspec
from msgspec.structs import replace

from taskscheduler.domain.cron import Cron as CompiledCron
from taskscheduler.domain.cron import Fold, Gap, InvalidCron, compile_cron
from taskscheduler.domain.cron_hash import is_hashed, resolve_hash
from taskscheduler.domain.cron_parse import DayRule
from taskscheduler.domain.values import Instant, Millis


class OneTime(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="once", omit_defaults=True):
    """One fire time, resolved when the definition was accepted. `delay` is kept as it was given."""

    at: Instant
    kind: Literal["now", "at", "delay"] = "now"
    delay: Millis | None = None


class Every(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="every", omit_defaults=True):
    """Fires at `anchor + k * every`, k >= 1."""

    every: Millis
    anchor: Instant
    anchored: bool = False
    """Whether the user named the anchor; otherwise it is the moment of creation."""


class Cron(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="cron", omit_defaults=True):
    """Fires when the local time in `timezone` matches `cron`. None is what follows from the expression."""

    cron: str
    timezone: str = "UTC"
    gap: Gap | None = None
    fold: Fold | None = None
    days: DayRule | None = None
    resolved: str | None = None
    """`cron` with each `H` replaced by the values of the task, where there is an `H`."""

    def compiled(self) -> CompiledCron:
        """What gives the fire times; raises InvalidCron."""
        return compile_cron(self.resolved or self.cron, self.gap, self.fold, self.days)


Schedule: TypeAlias = OneTime | Every | Cron


def is_recurring(schedule: Schedule) -> bool:
    """Whether the schedule can name more than one fire time."""
    return not isinstance(schedule, OneTime)


def next_after(schedule: Schedule, instant: Instant) -> Instant | None:
    """The first fire time strictly after `instant`, or None when there is none."""
    match schedule:
        case OneTime(at=at):
            return at if at > instant else None
        case Every(every=every, anchor=anchor):
            return anchor + max(1, (instant - anchor) // every + 1) * every
        case Cron(timezone=timezone):
            return schedule.compiled().next_after(instant, timezone)
        case _:
            assert_never(schedule)


def prev_before(schedule: Schedule, instant: Instant) -> Instant | None:
    """The last fire time strictly before `instant`, or None when there is none."""
    match schedule:
        case OneTime(at=at):
            return at if at < instant else None
        case Every(every=every, anchor=anchor):
            k = (instant - anchor - 1) // every
            return anchor + k * every if k >= 1 else None
        case Cron(timezone=timezone):
            return schedule.compiled().prev_before(instant, timezone)
        case _:
            assert_never(schedule)


def count_between(schedule: Schedule, start: Instant, end: Instant) -> int:
    """How many fire times lie in start <= t < end."""
    if end <= start:
        return 0
    match schedule:
        case OneTime(at=at):
            return int(start <= at < end)
        case Every(every=every, anchor=anchor):
            before_end = max(0, (end - anchor - 1) // every)
            before_start = max(0, (start - anchor - 1) // every)
            return before_end - before_start
        case Cron(timezone=timezone):
            return schedule.compiled().count(start, end, timezone)
        case _:
            assert_never(schedule)


def resolve(schedule: Schedule, now: Instant, created_at: Instant, task_id: str) -> Schedule:
    """The schedule with what was open filled in: now, a delay from now, the anchor that nobody named, each `H`.

    Raises InvalidCron where the task's `H` gives an expression that never fires.
    """
    match schedule:
        case Cron(cron=expression) if is_hashed(expression):
            hashed = replace(schedule, resolved=resolve_hash(expression, task_id))
            if next_after(hashed, now) is None:
                raise InvalidCron(f"with the H of this task it is {hashed.resolved}, which never fires from now on")
            return hashed
        case OneTime(kind="now"):
            return OneTime(at=now)
        case OneTime(kind="delay", delay=delay):
            return OneTime(at=now + (delay or 0), kind="delay", delay=delay)
        case Every(every=every, anchored=False):
            return Every(every=every, anchor=created_at)
        case _:
            return schedule


def first_fire(schedule: Schedule, accepted_at: Instant) -> Instant | None:
    """The first fire time of a definition accepted at `accepted_at`. One-time schedules fire however late."""
    if isinstance(schedule, OneTime):
        return schedule.at
    return next_after(schedule, accepted_at)
