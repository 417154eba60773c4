"""Likely mistakes in a schedule: what would happen, and how to avoid it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from taskscheduler.domain.cron import InvalidCron
from taskscheduler.domain.cron_parse import Fields, parse
from taskscheduler.domain.local_days import MONTH_LENGTHS
from taskscheduler.domain.rrule_parse import parse_rule
from taskscheduler.domain.schedule import AnyOf, Cron, LocalEvery, Recurrence, Schedule
from taskscheduler.domain.values import DAY, SECOND, Instant
from taskscheduler.domain.zones import offsets

AHEAD = 5 * 365 * DAY // SECOND
"""Seconds for which clock changes are looked at."""

_MONTHS = "January February March April May June July August September October November December".split()
_STEP = re.compile(r"\*/(\d+)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Cycle(NamedTuple):
    """What a step counts through, and anew: `size` of a `unit` in a `whole`."""

    field: str
    unit: str
    size: int
    whole: str
    short: str


_CYCLES = {
    "second": _Cycle("second", "second", 60, "minute", "s"),
    "minute": _Cycle("minute", "minute", 60, "hour", "m"),
    "hour": _Cycle("hour", "hour", 24, "day", "h"),
}


def warnings(schedule: Schedule, now: Instant) -> list[str]:
    """One text for each likely mistake."""
    if isinstance(schedule, AnyOf):
        return list(dict.fromkeys(text for each in schedule.members for text in warnings(each, now)))
    if isinstance(schedule, LocalEvery):
        said = schedule.gap is not None or schedule.fold is not None
        return [] if said or not schedule.anchored else list(_in_a_gap(schedule, now))
    if isinstance(schedule, Recurrence):
        return list(_of_rule(schedule, now))
    if not isinstance(schedule, Cron):
        return []
    try:
        fields = parse(schedule.cron, schedule.days)
    except InvalidCron:
        return []  # what is filled in for each task, such as H, is nobody's mistake
    texts = _texts(schedule.cron)
    found = [
        *_every_one(fields, texts),
        *_uneven(texts, schedule.timezone),
        *_missing_days(_days(texts), fields.months),
    ]
    if (fields.seconds, fields.minutes, fields.hours) == ((0,), (0,), (0,)) and not schedule.jitter:
        found.append(
            "Midnight is when everybody's tasks run, so everything they need is busiest then. "
            "Another minute or hour spreads them, such as 17 in the minute field or H in both, and so does jitter."
        )
    if fields.fixed_time and schedule.gap is None and schedule.fold is None:
        found.extend(_in_a_gap(schedule, now))
    return found


def _texts(expression: str) -> dict[str, str]:
    """The text of every field by its name; nothing for a macro."""
    names = ["minute", "hour", "day of month", "month", "day of week", "year"]
    texts = expression.upper().split()
    if len(texts) > 5:
        names.insert(0, "second")
    return dict(zip(names, texts, strict=False)) if len(texts) >= 5 else {}


def _every_one(fields: Fields, texts: Mapping[str, str]) -> Iterator[str]:
    hours = fields.hours
    apart = len(hours) < 24 and all(later - hour > 1 for hour, later in pairwise(hours))
    if texts and len(fields.minutes) == 60 and apart:
        once = " ".join({**texts, "minute": "0"}.values())
        when = f"from {hours[0]:02}:00 to {hours[0]:02}:59" if len(hours) == 1 else "of the hours it names"
        yield f"It fires 60 times an hour, every minute {when}. To fire once an hour, write {once}."
    if texts and len(fields.seconds) == 60 and len(fields.minutes) < 60:
        once = " ".join({**texts, "second": "0"}.values())
        yield f"It fires 60 times a minute, every second. To fire once a minute, write {once}."


def _uneven(texts: Mapping[str, str], zone: str) -> Iterator[str]:
    for name, cycle in _CYCLES.items():
        match = _STEP.fullmatch(texts.get(name, ""))
        if match is None or cycle.size % (step := int(match[1])) == 0:
            continue
        every = f'{step} {cycle.unit}s, use {{"every": "{step}{cycle.short}"}}'
        if step > cycle.size:
            yield (
                f"{match[0]} in the {cycle.field} field is {cycle.unit} 0 alone, since the {cycle.whole} ends before "
                f"{cycle.unit} {step}. To fire every {every}."
            )
            continue
        last = (cycle.size - 1) // step * step
        rest = cycle.size - last
        yield (
            f"{match[0]} in the {cycle.field} field begins anew with every {cycle.whole}: {cycle.unit} 0 follows "
            f"{rest} {cycle.unit}{'s' * (rest > 1)} after {cycle.unit} {last}. To fire every {every}."
        )
    if (match := _STEP.fullmatch(texts.get("day of month", ""))) is not None and 1 < int(match[1]) < 31:
        step = int(match[1])
        last = 1 + 30 // step * step
        yield (
            f"{match[0]} in the day-of-month field begins anew with every month: after day {last} of a month of 31 "
            f"days, day 1 follows {32 - last} day{'s' * (last < 31)} later. "
            f'To fire every {step} days, use {{"every": "{step}d", "timezone": "{zone}"}}.'
        )


def _days(texts: Mapping[str, str]) -> list[int]:
    return [int(text) for text in texts.get("day of month", "").split(",") if text.isdecimal()]


def _of_rule(schedule: Recurrence, now: Instant) -> Iterator[str]:
    rule, start = parse_rule(schedule.rrule), datetime.fromisoformat(schedule.dtstart)
    by_date = rule.by_week or rule.by_year_day or rule.by_month_day or rule.by_day
    days = rule.by_month_day if rule.freq in ("MONTHLY", "YEARLY") else ()
    months = rule.by_month
    if rule.freq in ("MONTHLY", "YEARLY") and not by_date:
        days = (start.day,)
        if rule.freq == "YEARLY" and not months:
            months = (start.month,)
    yield from _missing_days(days, months or range(1, 13))
    local = (start.replace(tzinfo=UTC) - _EPOCH) // timedelta(seconds=1)
    if not schedule.compiled().times.count(local, local + 1):
        yield (
            f"It does not fire at its dtstart, {schedule.dtstart}, since the rule does not name that time. Calendars "
            "show an event there all the same."
        )
    if rule.names_time_of_day and schedule.gap is None and schedule.fold is None:
        yield from _in_a_gap(schedule, now)


def _missing_days(days: Iterable[int], months: Iterable[int]) -> Iterator[str]:
    for day in days:
        short = [month for month in months if MONTH_LENGTHS[month - 1] < day]
        if not short:
            continue
        names = [_MONTHS[month - 1] for month in short]
        listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
        leap = " (except in leap years)" if day == 29 else ""
        yield (
            f"There is no day {day} in {listed}{leap}, so it does not fire on such a day then. "
            f"Day 28 is in every month, and so is day 1 of the next."
        )


def _in_a_gap(schedule: Cron | LocalEvery | Recurrence, now: Instant) -> Iterator[str]:
    """The next clock change that takes a fire time away. By default it fires when the gap ends."""
    times = schedule.compiled().times
    for begin, end in _gaps(schedule.timezone, now // DAY):
        if (local := times.next_from(begin)) < end:
            at, first, last = (_EPOCH + timedelta(seconds=seconds) for seconds in (local, begin, end))
            yield (
                f"{at:%H:%M} does not exist in {schedule.timezone} on {at:%Y-%m-%d}, when clocks go from {first:%H:%M} "
                f"to {last:%H:%M}: it fires at {last:%H:%M} that day. Choose a time outside of that gap, or a zone "
                f"without clock changes, such as UTC, or say with dst what is to happen."
            )
            return


@lru_cache(maxsize=256)
def _gaps(zone: str, day: int) -> tuple[tuple[int, int], ...]:
    """The local times that clocks jump over from that day of the epoch on, from and to, in seconds."""
    clock, at = offsets(zone), day * DAY // SECOND
    stop, found = at + AHEAD, []
    while (at := clock.segment(at)[1]) < stop:
        _, _, offset, before = clock.segment(at)
        if before < offset:
            found.append((at + before, at + offset))
    return tuple(found)
