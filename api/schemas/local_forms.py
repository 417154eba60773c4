"""Schedules that go by the clock of a zone, in requests: cron, and intervals of days and months."""

from __future__ import annotations

import re
from typing import get_args

from taskscheduler.api.body import join
from taskscheduler.api.durations import LONGEST, format_duration, parse_duration, parse_steps
from taskscheduler.api.problems import FieldError
from taskscheduler.api.schemas.fields import Fields
from taskscheduler.domain.cron import MAX_EXPRESSION, InvalidCron, InvalidZone, load_zone
from taskscheduler.domain.cron_hash import is_hashed, resolve_hash
from taskscheduler.domain.cron_parse import DayRule, parse, split_zone
from taskscheduler.domain.on_clock import Fold, Gap
from taskscheduler.domain.schedule import Cron, Every, LocalEvery
from taskscheduler.domain.values import SECOND, Instant, Millis

SHORTEST_INTERVAL: Millis = 100

CLOCK = ("timezone", "dst")
CRON_ONLY = (*CLOCK, "days")
_EVERY = re.compile(r"\s*@every(?:\s+(.*))?", re.IGNORECASE | re.DOTALL)

GAPS: tuple[Gap, ...] = get_args(Gap)
FOLDS: tuple[Fold, ...] = get_args(Fold)
DAY_RULES: tuple[DayRule, ...] = get_args(DayRule)


def read_local_every(fields: Fields) -> LocalEvery | None:
    """An interval with a timezone; None where something is wrong with it."""
    zone, (gap, fold) = fields.text("timezone", 1, 64) or "UTC", read_dst(fields)
    good = is_zone(fields, "timezone", zone)
    anchor = fields.instant("anchor")
    if anchor is not None and anchor % SECOND:
        fields.error("anchor", "with timezone it must be a whole second")
    every = fields.take("every", required=True)
    days, months = 1, 0
    try:
        days, months = (days, months) if every is None else parse_steps(every)
    except ValueError as error:
        fields.error("every", str(error))
    if not good:
        return None
    return LocalEvery(zone, anchor or 0, days, months, anchored=anchor is not None, gap=gap, fold=fold)


def read_cron(fields: Fields, now: Instant, default_zone: str | None = None) -> Cron | Every | None:
    """A cron expression, of `default_zone` where it names none; None where something is wrong with it."""
    expression = fields.text("cron", 1, MAX_EXPRESSION, required=True)
    if expression is not None and (every := _EVERY.fullmatch(expression)):
        return _read_interval(fields, every[1] or "")
    zone, (gap, fold) = fields.text("timezone", 1, 64), read_dst(fields)
    days = fields.word("days", DAY_RULES)
    if expression is None:
        return None
    prefix, expression = split_zone(expression)
    if prefix is not None and zone not in (None, prefix):
        fields.error("timezone", f"differs from the zone {prefix[:64]!r} that cron begins with; give one of them")
    zone = (zone or default_zone or "UTC") if prefix is None else prefix
    good = is_zone(fields, "timezone" if prefix is None else "cron", zone)
    schedule = Cron(cron=expression, timezone=zone, gap=gap, fold=fold, days=days)
    try:
        if is_hashed(expression):
            # Whether it ever fires shows when the task is known; any values of H show whether it is understood.
            parse(resolve_hash(expression, ""), days)
        elif schedule.compiled().next_after(now, zone if good else "UTC") is None:
            # A year that is over, or local times that no clock shows.
            fields.errors.late.append(FieldError(join(fields.pointer, "cron"), "never fires from now on"))
    except InvalidCron as error:
        fields.error("cron", str(error))
        return None
    return schedule if good else None


def is_zone(fields: Fields, field: str, zone: str) -> bool:
    """Whether it is a time zone; if not, an error of that field."""
    try:
        load_zone(zone)
    except InvalidZone as error:
        fields.error(field, str(error))
        return False
    return True


def read_dst(fields: Fields) -> tuple[Gap | None, Fold | None]:
    """What becomes of local times that a clock change skips, and of those that it repeats."""
    dst = fields.object("dst")
    if dst is None:
        return None, None
    gap, fold = dst.word("gap", GAPS), dst.word("fold", FOLDS)
    dst.end()
    return gap, fold


def _read_interval(fields: Fields, text: str) -> Every | None:
    """`@every 90s`: the same as `{"every": "90s"}`."""
    for name in CRON_ONLY:
        if fields.take(name) is not None:
            fields.error(name, "does not go with @every, which is elapsed time")
    try:
        every = parse_duration(text.strip())
    except ValueError as error:
        fields.error("cron", f"@every: {error}")
        return None
    if not SHORTEST_INTERVAL <= every <= LONGEST:
        fields.error("cron", f"@every: must be from {format_duration(SHORTEST_INTERVAL)} to {format_duration(LONGEST)}")
        return None
    return Every(every=every, anchor=0)
