"""What a schedule leaves out, compiled."""

from __future__ import annotations

from functools import lru_cache

from taskscheduler.domain.cron import compile_cron
from taskscheduler.domain.cron_parse import DayRule, Fields, parse
from taskscheduler.domain.excluded import ExceptCalendar, ExceptCron, ExceptDays, ExceptTime, Exclusion, days_of
from taskscheduler.domain.left_out import Between, ByClock, LeftOut
from taskscheduler.domain.stretches import CronStretches, DayStretches

_MINUTES = tuple(range(60))
_HOURS = tuple(range(24))


@lru_cache(maxsize=1024)
def compile_exclusions(
    excluded: tuple[Exclusion, ...],
    zone: str,
    cron: str | None = None,
    cron_zone: str | None = None,
    days: DayRule | None = None,
) -> tuple[LeftOut, ...]:
    """What is left out of the fire times of a schedule; raises InvalidCron.

    `cron` and what follows is the schedule where it goes by cron: an exclusion that names all its times of day leaves
    out whole days, which are far fewer than times, and with them what a gap put off.
    """
    found: list[LeftOut] = []
    days_out: list[ExceptDays | ExceptCalendar] = []
    fields = None if cron is None else parse(cron, days)
    for one in excluded:
        match one:
            case ExceptDays() | ExceptCalendar():
                days_out.append(one)
            case ExceptTime(start=start, end=end):
                found.append(Between(start, end))
            case ExceptCron(cron=expression, timezone=own):
                stretches, named = cron_stretches(expression), parse(expression)
                alike = fields is not None and cron_zone == (own or zone) and _names_all(named, fields, stretches.width)
                if alike:
                    stretches = CronStretches(named._replace(minutes=_MINUTES, hours=_HOURS, seconds=(0,)), 60)
                found.append(ByClock(stretches, own or zone))
    if days_out:
        found.append(ByClock(_day_stretches(tuple(days_out)), zone))
    return tuple(found)


@lru_cache(maxsize=256)
def _day_stretches(excluded: tuple[ExceptDays | ExceptCalendar, ...]) -> DayStretches:
    """Kept apart from what goes by cron: all members of a union, and the tasks of a calendar, share it."""
    found: list[tuple[int, int]] = []
    for one in excluded:
        found += [days_of(f"{one.first}/{one.last}")] if isinstance(one, ExceptDays) else _days_of(one.days)
    return DayStretches(found)


@lru_cache(maxsize=256)
def _days_of(calendar: tuple[str, ...]) -> list[tuple[int, int]]:
    return [days_of(text) for text in calendar]


def cron_stretches(expression: str) -> CronStretches:
    """The minutes that an expression of five fields names, or the seconds of another; raises InvalidCron."""
    compile_cron(expression)
    five = expression.startswith("@") or len(expression.split()) == 5
    return CronStretches(parse(expression), 60 if five else 1)


def _names_all(named: Fields, fields: Fields, width: int) -> bool:
    """Whether every time of day of `fields` is named by the other."""
    seconds = width == 60 or set(fields.seconds) <= set(named.seconds)
    return seconds and set(fields.hours) <= set(named.hours) and set(fields.minutes) <= set(named.minutes)
