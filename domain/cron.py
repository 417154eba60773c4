"""Cron schedules: an expression, compiled to the local times that it matches and what a clock change does to them."""

from __future__ import annotations

from functools import lru_cache

from taskscheduler.domain.cron_field import InvalidCron
from taskscheduler.domain.cron_match import LocalTimes
from taskscheduler.domain.cron_parse import MAX_EXPRESSION, DayRule, Fields, parse
from taskscheduler.domain.local_days import LEAP_MONTH_LENGTHS
from taskscheduler.domain.on_clock import Fold, Gap, OnClock
from taskscheduler.domain.zones import TZDATA_VERSION, InvalidZone, load_zone


@lru_cache(maxsize=4096)
def compile_cron(
    expression: str, gap: Gap | None = None, fold: Fold | None = None, days: DayRule | None = None
) -> OnClock:
    """The compiled form of a cron expression; raises InvalidCron, also when no date ever matches.

    What is left out follows from the expression: `days` from the number of fields, `gap` and `fold` from whether it
    names a time of day (shift, first), or its minute or hour field begins with `*` (skip, both), as in Debian's cron.
    """
    fields = parse(expression, days)
    times = LocalTimes(fields)
    if not times.ever():
        raise InvalidCron(_why_never(fields))
    fixed = fields.fixed_time
    return OnClock(gap or ("shift" if fixed else "skip"), fold or ("first" if fixed else "both"), times)


def _why_never(fields: Fields) -> str:
    days = fields.days.of_month
    if days and days[0] > max(LEAP_MONTH_LENGTHS[month - 1] for month in fields.months):
        return f"day of month: it never fires, since no month it names has a day {days[0]}"
    return "it never fires: no date matches all of its day, month and year fields"


__all__ = ["MAX_EXPRESSION", "TZDATA_VERSION", "InvalidCron", "InvalidZone", "compile_cron", "load_zone"]
