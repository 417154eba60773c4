"""Recurrence rules of RFC 5545, compiled to the local times that they name and what a clock change does to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from taskscheduler.domain.local_days import DAY, EPOCH_ORDINAL, NEVER_AFTER
from taskscheduler.domain.on_clock import Fold, Gap, OnClock
from taskscheduler.domain.rrule_days import Picked
from taskscheduler.domain.rrule_parse import InvalidRule, Rule, parse_rule
from taskscheduler.domain.rrule_times import Clock, Part, RuleTimes
from taskscheduler.domain.zones import offsets

_HOUR, _MINUTE = 3_600, 60
_ALL = Picked(None)


@lru_cache(maxsize=1024)
def compile_rule(text: str, dtstart: str, zone: str, gap: Gap | None = None, fold: Fold | None = None) -> OnClock:
    """The compiled form of a rule that begins at `dtstart`, local time of the zone such as `2030-01-31T09:00:00`.

    Raises InvalidRule, also when it never fires. What is left out follows from FREQ: rules of days and more shift and
    fire at the first of two, those of hours and less skip and fire at both.
    """
    rule, start = parse_rule(text), _local(dtstart)
    last = NEVER_AFTER - 1
    if rule.until is not None:
        last = rule.until.seconds
        if rule.until.utc and 0 <= last < NEVER_AFTER:
            last += offsets(zone).segment(last)[2]
        if last < start:
            raise InvalidRule("UNTIL lies before dtstart, so it never fires")
    times = RuleTimes(_parts(rule, start), start, min(last, NEVER_AFTER - 1))
    if times.next_from(start) == NEVER_AFTER:
        raise InvalidRule("it never fires: no date and time from dtstart on is all that its parts say")
    if rule.runs is not None:
        times = times.until_count(rule.runs)
    daily = rule.names_time_of_day
    return OnClock(gap or ("shift" if daily else "skip"), fold or ("first" if daily else "both"), times)


def _local(text: str) -> int:
    at = datetime.fromisoformat(text)
    return (at.toordinal() - EPOCH_ORDINAL) * DAY + at.hour * _HOUR + at.minute * _MINUTE + at.second


def _parts(given: Rule, start: int) -> list[Part]:
    rule = _filled_in(given, start)
    hours = rule.by_hour or tuple(range(24))
    minutes = rule.by_minute or tuple(range(60))
    seconds = rule.by_second or tuple(range(60))
    match rule.freq:
        case "SECONDLY":
            minute = _bits(seconds)
            hour = sum(minute << _MINUTE * at for at in minutes)
            clock = Clock(1, sum(hour << _HOUR * at for at in hours), _picked((0,), rule), rule.interval)
        case "MINUTELY":
            hour = _bits(minutes)
            clock = Clock(_MINUTE, sum(hour << 60 * at for at in hours), _picked(seconds, rule), rule.interval)
        case "HOURLY":
            clock = Clock(_HOUR, _bits(hours), _picked(_within_hour(minutes, seconds), rule), rule.interval)
        case "DAILY" if rule.by_place:
            within = _within_hour(minutes, seconds)
            clock = Clock(DAY, 1, _picked([hour * _HOUR + at for hour in hours for at in within], rule))
        case _ if rule.by_place:
            return _by_place(rule, start, hours, _within_hour(minutes, seconds))
        case _:
            clock = Clock(_HOUR, _bits(hours), _within_hour(minutes, seconds))
    return [Part(rule, start, _ALL, clock)] if clock.within else []


def _filled_in(rule: Rule, start: int) -> Rule:
    """The rule with what it leaves to its start."""
    at = datetime.fromordinal(start // DAY + EPOCH_ORDINAL)
    by_date = rule.by_year_day or rule.by_month_day or rule.by_day
    if (rule.freq == "YEARLY" and rule.by_week and not by_date) or (rule.freq == "WEEKLY" and not rule.by_day):
        rule = rule._replace(by_day=((0, at.weekday()),))
    elif rule.freq in ("YEARLY", "MONTHLY") and not (rule.by_week or by_date):
        month = rule.by_month or ((at.month,) if rule.freq == "YEARLY" else ())
        rule = rule._replace(by_month=month, by_month_day=(at.day,))
    hour, rest = divmod(start % DAY, _HOUR)
    minute, second = divmod(rest, _MINUTE)
    if rule.freq == "SECONDLY":
        return rule
    rule = rule._replace(by_second=rule.by_second or (second,))
    if rule.freq == "MINUTELY":
        return rule
    rule = rule._replace(by_minute=rule.by_minute or (minute,))
    return rule if rule.freq == "HOURLY" else rule._replace(by_hour=rule.by_hour or (hour,))


def _by_place(rule: Rule, start: int, hours: Sequence[int], within: Sequence[int]) -> list[Part]:
    """Of the days times the times of day in each period, those at the places of BYSETPOS.

    A place falls on one time of day of one of the days: times that have the same days together make a part.
    """
    size = len(hours) * len(within)
    days_of = defaultdict[int, set[int]](set)
    for place in _places(rule):
        day, time = divmod(place, size)
        days_of[hours[time // len(within)] * _HOUR + within[time % len(within)]].add(day)
    times_of = defaultdict[tuple[int, ...], list[int]](list)
    for time in sorted(days_of):
        times_of[tuple(sorted(days_of[time]))].append(time)
    return [Part(rule, start, Picked(days), Clock(DAY, 1, tuple(times))) for days, times in times_of.items()]


def _picked(seconds: Sequence[int], rule: Rule) -> tuple[int, ...]:
    if not rule.by_place:
        return tuple(seconds)
    size = len(seconds)
    return tuple(sorted({seconds[place] for place in _places(rule) if -size <= place < size}))


def _places(rule: Rule) -> list[int]:
    """From 0 on, or from -1 back."""
    return [place - 1 if place > 0 else place for place in rule.by_place]


@lru_cache(maxsize=256)
def _within_hour(minutes: tuple[int, ...], seconds: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(minute * _MINUTE + second for minute in minutes for second in seconds)


def _bits(values: Sequence[int]) -> int:
    return sum(1 << value for value in values)
