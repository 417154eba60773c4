"""Every form of schedule, in zones in which clocks do what they rarely do: all ways to ask give the same answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from taskscheduler.domain.cron import load_zone
from taskscheduler.domain.excluded import ExceptCron, ExceptDays
from taskscheduler.domain.schedule import AnyOf, Cron, Every, LocalEvery, Recurrence, Schedule
from tests.support.schedules import agree, walk

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = 86_400_000
ZONES = {
    "Europe/Berlin": "2026-10-20",
    "Europe/Dublin": "2026-03-25",
    "Australia/Lord_Howe": "2026-09-30",
    "Africa/Cairo": "2026-04-20",
    "America/Asuncion": "2023-09-28",
    "Pacific/Apia": "2011-12-26",
    "America/St_Johns": "2010-11-03",
    "Asia/Kathmandu": "1985-12-29",
}


def forms(zone: str, day: str) -> list[Schedule]:
    start = (datetime.fromisoformat(f"{day}T00:30Z") - EPOCH) // timedelta(milliseconds=1)
    crons = [Cron(text, zone) for text in ("30 2 * * *", "0 0 * * *", "*/30 * * * *", "0 15 */5 * * *")]
    rules = [
        Recurrence(rule, zone, f"{day}T00:15:00")
        for rule in (
            "FREQ=DAILY;BYHOUR=0,2;BYMINUTE=0,30",
            "FREQ=HOURLY",
            "FREQ=MINUTELY;INTERVAL=45",
            "FREQ=DAILY;COUNT=5",
        )
    ]
    steps = [
        LocalEvery(zone, start - 40 * DAY, days=1, anchored=True),
        LocalEvery(zone, start - 40 * DAY, months=1, anchored=True),
        Every(90 * 60_000, start),
    ]
    first, last = ((EPOCH + timedelta(milliseconds=start + at * DAY)).date().isoformat() for at in (3, 5))
    out = (ExceptDays(first, last), ExceptCron("* 1-2 * * *"))
    members = (crons[0], rules[1], steps[0], steps[2])
    whole = [AnyOf(members, zone), AnyOf(members, zone, excluded=out), replace(crons[2], excluded=out)]
    return [*crons, *rules, *steps, *whole]


@pytest.mark.parametrize("zone", ZONES)
@given(
    number=st.integers(0, 13),
    later=st.integers(0, 9 * DAY),
    gap=st.sampled_from([None, "skip", "shift"]),
    fold=st.sampled_from([None, "first", "last", "both"]),
    jitter=st.sampled_from([0, 0, 0, 60_000, 3 * DAY]),
)
@settings(max_examples=25, deadline=None)
def test_all_ways_agree(zone: str, number: int, later: int, gap: str | None, fold: str | None, jitter: int) -> None:
    schedule = forms(zone, ZONES[zone])[number]
    if isinstance(schedule, Cron | LocalEvery | Recurrence):
        schedule = replace(schedule, gap=gap, fold=fold)
    since = (datetime.fromisoformat(f"{ZONES[zone]}T00:00Z") - EPOCH) // timedelta(milliseconds=1) + later
    schedule = replace(schedule, jitter=jitter, salt=7)
    ahead = list(islice(walk(schedule, since, since + 90 * DAY), 12))
    agree(schedule, since, ahead[-1] if ahead else since + DAY)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5, 6, 8])
def test_no_fire_time_is_one_that_no_clock_shows(zone: str, number: int) -> None:
    """Without `shift`, what fires is shown by the clock as the schedule names it: whole minutes of the wall clock."""
    schedule = forms(zone, ZONES[zone])[number]
    assert isinstance(schedule, Cron | LocalEvery | Recurrence)
    schedule = replace(schedule, gap="skip", fold="both")
    begin = (datetime.fromisoformat(f"{ZONES[zone]}T00:00Z") - EPOCH) // timedelta(milliseconds=1)
    info = load_zone(zone)
    times = schedule.compiled().times
    for fire in walk(schedule, begin, begin + 10 * DAY):
        shown = (EPOCH + timedelta(milliseconds=fire)).astimezone(info).replace(tzinfo=UTC)
        local = (shown - EPOCH) // timedelta(seconds=1)
        assert times.count(local, local + 1) == 1
