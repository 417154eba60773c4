"""Schedules: which fire times a definition names. Their forms are in `nominal`, what bounds any of them in `bounds`."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, TypeAlias

from msgspec.structs import replace

from taskscheduler.domain.bounds import Bounded, Bounds, Nominal
from taskscheduler.domain.cron import InvalidCron, compile_cron
from taskscheduler.domain.cron_hash import is_hashed, resolve_hash
from taskscheduler.domain.cron_parse import DayRule
from taskscheduler.domain.excluded import Exclusion
from taskscheduler.domain.exclusions import compile_exclusions
from taskscheduler.domain.ids import hash_of
from taskscheduler.domain.left_out import Excluding, Union
from taskscheduler.domain.local_steps import compile_steps
from taskscheduler.domain.nominal import Local, Never, Once, Steps
from taskscheduler.domain.on_clock import Fold, Gap, OnClock
from taskscheduler.domain.rrule import compile_rule
from taskscheduler.domain.rrule_parse import InvalidRule
from taskscheduler.domain.values import SECOND, Instant, Millis


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


class LocalEvery(Bounds, frozen=True, gc=False, tag_field="type", tag="local_every", omit_defaults=True):
    """Fires by the clock of `timezone`, every so many days or months after `anchor`, of which one is not 0.

    A day that a month lacks is its last one, and the day of the anchor again thereafter.
    """

    timezone: str
    anchor: Instant
    """A whole second."""
    days: int = 0
    months: int = 0
    anchored: bool = False
    """Whether the user named the anchor; otherwise it begins at `start_at`, or one interval after creation."""
    gap: Gap | None = None
    fold: Fold | None = None

    def compiled(self) -> OnClock:
        """What gives the fire times."""
        return compile_steps(
            self.anchor,
            self.timezone,
            days=self.days,
            months=self.months,
            first=1 if self.anchored or self.start_at is None else 0,
            gap=self.gap,
            fold=self.fold,
        )


class Cron(Bounds, frozen=True, gc=False, tag_field="type", tag="cron", omit_defaults=True):
    """Fires when the local time in `timezone` matches `cron`. None is what follows from the expression."""

    cron: str
    timezone: str = "UTC"
    gap: Gap | None = None
    fold: Fold | None = None
    days: DayRule | None = None
    resolved: str | None = None
    """`cron` with each `H` replaced by the values of the task, where there is an `H`."""

    def compiled(self) -> OnClock:
        """What gives the fire times; raises InvalidCron."""
        return compile_cron(self.resolved or self.cron, self.gap, self.fold, self.days)


class Recurrence(Bounds, frozen=True, gc=False, tag_field="type", tag="rrule", omit_defaults=True):
    """Fires by a recurrence rule of RFC 5545, from the local time `dtstart` on, written as `2030-01-31T09:00:00`."""

    rrule: str
    timezone: str
    dtstart: str
    gap: Gap | None = None
    fold: Fold | None = None

    def compiled(self) -> OnClock:
        """What gives the fire times; raises InvalidRule."""
        return compile_rule(self.rrule, self.dtstart, self.timezone, self.gap, self.fold)


Single: TypeAlias = OneTime | Every | LocalEvery | Cron | Recurrence


class AnyOf(Bounds, frozen=True, gc=False, tag_field="type", tag="any", omit_defaults=True):
    """Fires whenever one of its members does, once where several do. Their own bounds are from when to when."""

    members: tuple[Single, ...]
    timezone: str = "UTC"
    """Whose days are left out."""


class Manual(Bounds, frozen=True, gc=False, tag_field="type", tag="manual", omit_defaults=True):
    """Names no fire time: the task runs when another one leads to it, or by hand."""


Schedule: TypeAlias = Single | AnyOf | Manual


def is_recurring(schedule: Schedule) -> bool:
    """Whether the schedule can name more than one fire time."""
    return not isinstance(schedule, OneTime)


def zone_of(schedule: Schedule) -> str | None:
    """The zone whose clock the schedule goes by; None where it goes by none."""
    return None if isinstance(schedule, OneTime | Every | Manual) else schedule.timezone


def next_after(schedule: Schedule, instant: Instant) -> Instant | None:
    """The first fire time strictly after `instant`, or None when there is none."""
    return times_of(schedule).next_after(instant)


def prev_before(schedule: Schedule, instant: Instant) -> Instant | None:
    """The last fire time strictly before `instant`, or None when there is none."""
    return times_of(schedule).prev_before(instant)


def count_between(schedule: Schedule, start: Instant, end: Instant) -> int:
    """How many fire times lie in start <= t < end."""
    return times_of(schedule).count(start, end) if start < end else 0


def left_out_by(schedule: Schedule, instant: Instant) -> tuple[Exclusion, ...]:
    """What of `except` takes away the nominal time `instant`; nothing where there is none but for it."""

    def names(excluded: tuple[Exclusion, ...]) -> bool:
        return count_between(replace(schedule, excluded=excluded, jitter=0), instant, instant + 1) > 0

    if not schedule.excluded or not names(()):
        return ()
    return tuple(one for one in schedule.excluded if not names((one,)))


def nominal_of(schedule: Schedule, fire: Instant) -> Instant:
    """The nominal time of one of its fire times: the same but for jitter."""
    times = times_of(schedule)
    return times.nominal_of(fire) if isinstance(times, Bounded) else fire


def times_of(schedule: Schedule) -> Bounded | Nominal:
    """The fire times, ready to be walked through; raises InvalidCron and InvalidRule."""
    nominal: Nominal
    if isinstance(schedule, AnyOf):
        out = schedule.excluded
        nominal = Union(
            [_left(each, out, schedule.timezone, True) if out else times_of(each) for each in schedule.members]
        )
    elif isinstance(schedule, Manual):
        nominal = Never()
    elif schedule.excluded:
        nominal = _left(schedule, schedule.excluded, zone_of(schedule) or "UTC", False)
    else:
        nominal = _named(schedule)
    if not schedule.jitter and schedule.start_at is None and schedule.end_at is None:
        return nominal
    return Bounded(nominal, schedule)


def _named(schedule: Single) -> Nominal:
    if isinstance(schedule, Every):
        return Steps(schedule.every, schedule.anchor)
    if isinstance(schedule, OneTime):
        return Once(schedule.at)
    return Local(schedule.compiled(), schedule.timezone)


@lru_cache(maxsize=1024)
def _left(single: Single, excluded: tuple[Exclusion, ...], zone: str, bounded: bool) -> Excluding:
    """What is left of `single`, with or without its own bounds. Kept, since it learns where it ends."""
    nominal = times_of(replace(single, excluded=())) if bounded else _named(single)
    if isinstance(single, Cron):
        text = single.resolved or single.cron
        return Excluding(nominal, compile_exclusions(excluded, zone, text, single.timezone, single.days))
    return Excluding(nominal, compile_exclusions(excluded, zone))


def counting_cost(schedule: Schedule, start: Instant, end: Instant) -> tuple[int, int]:
    """What it takes to count in start <= t < end: fire times to walk through, and stretches that are left out."""
    if isinstance(schedule, Manual):
        return 0, 0
    several = isinstance(schedule, AnyOf)
    members = schedule.members if isinstance(schedule, AnyOf) else (schedule,)
    named = [times_of(each) if several else _named(each) for each in members]
    zone, out = zone_of(schedule) or "UTC", schedule.excluded
    stretches = sum(_left(each, out, zone, several).stretches(start, end) for each in members) if out else 0
    return Union(named).walked(start, end), stretches


class NeverFires(Exception):
    """The schedule names no fire time from now on, for what `field` of it says."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field


def resolve(schedule: Schedule, now: Instant, created_at: Instant, task_id: str) -> Schedule:
    """The schedule with what was open filled in: now, a delay from now, the anchor that nobody named, each `H`.

    Raises NeverFires where nothing is left of it: because of its bounds, or of the values that `H` has for the task.
    """
    schedule = resolve_open(schedule, now, created_at, task_id)
    if schedule.jitter:
        schedule = replace(schedule, salt=hash_of(task_id) >> 1)  # what JSON and msgpack hold as a signed integer
    if not isinstance(schedule, Manual) and not _ever(schedule, now):
        raise _never(schedule)
    return schedule


def _ever(schedule: Schedule, now: Instant) -> bool:
    try:
        return first_fire(schedule, now) is not None
    except (InvalidCron, InvalidRule):
        return False


def _never(schedule: Schedule) -> NeverFires:
    if schedule.excluded:
        return NeverFires("except", "leaves nothing: no fire time from now on is left that is also within its bounds")
    if schedule.end_at is not None or schedule.start_at is not None:
        bound = "start_at" if schedule.end_at is None else "end_at"
        return NeverFires(bound, "never fires: no fire time from now on lies within start_at and end_at")
    match schedule:
        case Cron(resolved=str(resolved)):
            return NeverFires("cron", f"with the H of this task it is {resolved}, which never fires from now on")
        case Cron():
            return NeverFires("cron", "never fires from now on")
        case Recurrence():
            return NeverFires("rrule", "never fires from now on")
        case LocalEvery():
            return NeverFires("every", "never fires: the first fire time lies after the year 2199")
        case AnyOf():
            return NeverFires("any", "never fires: none of its fire times from now on is left")
        case _:
            return NeverFires("every", "never fires from now on")


def resolve_open(schedule: Schedule, now: Instant, created_at: Instant, task_id: str) -> Schedule:
    """The same as `resolve`, whether or not it ever fires; without jitter, which follows from the task."""
    match schedule:
        case Cron(cron=expression) if is_hashed(expression):
            return replace(schedule, resolved=resolve_hash(expression, task_id))
        case OneTime(kind="now"):
            return replace(schedule, at=now)
        case OneTime(kind="delay", delay=delay):
            return replace(schedule, at=now + (delay or 0))
        case Every(every=every, anchored=False, start_at=start_at):
            return replace(schedule, anchor=created_at if start_at is None else start_at - every)
        case LocalEvery(anchored=False, start_at=start_at):
            # Nothing may come before `start_at`, and the clock is read in whole seconds.
            anchor = created_at // SECOND if start_at is None else -(-start_at // SECOND)
            return replace(schedule, anchor=anchor * SECOND)
        case AnyOf(members=members):
            filled = (resolve_open(each, now, created_at, task_id) for each in members)
            return replace(schedule, members=tuple(filled))
        case _:
            return schedule


def first_fire(schedule: Schedule, accepted_at: Instant) -> Instant | None:
    """The first fire time of a definition accepted at `accepted_at`. One-time schedules fire however late.

    What jitter put off to a moment after `accepted_at` from one before it is none of its fire times.
    """
    times, since = times_of(schedule), schedule.at - 1 if isinstance(schedule, OneTime) else accepted_at
    return times.first_after(since) if isinstance(times, Bounded) else times.next_after(since)
