"""What a schedule leaves out: days, stretches of time, what a cron expression names, and the days of a calendar.

Days are those of the schedule's zone. All are data: a decision reads no other stream.
"""

from __future__ import annotations

from datetime import date
from typing import TypeAlias

import msgspec

from taskscheduler.domain.local_days import EPOCH_ORDINAL
from taskscheduler.domain.values import Instant


class ExceptDays(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="days", omit_defaults=True):
    """The local days from `first` to `last`, both included, as `2026-12-24`."""

    first: str
    last: str


class ExceptTime(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="time", omit_defaults=True):
    """Every instant in start <= t < end."""

    start: Instant
    end: Instant


class ExceptCron(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="cron", omit_defaults=True):
    """The minutes that a cron expression of five fields names, or the seconds that one of six or seven names."""

    cron: str
    timezone: str | None = None
    """None is that of the schedule."""


class ExceptCalendar(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="calendar", omit_defaults=True):
    """The days of a calendar as they were when the schedule was given, or when the calendar last changed."""

    calendar: str
    """Its name."""
    version: int = 0
    """That of the calendar's stream from which `days` were taken; 0 is not filled in yet."""
    days: tuple[str, ...] = ()
    """Local days in ascending order, apart from each other: `2026-12-25`, or `2026-12-24/2027-01-02`, both included."""


Exclusion: TypeAlias = ExceptDays | ExceptTime | ExceptCron | ExceptCalendar


def days_of(text: str) -> tuple[int, int]:
    """The first and the last day, counted from 1970-01-01, of `2026-12-25` or `2026-12-24/2027-01-02`."""
    first, _, last = text.partition("/")
    return _day(first), _day(last or first)


def _day(text: str) -> int:
    return date.fromisoformat(text).toordinal() - EPOCH_ORDINAL
