"""Schedules: which fire times a definition names. Cron is evaluated in `cron`, what bounds any of them in `bounds`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from msgspec.structs import replace

from taskscheduler.domain.bounds import Bounded, Bounds
from taskscheduler.domain.cron import Cron as CompiledCron
from taskscheduler.domain.cron import Fold, Gap, InvalidCron, compile_cron
from taskscheduler.domain.cron_hash import is_hashed, resolve_hash
from taskscheduler.domain.cron_parse import DayRule
from taskscheduler.domain.ids import hash_of
from taskscheduler.domain.values import Instant, Millis


class OneTime(Bounds, frozen=True, gc=False, tag_field="type", tag="once", omit_defaults=True):
    """One fire time, resolved when the definition was accepted. `delay` is kept as it was given."""

    at: Instant
    kind: Literal["now", "at", "delay"] = "now"
    delay: Millis | None = None


class Every(Bounds, frozen=True, gc=False, tag_field="type", tag="every", omit_defaults=True):
    """Fires at `anchor + k * every`, k >= 1."""

    every: Millis
    anchor: Instant
    anchored: bool = False
    """Whether the user named the anchor; otherwise it begins at `start_at`, or one interval after creation."""


class Cron(Bounds, frozen=True, gc=False, tag_field="type", tag="cron", omit_defaults=True):
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
    return _times(schedule).next_after(instant)


def prev_before(schedule: Schedule, instant: Instant) -> Instant | None:
    """The last fire time strictly before `instant`, or None when there is none."""
    return _times(schedule).prev_before(instant)


def count_between(schedule: Schedule, start: Instant, end: Instant) -> int:
    """How many fire times lie in start <= t < end."""
    return _times(schedule).count(start, end) if start < end else 0


def nominal_of(schedule: Schedule, fire: Instant) -> Instant:
    """The nominal time of one of its fire times: the same but for jitter."""
    times = _times(schedule)
    return times.nominal_of(fire) if isinstance(times, Bounded) else fire


@dataclass(frozen=True, slots=True)
class _Once:
    at: Instant

    def next_after(self, instant: Instant) -> Instant | None:
        return self.at if self.at > instant else None

    def prev_before(self, instant: Instant) -> Instant | None:
        return self.at if self.at < instant else None

    def count(self, start: Instant, end: Instant) -> int:
        return int(start <= self.at < end)


@dataclass(frozen=True, slots=True)
class _Steps:
    every: Millis
    anchor: Instant

    def next_after(self, instant: Instant) -> Instant | None:
        return self.anchor + max(1, (instant - self.anchor) // self.every + 1) * self.every

    def prev_before(self, instant: Instant) -> Instant | None:
        k = (instant - self.anchor - 1) // self.every
        return self.anchor + k * self.every if k >= 1 else None

    def count(self, start: Instant, end: Instant) -> int:
        return max(0, (end - self.anchor - 1) // self.every) - max(0, (start - self.anchor - 1) // self.every)


@dataclass(frozen=True, slots=True)
class _Local:
    cron: CompiledCron
    timezone: str

    def next_after(self, instant: Instant) -> Instant | None:
        return self.cron.next_after(instant, self.timezone)

    def prev_before(self, instant: Instant) -> Instant | None:
        return self.cron.prev_before(instant, self.timezone)

    def count(self, start: Instant, end: Instant) -> int:
        return self.cron.count(start, end, self.timezone)


def _times(schedule: Schedule) -> Bounded | _Once | _Steps | _Local:
    nominal: _Once | _Steps | _Local
    if isinstance(schedule, Every):
        nominal = _Steps(schedule.every, schedule.anchor)
    elif isinstance(schedule, Cron):
        nominal = _Local(schedule.compiled(), schedule.timezone)
    else:
        nominal = _Once(schedule.at)
    if not schedule.jitter and schedule.start_at is None and schedule.end_at is None:
        return nominal
    return Bounded(nominal, schedule)


class NeverFires(Exception):
    """The schedule names no fire time from now on, for what `field` of it says."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field


def resolve(schedule: Schedule, now: Instant, created_at: Instant, task_id: str) -> Schedule:
    """The schedule with what was open filled in: now, a delay from now, the anchor that nobody named, each `H`.

    Raises NeverFires where nothing is left of it: because of its bounds, or of the values that `H` has for the task.
    """
    schedule = _filled_in(schedule, now, created_at, task_id)
    if schedule.jitter:
        schedule = replace(schedule, salt=hash_of(task_id) >> 1)  # what JSON and msgpack hold as a signed integer
    if isinstance(schedule, Cron) and schedule.resolved is not None and not _ever(schedule, now):
        raise NeverFires("cron", f"with the H of this task it is {schedule.resolved}, which never fires from now on")
    bound = "start_at" if schedule.end_at is None else "end_at"
    if getattr(schedule, bound) is not None and first_fire(schedule, now) is None:
        raise NeverFires(bound, "never fires: no fire time from now on lies within start_at and end_at")
    return schedule


def _ever(schedule: Cron, now: Instant) -> bool:
    try:
        return schedule.compiled().next_after(now, schedule.timezone) is not None
    except InvalidCron:
        return False


def _filled_in(schedule: Schedule, now: Instant, created_at: Instant, task_id: str) -> Schedule:
    match schedule:
        case Cron(cron=expression) if is_hashed(expression):
            return replace(schedule, resolved=resolve_hash(expression, task_id))
        case OneTime(kind="now"):
            return replace(schedule, at=now)
        case OneTime(kind="delay", delay=delay):
            return replace(schedule, at=now + (delay or 0))
        case Every(every=every, anchored=False, start_at=start_at):
            return replace(schedule, anchor=created_at if start_at is None else start_at - every)
        case _:
            return schedule


def first_fire(schedule: Schedule, accepted_at: Instant) -> Instant | None:
    """The first fire time of a definition accepted at `accepted_at`. One-time schedules fire however late.

    What jitter put off to a moment after `accepted_at` from one before it is none of its fire times.
    """
    times, since = _times(schedule), schedule.at - 1 if isinstance(schedule, OneTime) else accepted_at
    return times.first_after(since) if isinstance(times, Bounded) else times.next_after(since)
