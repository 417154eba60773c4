"""What a preview says of a schedule, and what it warns of: held to when the schedule fires."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from cli_stub import Run
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st

from taskscheduler.api.schedule_warnings import warnings
from taskscheduler.api.schedule_words import describe
from taskscheduler.domain.schedule import Cron, Recurrence, next_after

NOW = 1_893_456_000_000
"""2030-01-01T00:00:00Z, a Tuesday."""


def warned(cron: str, zone: str = "UTC", **more: Any) -> list[str]:
    return warnings(Cron(cron, zone, **more), NOW)


def fires(cron: str, zone: str = "UTC", *, days: int) -> list[datetime]:
    found, at, end = [], NOW - 1, NOW + days * 86_400_000
    while (fire := next_after(Cron(cron, zone), at)) is not None and fire < end:
        found.append(datetime.fromtimestamp(fire / 1000, UTC))
        at = fire
    return found


async def preview(api: httpx.AsyncClient, **schedule: Any) -> dict[str, Any]:
    response = await api.post("/api/schedules/preview", json={"schedule": schedule, "count": 1})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


@pytest.mark.parametrize(
    ("schedule", "sentence"),
    [
        ({"cron": "0 2 * * *"}, "At 02:00, in UTC."),
        ({"cron": "30 6 * * 1-5", "timezone": "Europe/Berlin"}, "At 06:30, Monday through Friday, in Europe/Berlin."),
        ({"cron": "*/15 * * * *"}, "Every 15 minutes, in UTC."),
        ({"cron": "@hourly"}, "Every hour, in UTC."),
        ({"cron": "@Daily", "timezone": "Asia/Tokyo"}, "At 00:00, in Asia/Tokyo."),
        ({"cron": "5 4 * * sun"}, "At 04:05, only on Sunday, in UTC."),
        # crontab(5): either day field may match; of six fields both have to, and so of one that begins with *.
        ({"cron": "30 4 1,15 * 5"}, "At 04:30, on day 1 and 15 of the month, or on Friday, in UTC."),
        ({"cron": "30 4 1 * 1-5"}, "At 04:30, on day 1 of the month, or on Monday through Friday, in UTC."),
        ({"cron": "0 30 4 13 * 5"}, "At 04:30, on day 13 of the month, but only on Friday, in UTC."),
        ({"cron": "30 4 */2 * 5"}, "At 04:30, every 2 days, but only on Friday, in UTC."),
        ({"cron": "30 4 13 * */1"}, "At 04:30, on day 13 of the month, in UTC."),
        ({"cron": "0 */90 * * * *"}, "Every hour, in UTC."),
        ({"at": "2030-01-31T08:00:00+01:00"}, "Once, at 07:00:00 UTC on 2030-01-31."),
        ({"at": "2030-01-31T08:00:00.250Z"}, "Once, at 08:00:00.250 UTC on 2030-01-31."),
        ({"delay": "90s"}, "Once, 1 minute 30 seconds after the task is made."),
        ({"delay": 0}, "Once, 0 seconds after the task is made."),
        ({"every": "1h"}, "Every hour, counted from when the task is made."),
        ({"every": "100ms"}, "Every 0.1 seconds, counted from when the task is made."),
        ({"every": "P1DT1M"}, "Every 1 day 1 minute, counted from when the task is made."),
        (
            {"every": "15m", "anchor": "2030-01-01T00:00:00Z"},
            "Every 15 minutes, counted from 00:00:00 UTC on 2030-01-01.",
        ),
        ({"every": "P1D", "timezone": "Asia/Tokyo"}, "Every day, counted from when the task is made, in Asia/Tokyo."),
        (
            {"every": "P3M", "timezone": "Asia/Tokyo", "anchor": "2030-01-31T00:00:30Z"},
            "Every 3 months, counted from 09:00:30 on 2030-01-31, in Asia/Tokyo.",
        ),
        (
            {"every": "P2Y", "timezone": "UTC", "start_at": "2030-02-01T00:00:00Z"},
            "Every 2 years, in UTC, from 00:00:00 UTC on 2030-02-01.",
        ),
        (
            {"rrule": "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU", "dtstart": "2030-01-01T09:00:00", "timezone": "Asia/Tokyo"},
            "Every 2 weeks on Tuesday at 09:00, from 2030-01-01 on, in Asia/Tokyo.",
        ),
        (
            {"rrule": "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;COUNT=3", "dtstart": "2030-01-01T09:00:00"},
            "Every month on Monday to Friday at 09:00, the last of these, from 2030-01-01 on, 3 times, in UTC.",
        ),
        (
            {"rrule": "FREQ=YEARLY;BYDAY=2SU,-2SU;BYMONTH=3", "dtstart": "2030-01-01T09:00:00"},
            "Every year in March on the 2nd last Sunday and the 2nd Sunday at 09:00, from 2030-01-01 on, in UTC.",
        ),
        (
            {"rrule": "FREQ=YEARLY;UNTIL=20320101T000000Z", "dtstart": "2030-05-03T09:00:30"},
            "Every year on 3 May at 09:00:30, from 2030-05-03 on, until 00:00:00 UTC on 2032-01-01, in UTC.",
        ),
        (
            {"rrule": "FREQ=HOURLY;BYMINUTE=0,30;BYMONTHDAY=-1", "dtstart": "2030-01-01T09:00:00"},
            "Every hour on the last day of the month, at minute 0 and 30, from 09:00 on 2030-01-01 on, in UTC.",
        ),
        (
            {
                "any": [{"cron": "0 9 * * 1-5"}, {"every": "1d", "end_at": "2030-02-01T00:00:00Z"}],
                "except": [{"date": "2030-12-25"}, {"from": "2030-12-31", "to": "2031-01-01"}, {"cron": "* 12 * * *"}],
                "max_runs": 3,
            },
            (
                "Each of these: at 09:00, Monday through Friday, in UTC; or every day, counted from when the task is "
                "made, until 00:00:00 UTC on 2030-02-01, except on 2030-12-25, from 2030-12-31 to 2031-01-01 and what "
                "“Every minute, between 12:00 and 12:59” names, 3 runs at most."
            ),
        ),
        (
            {"every": "1h", "except": [{"from": "2030-01-01T00:00:00Z", "to": "2030-01-02T00:00:00Z"}]},
            (
                "Every hour, counted from when the task is made, except from 00:00:00 UTC on 2030-01-01 until before "
                "00:00:00 UTC on 2030-01-02."
            ),
        ),
        ({"every": "1h", "start_at": "2030-02-01T00:00:00Z"}, "Every hour, from 00:00:00 UTC on 2030-02-01."),
        (
            {"cron": "@hourly", "end_at": "2030-02-01T00:00:00Z", "max_runs": 3, "jitter": "1m"},
            "Every hour, in UTC, until 00:00:00 UTC on 2030-02-01, 3 runs at most, put off by up to 1 minute.",
        ),
    ],
)
async def test_a_schedule_as_a_sentence(api: httpx.AsyncClient, schedule: dict[str, Any], sentence: str) -> None:
    assert (await preview(api, **schedule))["description"] == sentence


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    ranges = st.tuples(number, number).map(lambda both: f"{min(both)}-{max(both)}")
    steps = st.tuples(st.just("*") | ranges, st.integers(1, high + 2)).map(lambda both: f"{both[0]}/{both[1]}")
    return st.lists(st.just("*") | number.map(str) | ranges | steps, min_size=1, max_size=3).map(",".join)


@given(st.tuples(*(_field(*bounds) for bounds in ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7)))), st.booleans())
def test_every_expression_has_one_sentence(fields: tuple[str, ...], seconds: bool) -> None:
    sentence = describe(Cron(" ".join(fields if seconds else fields[1:])))
    assert sentence[0].isupper()
    assert sentence.endswith(", in UTC.")
    assert sentence.count("only on") + sentence.count(", or on") <= 2, "one for the days, one for months in a list"
    assert sentence.count(" or on ") <= 1


def test_how_days_combine_may_be_chosen() -> None:
    both = describe(Cron("30 4 13 * 5", days="and"))
    assert both == "At 04:30, on day 13 of the month, but only on Friday, in UTC."
    assert describe(Cron("0 30 4 13 * 5", days="or")) == "At 04:30, on day 13 of the month, or on Friday, in UTC."


@pytest.mark.parametrize("cron", ["H 2 * * *", "0 9 1W,15 * *", "0 9 31,L * *", "0 9 L-2,1 * *", "0 9 * * FRI#2,MON"])
def test_what_no_words_are_known_for_is_shown_as_it_is(cron: str) -> None:
    assert describe(Cron(cron)) == f"By the cron expression {cron}, in UTC."


def test_warnings_of_rules() -> None:
    def of(rule: str, start: str = "2030-01-31T09:00:00", zone: str = "UTC") -> list[str]:
        return warnings(Recurrence(rule, zone, start), NOW)

    assert of("FREQ=MONTHLY;BYMONTHDAY=-1") == []
    assert [text[:31] for text in of("FREQ=MONTHLY")] == ["There is no day 31 in February,"]
    assert of("FREQ=YEARLY") == []
    [elsewhere] = of("FREQ=MONTHLY;BYDAY=MO")
    assert "does not fire at its dtstart" in elsewhere
    [gap] = of("FREQ=DAILY", "2030-01-31T02:30:00", "Europe/Berlin")
    assert "02:30 does not exist in Europe/Berlin on 2030-03-31" in gap


def test_midnight_with_jitter_is_no_mistake() -> None:
    assert len(warned("0 0 * * *")) == 1
    assert warned("0 0 * * *", jitter=600_000) == []


def test_what_cannot_be_read_before_it_is_filled_in_is_not_warned_of() -> None:
    assert warned("H 2 * * *") == []


async def test_no_warning_without_a_reason(api: httpx.AsyncClient) -> None:
    for cron in ("17 3 * * *", "*/15 * * * *", "0 */6 * * *", "* * * * *", "* 9-17 * * *", "0 9 28 * *", "@hourly"):
        assert (await preview(api, cron=cron, timezone="Europe/Berlin"))["warnings"] == []
    for schedule in ({"every": "7m"}, {"delay": "1h"}, {"at": "2030-02-01T00:00:00Z"}):
        assert (await preview(api, **schedule))["warnings"] == []


@pytest.mark.parametrize(
    ("cron", "instead", "more"),
    [
        ("* 2 * * *", "0 2 * * *", 60),
        ("* 2,14 * * 1", "0 2,14 * * 1", 60),
        ("* */2 * * *", "0 */2 * * *", 60),
        ("0 * 2 * * *", "0 0 2 * * *", 60),
        ("* 5 4 * * *", "0 5 4 * * *", 60),
    ],
)
def test_many_fires_where_one_may_have_been_meant(cron: str, instead: str, more: int) -> None:
    [warning] = warned(cron)
    assert f"write {instead}." in warning
    assert len(fires(cron, days=14)) == more * len(fires(instead, days=14))


@pytest.mark.parametrize("unit", ["minute", "hour", "second"])
def test_a_step_is_warned_of_when_it_leaves_uneven_gaps(unit: str) -> None:
    shape, size, one = {
        "minute": ("*/{} * * * *", 60, timedelta(minutes=1)),
        "hour": ("7 */{} * * *", 24, timedelta(hours=1)),
        "second": ("*/{} * * * * *", 60, timedelta(seconds=1)),
    }[unit]
    for step in range(1, size + 12):
        cron = shape.format(step)
        times, at = [], NOW - 1
        while len(times) < 130:
            fire = next_after(Cron(cron), at)
            assert fire is not None
            times.append(datetime.fromtimestamp(fire / 1000, UTC))
            at = fire
        gaps = {later - time for time, later in pairwise(times)}
        found = warned(cron)
        assert bool(found) == (gaps != {step * one}), cron
        if found and step < size:
            odd = min(gaps) // one
            assert f"{unit} 0 follows {odd} {unit}{'s' * (odd > 1)} after" in found[0]
        assert all(f'{{"every": "{step}{unit[0]}"}}' in warning for warning in found)


def test_a_step_of_days_begins_anew_with_the_month() -> None:
    assert warned("0 9 */1 * *") == []
    for step in range(2, 31):
        cron = f"0 9 */{step} * *"
        [warning] = warned(cron)
        days = [time.day for time in fires(cron, days=31)]
        assert f"after day {days[-1]} of a month of 31 days" in warning
        left = 31 - days[-1] + 1
        assert f"day 1 follows {left} day{'s' * (left > 1)} later" in warning


@pytest.mark.parametrize("day", range(1, 32))
def test_a_day_that_months_lack_is_warned_of(day: int) -> None:
    cron = f"0 9 {day} * *"
    # 2030 is no leap year.
    missing = [m for m in range(1, 13) if m not in {time.month for time in fires(cron, days=365)}]
    names = [datetime(2030, month, 1, tzinfo=UTC).strftime("%B") for month in missing]
    found = warned(cron)
    assert len(found) == bool(missing)
    for warning in found:
        listed = warning.split(" in ", 1)[1].split(", so")[0].removesuffix(" (except in leap years)")
        assert listed.replace(" and ", ", ").split(", ") == names
        assert ("leap" in warning) == (day == 29)


def test_only_days_that_are_named_in_months_that_are_named() -> None:
    assert warned("0 9 31 1,3,DEC *") == []
    assert warned("0 9 1-31 * *") == []
    assert [warning[:22] for warning in warned("0 9 1,30,31 * *")] == [
        "There is no day 30 in ",
        "There is no day 31 in ",
    ]


@pytest.mark.parametrize("cron", ["0 0 * * *", "@daily", "0 0 0 * * *", "@weekly", "0 0 1 * *", "@midnight"])
def test_midnight(cron: str) -> None:
    [warning] = warned(cron)
    assert "Midnight" in warning
    assert "17 in the minute field" in warning


# In some of these clocks change at midnight or by half an hour, in some not at all.
ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Havana",
    "Asia/Tokyo",
    "UTC",
    "Africa/Cairo",
]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("days", ["* * *", "* * SUN", "* * MON", "28 * *", "* 3 *"])
def test_a_time_that_a_clock_change_takes_away_is_warned_of(zone: str, days: str) -> None:
    for hour in range(4):
        for minute in (0, 15, 45):
            cron = f"{minute} {hour} {days}"
            # By default such a time fires at another one, when the gap ends.
            moved = [
                local
                for time in fires(cron, zone, days=5 * 365)
                if (local := time.astimezone(ZoneInfo(zone))) and (local.hour, local.minute) != (hour, minute)
            ]
            found = [warning for warning in warned(cron, zone) if "does not exist" in warning]
            assert bool(found) == bool(moved), (cron, zone)
            if moved:
                first = moved[0]
                assert f"{hour:02}:{minute:02} does not exist in {zone} on {first:%Y-%m-%d}" in found[0]
                assert f"it fires at {first:%H:%M} that day" in found[0]
            chosen = warned(cron, zone, gap="skip")
            assert not any("does not exist" in warning for warning in chosen)


def test_times_that_are_not_fixed_move_with_the_clock() -> None:
    assert warned("*/30 2 * * *", "Europe/Berlin") == []
    assert warned("30 * * * *", "Europe/Berlin") == []


def test_fire_times_here_are_those_of_another_library() -> None:
    """The tests above trust `fires`."""
    times = croniter("*/7 */5 * * *", datetime(2029, 12, 31, 23, 59, tzinfo=UTC))
    assert fires("*/7 */5 * * *", days=3) == [times.get_next(datetime) for _ in range(3 * 5 * 9)]


def test_the_command_line_says_it_to_people_and_programs(real: str, cli: Run) -> None:
    asked = ("schedule", "preview", "--cron", "* 2 * * *", "--timezone", "Asia/Tokyo", "--count", "1")
    code, out, err = cli(*asked, "-o", "table")
    sentence = "Every minute, between 02:00 and 02:59, in Asia/Tokyo."
    assert code == 0
    assert err.splitlines()[0] == sentence
    assert err.splitlines()[1].startswith("warning: It fires 60 times an hour")
    assert " 02:" in out
    found = json.loads(cli(*asked)[1])
    assert found["description"] == sentence
    assert found["warnings"][0].endswith("write 0 2 * * *.")
