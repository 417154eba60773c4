"""The same fire times as croniter and cronsim, wherever they mean the same."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from croniter import CroniterBadDateError, croniter
from cronsim import CronSim
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from taskscheduler.domain.cron import InvalidCron, compile_cron, load_zone
from taskscheduler.domain.cron_parse import DayRule
from taskscheduler.domain.zones import offsets

DEBIAN = [
    tuple(line.split("\t"))
    for line in (Path(__file__).parents[1] / "data" / "debian_cron.txt").read_text("ascii").splitlines()
]
"""Schedule lines of cron files in Debian 12: package, schedule, file. `@reboot` lines name no time and are left out."""


def field(low: int, high: int, *names: str, open_steps: bool = True) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    # croniter takes `1-1` for `*`, and a list with `*` inside confuses it.
    span = st.lists(number, min_size=2, max_size=2, unique=True).map(lambda ends: f"{min(ends)}-{max(ends)}")
    base = st.one_of(span, number.map(str)) if open_steps else span
    part = st.one_of(number.map(str), span, st.builds("{}/{}".format, base, st.integers(1, high)))
    named = st.one_of(part, st.sampled_from(names)) if names else part
    listed = st.lists(named, min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), st.just("*"), listed, st.integers(1, high).map("*/{}".format))


# Day of week without 7 and `1/2`: the others read a step through Sunday each in a way of their own.
FIVE = st.tuples(
    field(0, 59),
    field(0, 23),
    field(1, 31),
    field(1, 12, "JAN", "feb"),
    field(0, 6, "SUN", "fri", open_steps=False),
)
INSTANTS = st.integers(0, 1_400_000_000)
# Zones without a change since the instant from which they are used here.
STEADY = st.sampled_from(["UTC", "Asia/Kolkata", "Asia/Kathmandu", "America/Phoenix", "Pacific/Honolulu", "Asia/Tokyo"])
SINCE = 600_000_000


def ours(expression: str, instant: int, zone: str, fires: int = 5) -> list[int]:
    try:
        cron = compile_cron(expression)
    except InvalidCron as refusal:
        assume("never fires" not in str(refusal))
        raise
    found: list[int] = []
    for _ in range(fires):
        fire = cron.next_after(found[-1] * 1000 if found else instant * 1000, zone)
        assert fire is not None
        found.append(fire // 1000)
    return found


@settings(deadline=None)
@given(FIVE, INSTANTS, STEADY)
def test_croniter_five_fields(fields: tuple[str, ...], instant: int, zone: str) -> None:
    expression, instant = " ".join(fields), instant + SINCE
    start = datetime.fromtimestamp(instant, load_zone(zone))
    # Its `implement_cron_bug` is the rule that a day field which begins with `*` restricts the other.
    theirs = croniter(expression, start, implement_cron_bug=True, max_years_between_matches=60)
    found = ours(expression, instant, zone)
    assert found == [int(theirs.get_next(float)) for _ in found]
    back = croniter(expression, start, implement_cron_bug=True, max_years_between_matches=60)
    earlier = compile_cron(expression).prev_before(instant * 1000, zone)
    if earlier is not None:
        assert earlier == int(back.get_prev(float)) * 1000


@settings(deadline=None)
@given(FIVE, field(0, 59), INSTANTS, STEADY)
def test_croniter_six_fields(fields: tuple[str, ...], second: str, instant: int, zone: str) -> None:
    expression, instant = " ".join((second, *fields)), instant + SINCE
    start = datetime.fromtimestamp(instant, load_zone(zone))
    theirs = croniter(expression, start, second_at_beginning=True, day_or=False, max_years_between_matches=60)
    found = ours(expression, instant, zone)
    assert found == [int(theirs.get_next(float)) for _ in found]


YEARLESS = st.tuples(
    field(0, 59), field(0, 23), field(1, 28), st.just("*"), st.sampled_from(["MON", "1-5", "0,6", "*"])
)


@settings(deadline=None)
@given(YEARLESS, st.integers(2001, 2037), INSTANTS, STEADY)
def test_croniter_years(fields: tuple[str, ...], year: int, instant: int, zone: str) -> None:
    expression = f"0 {' '.join(fields)} {year},{year + 1}"
    start = datetime.fromtimestamp(instant + SINCE, load_zone(zone))
    cron, at, found = compile_cron(expression), (instant + SINCE) * 1000, list[int]()
    while len(found) < 5 and (fire := cron.next_after(at, zone)) is not None:
        found.append(fire // 1000)
        at = fire
    theirs = croniter(expression, start, second_at_beginning=True, day_or=False, max_years_between_matches=60)
    assert found == [int(theirs.get_next(float)) for _ in found]
    if len(found) < 5:
        with pytest.raises(CroniterBadDateError):
            theirs.get_next(float)


# Without steps: croniter's end where the range turns; here they go on, as in Quartz.
WRAPPED = st.tuples(
    st.sampled_from(["50-10", "0", "30"]),
    st.sampled_from(["22-4", "12"]),
    st.sampled_from(["*", "28-3"]),
    st.sampled_from(["*", "NOV-FEB", "11-3"]),
    st.sampled_from(["*", "FRI-MON", "5-1", "SAT-TUE"]),
)


@settings(deadline=None)
@given(WRAPPED, st.sampled_from(["and", "or"]), INSTANTS)
def test_croniter_wrap_around_and_days(fields: tuple[str, ...], days: DayRule, instant: int) -> None:
    expression, start = " ".join(fields), datetime.fromtimestamp(instant, UTC)
    theirs = croniter(expression, start, implement_cron_bug=days == "or", day_or=days == "or")
    cron, at = compile_cron(expression, days=days), instant * 1000
    for _ in range(5):
        found = cron.next_after(at, "UTC")
        assert found == int(theirs.get_next(float)) * 1000
        at = found


DAYS = st.tuples(
    st.sampled_from(["0", "*/20"]),
    st.sampled_from(["0", "3,15"]),
    st.sampled_from(["*", "L", "LW", "15,L", "1,LW", "*/2"]),
    st.sampled_from(["*", "2", "1-6"]),
    st.sampled_from(["*", "5L", "0L,3", "MON#2", "3#5,SUN#1"]),
)


@settings(deadline=None)
@given(DAYS, INSTANTS)
def test_cronsim_days(fields: tuple[str, ...], instant: int) -> None:
    theirs = CronSim(" ".join(fields), datetime.fromtimestamp(instant, UTC))
    found = ours(" ".join(fields), instant, "UTC")
    assert found == [int(next(theirs).timestamp()) for _ in found]


def changes(names: str) -> list[tuple[str, int]]:
    found = []
    for name in names.split():
        at = 0
        while at < 2_100_000_000:
            start, end, offset, before = offsets(name).segment(at)
            if before != offset:
                found.append((name, start))
            at = end
    return found


NIGHT = changes("Europe/Berlin America/New_York Pacific/Auckland")
# Here cronsim errs where the minute or hour begins with `*`: it fires at times that do not match, or misses some.
MIDNIGHT_OR_HALF_HOUR = changes("Africa/Cairo Asia/Jerusalem Australia/Lord_Howe")
SHORT = st.tuples(
    st.sampled_from(["0", "30", "15,45", "*/20", "*", "0-59/7", "59"]),
    st.sampled_from(["0", "1", "2", "3", "*", "*/2", "0-3", "1/2", "22-23,0"]),
    st.sampled_from(["*", "1", "29-31", "*/2"]),
    st.just("*"),
    st.sampled_from(["*", "0", "1-5", "*/3"]),
)


@settings(deadline=None)
@given(FIVE | SHORT, st.sampled_from(NIGHT + MIDNIGHT_OR_HALF_HOUR), st.integers(-100_000, 10_000))
def test_cronsim_with_clock_changes(fields: tuple[str, ...], change: tuple[str, int], offset: int) -> None:
    assume(change in NIGHT or (fields[0][0] != "*" and fields[1][0] != "*"))
    zone, instant = change[0], change[1] + offset
    expression, start = " ".join(fields), datetime.fromtimestamp(instant, load_zone(zone))
    assume(start.fold == 0)  # from within a repeated hour cronsim gives fires in the past
    found = ours(expression, instant, zone)
    theirs = CronSim(expression, start)
    expected: list[int] = []
    while len(expected) < len(found):
        fire = int(next(theirs).timestamp())
        # It repeats the fire after a gap once for every time inside the gap.
        if fire not in expected[-1:]:
            expected.append(fire)
    assert found == expected


@pytest.mark.parametrize("row", DEBIAN, ids=[" ".join(row[:2]) for row in DEBIAN])
def test_debian_fortnight(row: tuple[str, str, str]) -> None:
    """Over the turn of a year, so that monthly and yearly lines fire too."""
    _, schedule, _ = row
    start, end = datetime(2025, 12, 25, 0, 0, 1, tzinfo=UTC), datetime(2026, 1, 8, tzinfo=UTC)
    theirs, expected = croniter(schedule, start), []
    while (fire := theirs.get_next(datetime)) < end:
        expected.append(int(fire.timestamp()) * 1000)
    cron, found, at = compile_cron(schedule), [], int(start.timestamp()) * 1000
    while (later := cron.next_after(at, "UTC")) is not None and later < int(end.timestamp()) * 1000:
        found.append(later)
        at = later
    assert expected
    assert found == expected
    assert cron.count(int(start.timestamp()) * 1000, int(end.timestamp()) * 1000, "UTC") == len(expected)


def test_debian_lines_are_many() -> None:
    assert all(len(row) == 3 and row[2].startswith("/etc/cron") for row in DEBIAN)
    assert len({package for package, _, _ in DEBIAN}) >= 10
