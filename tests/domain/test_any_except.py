"""Several schedules together, and what a schedule leaves out: against sets of fire times, and in every direction."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import taskscheduler.domain.left_out
from taskscheduler.domain.cron import compile_cron
from taskscheduler.domain.excluded import ExceptCalendar, ExceptCron, ExceptDays, ExceptTime, Exclusion
from taskscheduler.domain.schedule import (
    AnyOf,
    Cron,
    Every,
    LocalEvery,
    OneTime,
    Recurrence,
    Schedule,
    Single,
    count_between,
    counting_cost,
    next_after,
    prev_before,
    zone_of,
)
from tests.domain.scenario import DAY, HOUR, MINUTE, START, at, created
from tests.support.schedules import agree, walk

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BERLIN = "Europe/Berlin"


def instant(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1)


# Spans of days in which clocks change: by an hour, by half an hour, at midnight, from after midnight, by a day.
SPANS = [
    (BERLIN, "2026-03-27T00:00Z"),
    (BERLIN, "2026-10-23T00:00Z"),
    ("Europe/Dublin", "2026-03-27T00:00Z"),
    ("Australia/Lord_Howe", "2026-04-03T00:00Z"),
    ("Australia/Lord_Howe", "2026-10-02T00:00Z"),
    ("Africa/Cairo", "2026-04-22T00:00Z"),
    ("Africa/Cairo", "2026-10-27T00:00Z"),
    ("America/St_Johns", "2010-11-05T00:00Z"),
    ("Pacific/Apia", "2011-12-28T00:00Z"),
    ("UTC", "2026-02-26T00:00Z"),
]
LENGTH = 6 * DAY

CRONS = [
    "*/20 * * * *",
    "30 2 * * *",
    "0 0 * * *",
    "0,30 0-3 * * *",
    "15 */6 * * SUN,MON",
    "*/7 1-2 * * *",
    "30 0 2 * * *",
    "*/30 59 23 * * ?",
    "0 12 L * *",
]
OUT = [
    "30 2 * * *",
    "* 2 * * *",
    "* * * * SUN",
    "0 0 * * *",
    "*/20 * * * *",
    "* 22-3 * * *",
    "0 0 12 * * ?",
    "* 0 * * *",
]


GAPS = (None, "skip", "shift")
FOLDS = (None, "last", "both")


def day_of(at: int) -> str:
    return (EPOCH + timedelta(milliseconds=at)).strftime("%Y-%m-%d")


@st.composite
def cases(draw: st.DrawFn) -> tuple[Schedule, int]:
    zone, begins = draw(st.sampled_from(SPANS))
    start = instant(begins)

    def single() -> Single:
        match draw(st.integers(0, 7)):
            case 0:
                return Every(draw(st.sampled_from([7 * MINUTE, HOUR, 5 * HOUR + 1])), start - DAY)
            case 1:
                return LocalEvery(zone, start - 3 * DAY - 90 * MINUTE, days=1, anchored=True)
            case 2:
                rule = draw(st.sampled_from(["FREQ=DAILY;BYHOUR=0,2,23", "FREQ=HOURLY;INTERVAL=5", "FREQ=WEEKLY"]))
                return Recurrence(
                    rule, zone, (EPOCH + timedelta(milliseconds=start - DAY)).strftime("%Y-%m-%dT02:30:00")
                )
            case 3:
                return OneTime(start + draw(st.integers(0, LENGTH)), "at")
            case _:
                gap, fold = (
                    draw(st.sampled_from([None, "skip", "shift"])),
                    draw(st.sampled_from([None, "last", "both"])),
                )
                bounds = {"start_at": start + DAY} if draw(st.integers(0, 4)) == 0 else {}
                own = draw(st.sampled_from([zone, zone, "UTC"]))
                return Cron(draw(st.sampled_from(CRONS)), own, gap=gap, fold=fold, **bounds)

    def exclusion() -> Exclusion:
        first = draw(st.integers(-1, 7))
        days = [
            (EPOCH + timedelta(milliseconds=start + (first + more) * DAY)).strftime("%Y-%m-%d") for more in range(3)
        ]
        match draw(st.integers(0, 5)):
            case 0:
                return ExceptDays(days[0], days[draw(st.integers(0, 2))])
            case 1:
                begin = start + draw(st.integers(-DAY, LENGTH))
                return ExceptTime(begin, begin + draw(st.integers(1, 2 * DAY)))
            case 2:
                return ExceptCalendar("c", 1, (days[0], f"{days[2]}/{days[2]}"))
            case _:
                return ExceptCron(
                    draw(st.sampled_from(OUT)), draw(st.sampled_from([None, None, "UTC", "Asia/Kathmandu"]))
                )

    excluded = tuple(exclusion() for _ in range(draw(st.integers(0, 3))))
    if draw(st.booleans()):
        members = tuple(single() for _ in range(draw(st.integers(1, 4))))
        return AnyOf(members=members, timezone=zone, excluded=excluded), start
    one = single()
    return (one if isinstance(one, OneTime) else replace(one, excluded=excluded)), start


def left_out(exclusion: Exclusion, zone: str, fire: int) -> bool:
    shown = (EPOCH + timedelta(milliseconds=fire)).astimezone(ZoneInfo(zone)).date().isoformat()
    match exclusion:
        case ExceptDays(first=first, last=last):
            return first <= shown <= last
        case ExceptCalendar(days=days):
            return any(day.split("/")[0] <= shown <= day.split("/")[-1] for day in days)
        case ExceptTime(start=start, end=end):
            return start <= fire < end
        case ExceptCron(cron=expression, timezone=own):
            width = MINUTE if len(expression.split()) == 5 else 1_000
            named = compile_cron(expression, fold="both").prev_before(fire + 1, own or zone)
            return named is not None and fire < named + width
    raise AssertionError


@pytest.fixture(autouse=True, scope="module")
def nothing_is_sought_for_years() -> Iterator[None]:
    """Of what is left out for ever, the search goes on for longer than these tests have time."""
    with patch.object(taskscheduler.domain.left_out, "MOST_IN_A_ROW", 2_000):
        yield


def by_sets(schedule: Schedule, since: int, until: int) -> list[int]:
    members = schedule.members if isinstance(schedule, AnyOf) else (replace(schedule, excluded=()),)
    zone = zone_of(schedule) or "UTC"
    fires = set[int]()
    for each in members:
        out = [whole_days(one, zone, each) for one in schedule.excluded]
        fires.update(fire for fire in walk(each, since, until) if not any(left_out(one, zone, fire) for one in out))
    return sorted(fires)


def whole_days(exclusion: Exclusion, zone: str, member: Single) -> Exclusion:
    """The days of an exclusion that names every time of day of a cron schedule of the same zone."""
    if not isinstance(member, Cron) or not isinstance(exclusion, ExceptCron):
        return exclusion
    width = MINUTE if len(exclusion.cron.split()) == 5 else 1_000
    # On 1 February 2026, a Sunday, both name their times of day, whatever else they say.
    start = instant("2026-02-01T00:00Z")
    clock = [" ".join([*text.split()[:-3], "* * *"]) for text in (member.cron, exclusion.cron)]
    named = list(walk(Cron(clock[1]), start - 1, start + DAY - 1))
    every = all(
        any(at <= fire < at + width for at in named) for fire in walk(Cron(clock[0]), start - 1, start + DAY - 1)
    )
    if member.timezone != (exclusion.timezone or zone) or not every:
        return exclusion
    return ExceptCron(" ".join(["* *", *exclusion.cron.split()[-3:]]).replace("?", "*"), exclusion.timezone)


@given(cases())
@settings(max_examples=120, deadline=None)
def test_fire_times_are_those_of_the_sets(case: tuple[Schedule, int]) -> None:
    schedule, start = case
    assert list(walk(schedule, start, start + LENGTH)) == by_sets(schedule, start, start + LENGTH)


@given(cases(), st.integers(0, DAY), st.sampled_from([3 * HOUR, DAY, LENGTH]))
@settings(max_examples=60, deadline=None)
def test_forwards_backwards_and_by_number(case: tuple[Schedule, int], later: int, length: int) -> None:
    schedule, start = case
    fires = list(walk(schedule, start + later, start + later + length))[:20]
    agree(schedule, start + later, fires[-1] if fires else start + later + length)


@given(cases(), st.sampled_from([MINUTE, HOUR, 30 * DAY]))
@settings(max_examples=60, deadline=None)
def test_bounds_hold_for_the_whole(case: tuple[Schedule, int], jitter: int) -> None:
    schedule, start = case
    fires = by_sets(schedule, start + DAY, start + 4 * DAY)
    bounded = replace(schedule, start_at=start + DAY + 1, end_at=start + 4 * DAY)
    if isinstance(schedule, AnyOf):
        assert list(walk(bounded, start, start + LENGTH)) == fires
    found = agree(replace(bounded, jitter=jitter, salt=7), start, start + LENGTH + 40 * DAY) if len(fires) < 60 else []
    assert len(found) in (0, len(fires)) or not isinstance(schedule, AnyOf)


def nightly(*excluded: Exclusion, zone: str = BERLIN) -> Cron:
    return Cron("30 2 * * *", zone, excluded=excluded)


def test_a_time_that_a_gap_put_off_is_left_out_with_its_day_or_its_expression() -> None:
    gap = instant("2026-03-29T03:00+02:00")
    day = (gap - HOUR, gap + HOUR)
    assert list(walk(nightly(), *day)) == [gap]
    for out in (ExceptDays("2026-03-29", "2026-03-29"), ExceptCron("30 2 * * SUN"), ExceptCron("* * * * SUN")):
        assert list(walk(nightly(out), *day)) == []
    assert list(walk(nightly(ExceptCron("* 2 * * SUN")), *day)) == [], "it names every time of day of the schedule"
    assert list(walk(nightly(ExceptCron("* 2 * * SUN", "Europe/Paris")), *day)) == [gap], "that clock never shows 2"
    assert list(walk(nightly(ExceptCron("30 2 * * SUN", "Europe/Paris")), *day)) == []


def test_a_day_that_never_was() -> None:
    """In Samoa, 2011-12-30 was left out by the clock, and all its fire times put off to midnight."""
    since, until = instant("2011-12-29T12:00Z"), instant("2012-01-01T12:00Z")
    noon = Cron("0 12 * * *", "Pacific/Apia", gap="shift")
    assert len(list(walk(noon, since, until))) == 4
    assert len(list(walk(replace(noon, excluded=(ExceptDays("2011-12-30", "2011-12-30"),)), since, until))) == 4
    assert len(list(walk(replace(noon, excluded=(ExceptDays("2011-12-31", "2011-12-31"),)), since, until))) == 2


def test_fire_times_at_the_same_instant_are_one() -> None:
    both = AnyOf((Cron("0 9 * * *", "UTC"), Cron("0 10 * * *", BERLIN), Every(DAY, START + 9 * HOUR)))
    january = list(walk(both, START, START + 7 * DAY))
    assert january == [START + 9 * HOUR + day * DAY for day in range(7)]
    assert count_between(both, START, START + 7 * DAY) == 7
    july = instant("2026-07-01T00:00Z")
    assert count_between(both, july, july + 7 * DAY) == 14


def test_one_that_is_left_out_by_its_own_times_jumps_over_months() -> None:
    """Every five minutes but not in summer, written with the same times: whole days are left out, not minutes."""
    schedule = Cron("*/5 * * * *", BERLIN, excluded=(ExceptCron("*/5 * * 6-8 *"),))
    june = instant("2026-06-01T00:00+02:00")
    assert next_after(schedule, june - 1) == instant("2026-09-01T00:00+02:00")
    assert prev_before(schedule, instant("2026-09-01T00:00+02:00")) == june - 5 * MINUTE
    assert counting_cost(schedule, START, START + 365 * DAY) == (0, 92)
    began = time.process_time()
    for _ in range(20):
        next_after(schedule, june)
    assert time.process_time() - began < 0.1


def test_the_days_of_large_calendars_are_read_once_for_all_that_leave_them_out() -> None:
    days = tuple(str(date(2026, 1, 1) + timedelta(2 * number)) for number in range(4_000))
    large = tuple(ExceptCalendar(f"c{number}", 1, days[number:]) for number in range(5))

    def first(minute: int) -> int | None:
        members = tuple(Cron(f"{minute} {hour} * * *") for hour in range(20))
        return next_after(AnyOf(members=members, excluded=large), instant("2026-01-01T00:00Z"))

    assert first(0) == instant("2026-01-02T00:00Z")
    began = time.process_time()
    assert first(1) == instant("2026-01-02T00:01Z")
    assert time.process_time() - began < 0.1


def test_a_schedule_goes_on_after_a_season_of_which_every_time_is_left_out() -> None:
    winter = instant("2026-12-31T00:00Z")
    schedule = Every(2 * MINUTE, winter, anchored=True, excluded=(ExceptCron("*/2 * * 1-3 *"),))
    spring = instant("2027-04-01T00:00Z")
    assert next_after(schedule, winter + DAY - 1) == spring
    assert prev_before(schedule, spring) == winter + DAY - 2 * MINUTE
    assert count_between(schedule, winter + DAY - 1, spring + DAY) == 720


def test_long_ranges_are_counted_at_once() -> None:
    out = (
        ExceptDays("2027-01-01", "2027-06-30"),
        ExceptCron("* * * * SAT,SUN"),
        ExceptCalendar("c", 1, ("2026-12-25",)),
    )
    schedule = Cron("* * * * *", BERLIN, excluded=out)
    count_between(schedule, START, START + 20 * 365 * DAY)
    began = time.process_time()
    days = 365 * 2 - 181
    assert abs(count_between(schedule, START, START + 2 * 365 * DAY) - days * 1440 * 5 // 7) < 5 * 1440
    assert time.process_time() - began < 0.05


def test_a_task_goes_by_them() -> None:
    out = (ExceptTime(at("2:00"), at("3:30")),)
    task = created(replace(AnyOf((Every(HOUR, 0), Cron("30 * * * *"))), excluded=out), "0:10")
    task.then("created, next 0:30").wake("0:30").then("queued schedule 0:30", "next 1:10").claim().complete("0:31")
    task.wake("1:10").claim().complete("1:11").wake("1:30").then("queued schedule 1:30", "next 3:30").wakes("3:30")


def test_a_member_of_which_nothing_is_left_does_not_slow_the_others() -> None:
    """A search that went to the end of time is not made again."""
    members = (Every(DAY, START + 3 * HOUR), Cron("0 * * * *"))
    schedule = AnyOf(members, excluded=(ExceptCron("* 1-4 * * *"), ExceptTime(0, START)))
    next_after(schedule, START)
    prev_before(schedule, START + HOUR)
    began = time.process_time()
    for hour in range(100):
        next_after(schedule, START + hour * HOUR)
        prev_before(schedule, START + (1 + hour) * HOUR)
    assert time.process_time() - began < 0.1


def test_unions_are_known_by_what_they_cost() -> None:
    dense = AnyOf((Cron("* * * * *"), Every(MINUTE, 30_000, anchored=True), Cron("0 5 * * *")))
    walked, out = counting_cost(dense, START, START + 10 * DAY)
    assert (walked, out) == (10 * 1440 + 10, 0)
