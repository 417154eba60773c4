"""Recurrence rules against python-dateutil, over hundreds of them from fixed seeds.

Left out is where dateutil is known to be another, which tests/domain/test_rrule.py holds to another oracle: BYDAY with
and without a number mixed, BYWEEKNO of weeks that may belong to another year, BYWEEKNO without a day, BYSETPOS in a
week that dtstart cuts, UNTIL without a time; and numbers of BYDAY that make dateutil raise IndexError.
"""

from __future__ import annotations

import calendar
import datetime as datetime_module
import random
from datetime import datetime, timedelta
from itertools import islice
from types import SimpleNamespace
from unittest.mock import patch

import dateutil.rrule
import pytest
from dateutil.rrule import rrulestr
from hypothesis import given, settings
from hypothesis import strategies as st

from taskscheduler.domain.local_days import NEVER_AFTER, NEVER_BEFORE
from taskscheduler.domain.on_clock import Times
from taskscheduler.domain.rrule import compile_rule
from taskscheduler.domain.rrule_parse import InvalidRule, Rule, parse_rule
from taskscheduler.domain.rrule_times import RuleTimes

EPOCH = datetime(1970, 1, 1)
DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
COMPARED = 25

YEARLY, MONTHLY, WEEKLY, DAILY, HOURLY, MINUTELY, SECONDLY = (
    "YEARLY",
    "MONTHLY",
    "WEEKLY",
    "DAILY",
    "HOURLY",
    "MINUTELY",
    "SECONDLY",
)


def some(chance: random.Random, values: list[int], most: int) -> str:
    return ",".join(str(value) for value in chance.sample(values, chance.randint(1, most)))


def rule(chance: random.Random) -> str:
    freq = chance.choice([YEARLY, YEARLY, MONTHLY, MONTHLY, WEEKLY, WEEKLY, DAILY, DAILY, HOURLY, MINUTELY, SECONDLY])
    parts = [f"FREQ={freq}"]
    fine = freq in (MINUTELY, SECONDLY)  # dateutil tries each, so days are named for the others only

    def add(one_in: float, part: str, value: str) -> None:
        if chance.random() < one_in:
            parts.append(f"{part}={value}")

    add(0.5, "INTERVAL", str(chance.choice([2, 3, 4, 5, 7, 10, 13, 25, 40, 61, 100])))
    add(0.3, "WKST", chance.choice(DAYS))
    add(0 if fine else 0.3, "BYMONTH", some(chance, list(range(1, 13)), 4))
    if freq == YEARLY:
        add(0.25, "BYWEEKNO", some(chance, list(range(1, 52)), 5))
    by_week = parts[-1].startswith("BYWEEKNO")
    if freq in (YEARLY, HOURLY):
        add(0.2, "BYYEARDAY", some(chance, [*range(1, 367), *range(-366, 0)], 20))
    if freq != WEEKLY and not fine:
        add(0.35, "BYMONTHDAY", some(chance, [*range(1, 32), *range(-31, 0)], 6))
    if not fine and (chance.random() < 0.45 or by_week):
        days = chance.sample(DAYS, chance.randint(1, 4))
        if freq == MONTHLY and chance.random() < 0.5:
            days = [f"{chance.choice([1, 2, 3, 4, 5, -1, -2, -5])}{day}" for day in days]
        elif freq == YEARLY and not by_week and not any(part.startswith("BYMONTH=") for part in parts):
            days = [f"{chance.choice([1, 2, 5, 20, -1, -10])}{day}" for day in days]
        parts.append(f"BYDAY={','.join(days)}")
    add(0.3, "BYHOUR", some(chance, list(range(24)), 4))
    add(0.3, "BYMINUTE", some(chance, list(range(60)), 4))
    add(0.2, "BYSECOND", some(chance, list(range(60)), 3))
    if any(part.startswith("BY") for part in parts):
        add(0.35, "BYSETPOS", some(chance, [1, -1] if fine else [1, 2, 3, 4, 5, 10, -1, -2, -3, -10], 2))
    if chance.random() < 0.2:
        parts.append(f"COUNT={chance.randint(1, 60)}")
    else:
        add(0.2, "UNTIL", f"20{chance.randint(28, 40)}0615T120000")
    return ";".join(parts)


def start_of(text: str, chance: random.Random) -> datetime:
    start = datetime(2026, 1, 1) + timedelta(days=chance.randint(0, 700), seconds=chance.randint(0, 86_399))
    if "WEEKLY" in text and "BYSETPOS" in text:
        week_start = next((part[5:] for part in text.split(";") if part.startswith("WKST=")), "MO")
        start -= timedelta(days=(start.weekday() - DAYS.index(week_start)) % 7)
    return start


def theirs(text: str, start: datetime, last_year: int) -> list[int] | None:
    """The first fire times up to that year; None where dateutil cannot say."""
    bounded = SimpleNamespace(**{**vars(datetime_module), "MAXYEAR": last_year})
    with patch.object(dateutil.rrule, "datetime", bounded):
        try:
            found = list(islice(rrulestr(text, dtstart=start), COMPARED))
        except (ValueError, IndexError):
            return None
    return [(at - EPOCH) // timedelta(seconds=1) for at in found if at.year <= last_year]


def compare(text: str, start: datetime) -> bool:
    """Whether there was something to compare with."""
    last_year = 2032 if text.startswith((f"FREQ={HOURLY}", f"FREQ={MINUTELY}", f"FREQ={SECONDLY}")) else 2060
    expected = theirs(text, start, last_year)
    if expected is None:
        return False
    try:
        times: Times = compile_rule(text, start.isoformat(), "UTC").times
    except InvalidRule:
        times = RuleTimes([], 0, 0)
    end = (datetime(last_year + 1, 1, 1) - EPOCH) // timedelta(seconds=1)
    found, at = list[int](), 0
    while len(found) < COMPARED and (local := times.next_from(at)) < end:
        found.append(local)
        at = local + 1
    assert found == expected, (text, start)
    if expected:
        back, at = list[int](), expected[-1]
        while (local := times.prev_from(at)) != NEVER_BEFORE:
            back.append(local)
            at = local - 1
        assert back[::-1] == expected, (text, start)
        assert [times.count(0, local) for local in expected] == list(range(len(expected))), (text, start)
    return True


@pytest.mark.parametrize("seed", range(10))
def test_rules_from_a_seed(seed: int) -> None:
    compared = 0
    for number in range(80):
        chance = random.Random(seed * 1_000 + number)
        text = rule(chance)
        compared += compare(text, start_of(text, chance))
    assert compared > 50


@given(st.integers(0, 1 << 40))
@settings(max_examples=60, deadline=None)
def test_any_rule(seed: int) -> None:
    chance = random.Random(seed)
    text = rule(chance)
    compare(text, start_of(text, chance))


def named(rule: Rule, start: datetime, at: datetime) -> bool:
    """Whether a rule of hours or less, without BYSETPOS, names the time: by the letter of RFC 5545."""
    unit = {"HOURLY": 3_600, "MINUTELY": 60, "SECONDLY": 1}[rule.freq]
    steps = (at - EPOCH) // timedelta(seconds=unit) - (start - EPOCH) // timedelta(seconds=unit)
    year, month = at.timetuple().tm_yday, calendar.monthrange(at.year, at.month)[1]
    length = 366 if calendar.isleap(at.year) else 365
    return (
        at >= start
        and steps % rule.interval == 0
        and (not rule.by_month or at.month in rule.by_month)
        and (not rule.by_year_day or not {year, year - length - 1}.isdisjoint(rule.by_year_day))
        and (not rule.by_month_day or not {at.day, at.day - month - 1}.isdisjoint(rule.by_month_day))
        and (not rule.by_day or (0, at.weekday()) in rule.by_day)
        and (not rule.by_hour or at.hour in rule.by_hour)
        and (at.minute in rule.by_minute if rule.by_minute else rule.freq != "HOURLY" or at.minute == start.minute)
        and (at.second in rule.by_second if rule.by_second else rule.freq == "SECONDLY" or at.second == start.second)
    )


@pytest.mark.parametrize("seed", range(300))
def test_rules_within_a_day_name_what_they_say(seed: int) -> None:
    chance = random.Random(seed)
    parts = [f"FREQ={chance.choice([HOURLY, MINUTELY, SECONDLY])};INTERVAL={chance.choice([1, 2, 5, 7, 25, 90, 1001])}"]
    for part, values in (
        ("BYMONTH", list(range(1, 13))),
        ("BYYEARDAY", [*range(1, 367), *range(-366, 0)]),
        ("BYMONTHDAY", [*range(1, 32), *range(-31, 0)]),
        ("BYHOUR", list(range(24))),
        ("BYMINUTE", list(range(60))),
        ("BYSECOND", list(range(60))),
    ):
        if chance.random() < 0.4:
            parts.append(f"{part}={some(chance, values, min(30, len(values) // 2))}")
    if chance.random() < 0.4:
        parts.append(f"BYDAY={','.join(chance.sample(DAYS, 4))}")
    text, start = ";".join(parts), datetime(2026, 1, 1, 9, 30, 15) + timedelta(seconds=chance.randint(0, 10**7))
    rule = parse_rule(text)
    try:
        times = compile_rule(text, start.isoformat(), "UTC").times
    except InvalidRule:
        return
    at = (start - EPOCH) // timedelta(seconds=1)
    for _ in range(20):
        since, at = at, times.next_from(at + chance.choice([1, 1, 86_400, 10**6]))
        if at == NEVER_AFTER:
            break
        assert named(rule, start, EPOCH + timedelta(seconds=at)), (text, start)
        for local in (at - 1, at + 1, *(chance.randint(since, at) for _ in range(20))):
            expected = named(rule, start, EPOCH + timedelta(seconds=local))
            assert times.count(local, local + 1) == expected, (text, start, local)
