"""Intervals in local time: whole days and months by the clock of a zone, counted from the anchor."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from taskscheduler.domain.cron import load_zone
from taskscheduler.domain.schedule import LocalEvery, first_fire, next_after, resolve
from tests.domain.scenario import START, created
from tests.support.schedules import ZONES, agree, walk

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1)


def shown(schedule: LocalEvery, after: str, count: int) -> list[str]:
    zone = load_zone(schedule.timezone)
    fires = islice(walk(schedule, instant(after), None), count)
    return [(EPOCH + timedelta(milliseconds=fire)).astimezone(zone).isoformat(timespec="minutes") for fire in fires]


def monthly(anchor: str, months: int = 1, zone: str = "Europe/Berlin") -> LocalEvery:
    return LocalEvery(zone, instant(anchor), months=months, anchored=True)


def daily(anchor: str, days: int = 1, zone: str = "Europe/Berlin") -> LocalEvery:
    return LocalEvery(zone, instant(anchor), days=days, anchored=True)


def test_the_31st_comes_back_after_shorter_months() -> None:
    assert [text[:10] for text in shown(monthly("2028-01-31T09:00+01:00"), "2028-01-31T09:00+01:00", 5)] == [
        "2028-02-29",
        "2028-03-31",
        "2028-04-30",
        "2028-05-31",
        "2028-06-30",
    ]
    leap = monthly("2028-02-29T09:00+01:00", 12)
    assert [text[:10] for text in shown(leap, "2030-01-01T00:00Z", 3)] == ["2030-02-28", "2031-02-28", "2032-02-29"]


def test_the_local_time_stays_where_elapsed_time_would_not() -> None:
    assert shown(daily("2026-03-27T08:00+01:00"), "2026-03-27T08:00+01:00", 3) == [
        "2026-03-28T08:00+01:00",
        "2026-03-29T08:00+02:00",
        "2026-03-30T08:00+02:00",
    ]


@pytest.mark.parametrize(
    ("gap", "fold", "expected"),
    [
        (None, None, ["2026-03-29T03:00+02:00", "2026-10-25T02:30+02:00"]),
        ("skip", "last", ["2026-10-25T02:30+01:00"]),
        ("shift", "both", ["2026-03-29T03:00+02:00", "2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00"]),
    ],
)
def test_clock_changes(gap: str | None, fold: str | None, expected: list[str]) -> None:
    schedule = replace(daily("2026-03-22T02:30+01:00", 7), gap=gap, fold=fold)
    found = shown(schedule, "2026-03-22T02:30+01:00", 32)
    assert [text for text in found if text[:10] in ("2026-03-29", "2026-10-25")] == expected


def test_it_begins_one_interval_after_creation_or_at_its_start() -> None:
    made = resolve(LocalEvery("UTC", 0, months=1), START + 1_234, START + 1_234, "a")
    assert isinstance(made, LocalEvery)
    assert made.anchor == START + 1_000
    assert first_fire(made, START + 1_234) == instant("2026-02-05T00:00:01Z")
    late = resolve(LocalEvery("UTC", 0, days=2, start_at=START + 1), START, START, "a")
    assert first_fire(late, START) == START + 1_000
    assert next_after(late, START + 1_000) == START + 1_000 + 2 * 86_400_000
    assert first_fire(monthly("2030-01-31T09:00+01:00"), START) == instant("2030-02-28T09:00+01:00")


def test_a_task_goes_by_it() -> None:
    task = created(LocalEvery("UTC", 0, days=1), "0:10").task
    assert task.next_fire == START + 600_000 + 86_400_000


def by_the_clock(local: datetime, zone: ZoneInfo) -> datetime:
    """By default: a time that comes twice when it first comes, one that does not exist at the end of the gap."""
    at = local.replace(tzinfo=zone).astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) == local:
        return at
    low, high = at - timedelta(days=2), at + timedelta(seconds=1)
    before = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) // timedelta(seconds=2) * timedelta(seconds=1)
        low, high = (middle, high) if middle.astimezone(zone).utcoffset() == before else (low, middle)
    return high


LENGTHS = st.tuples(st.integers(1, 40), st.just(0)) | st.tuples(st.just(0), st.sampled_from([1, 2, 3, 5, 12, 18, 48]))
ANCHORS = st.datetimes(datetime(1972, 1, 1), datetime(2060, 1, 1)).map(lambda at: at.replace(microsecond=0))


@given(ANCHORS, LENGTHS, ZONES, st.integers(0, 300))
@settings(max_examples=300, deadline=None)
def test_each_is_the_anchor_and_so_many_more(anchor: datetime, length: tuple[int, int], name: str, skip: int) -> None:
    days, months = length
    zone = load_zone(name)
    start = anchor.replace(tzinfo=UTC)
    local = start.astimezone(zone).replace(tzinfo=None)
    schedule = LocalEvery(name, (start - EPOCH) // timedelta(milliseconds=1), days, months, anchored=True)
    steps = (
        local + relativedelta(days=k * days, months=k * months)
        for k in range(1 + skip, min(40 + skip, 5 + 150_000 // (days + 31 * months)))
    )
    steps = takewhile(lambda step: step.year < 2199, steps)
    expected = sorted({(by_the_clock(step, zone) - EPOCH) // timedelta(milliseconds=1) for step in steps})
    assume(len(expected) > 1)
    assert list(walk(schedule, expected[0] - 1, expected[-1])) == expected
    agree(schedule, expected[0] - 1, expected[min(20, len(expected) - 1)])


def test_all_are_in_order() -> None:
    fires = list(walk(monthly("2000-01-31T00:00Z"), 0, None))
    assert len(fires) > 2_000
    assert all(earlier < later for earlier, later in pairwise(fires))
