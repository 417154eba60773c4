"""Cron where clocks change: tables for known nights, and an oracle that knows nothing of segments."""

import random
from calendar import isleap
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskscheduler.domain.cron import Fold, Gap, compile_cron, load_zone
from taskscheduler.domain.cron_parse import Fields, parse
from taskscheduler.domain.zones import offsets

MINUTE = timedelta(minutes=1)


def instant(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1000


def fires(
    expression: str, zone: str, start: str, end: str, gap: Gap | None = None, fold: Fold | None = None
) -> list[str]:
    """Local fire times with their offset in start <= t < end, walking forwards; checked backwards and by count."""
    cron, found = compile_cron(expression, gap, fold), list[int]()
    at: int | None = instant(start) - 1
    while (at := cron.next_after(at, zone)) is not None and at < instant(end):
        found.append(at)
    back: int | None = instant(end)
    backwards = []
    while (back := cron.prev_before(back, zone)) is not None and back >= instant(start):
        backwards.append(back)
    assert backwards[::-1] == found
    assert cron.count(instant(start), instant(end), zone) == len(found)
    return [datetime.fromtimestamp(t / 1000, load_zone(zone)).isoformat() for t in found]


def short(found: list[str]) -> str:
    """`2026-03-29T03:00:00+02:00` as `29 03:00+2`, with the seconds where there are any."""
    texts = []
    for text in found:
        clock = text[11:19].removesuffix(":00")
        hours, minutes = text[-6:].split(":")
        texts.append(f"{text[8:10]} {clock}{int(hours):+d}" + (f":{minutes}" if minutes != "00" else ""))
    return ", ".join(texts)


BERLIN_SPRING = ("Europe/Berlin", "2026-03-28T23:30+01:00", "2026-03-29T05:30+02:00")
BERLIN_AUTUMN = ("Europe/Berlin", "2026-10-24T23:30+02:00", "2026-10-25T04:30+01:00")
NEW_YORK_SPRING = ("America/New_York", "2026-03-07T12:00-05:00", "2026-03-09T12:00-04:00")
NEW_YORK_AUTUMN = ("America/New_York", "2026-10-31T12:00-04:00", "2026-11-02T12:00-05:00")
LORD_HOWE_SPRING = ("Australia/Lord_Howe", "2026-10-03T23:30+10:30", "2026-10-04T04:30+11:00")
LORD_HOWE_AUTUMN = ("Australia/Lord_Howe", "2026-04-04T23:30+11:00", "2026-04-05T04:30+10:30")
CAIRO_SPRING = ("Africa/Cairo", "2026-04-23T00:00+02:00", "2026-04-25T12:00+03:00")
CAIRO_AUTUMN = ("Africa/Cairo", "2026-10-29T12:00+03:00", "2026-10-31T12:00+02:00")
APIA = ("Pacific/Apia", "2011-12-29T00:00-10:00", "2012-01-01T12:00+14:00")

NIGHTS = [
    # Berlin, 02:00 to 03:00 is missing.
    ("30 2 * * *", BERLIN_SPRING, "29 03:00+2"),
    ("0 2 * * *", BERLIN_SPRING, "29 03:00+2"),
    ("0 3 * * *", BERLIN_SPRING, "29 03:00+2"),
    ("59 1 * * *", BERLIN_SPRING, "29 01:59+1"),
    ("0,15,30 1-3 * * *", BERLIN_SPRING, "29 01:00+1, 29 01:15+1, 29 01:30+1, 29 03:00+2, 29 03:15+2, 29 03:30+2"),
    ("15,45 2-3 * * *", BERLIN_SPRING, "29 03:00+2, 29 03:15+2, 29 03:45+2"),
    ("30 2 29 3 *", BERLIN_SPRING, "29 03:00+2"),
    ("30 2 * * SUN", BERLIN_SPRING, "29 03:00+2"),
    ("30 2 * * MON", BERLIN_SPRING, ""),
    ("*/20 30 2 * * *", BERLIN_SPRING, "29 03:00+2"),
    ("*/30 2 * * *", BERLIN_SPRING, ""),
    ("0 */2 * * *", BERLIN_SPRING, "29 00:00+1, 29 04:00+2"),
    ("0 * * * *", BERLIN_SPRING, "29 00:00+1, 29 01:00+1, 29 03:00+2, 29 04:00+2, 29 05:00+2"),
    # Berlin, 02:00 to 03:00 comes twice.
    ("30 2 * * *", BERLIN_AUTUMN, "25 02:30+2"),
    ("0 2,3 * * *", BERLIN_AUTUMN, "25 02:00+2, 25 03:00+1"),
    ("0-59/30 1-2 * * *", BERLIN_AUTUMN, "25 01:00+2, 25 01:30+2, 25 02:00+2, 25 02:30+2"),
    ("30 30 2 * * *", BERLIN_AUTUMN, "25 02:30:30+2"),
    ("*/30 2 * * *", BERLIN_AUTUMN, "25 02:00+2, 25 02:30+2, 25 02:00+1, 25 02:30+1"),
    ("0 */2 * * *", BERLIN_AUTUMN, "25 00:00+2, 25 02:00+2, 25 02:00+1, 25 04:00+1"),
    ("30 * * * *", BERLIN_AUTUMN, "24 23:30+2, 25 00:30+2, 25 01:30+2, 25 02:30+2, 25 02:30+1, 25 03:30+1"),
    # New York, at 02:00.
    ("30 2 * * *", NEW_YORK_SPRING, "08 03:00-4, 09 02:30-4"),
    ("30 1 * * *", NEW_YORK_AUTUMN, "01 01:30-4, 02 01:30-5"),
    ("0 2 * * *", NEW_YORK_AUTUMN, "01 02:00-5, 02 02:00-5"),
    ("0 */6 * * *", NEW_YORK_SPRING, ("07 12:00-5, 07 18:00-5, 08 00:00-5, 08 06:00-4, "
     "08 12:00-4, 08 18:00-4, 09 00:00-4, 09 06:00-4")),
    # Lord Howe moves by half an hour.
    ("15 2 * * *", LORD_HOWE_SPRING, "04 02:30+11"),
    ("45 2 * * *", LORD_HOWE_SPRING, "04 02:45+11"),
    ("0 * * * *", LORD_HOWE_SPRING, "04 00:00+10:30, 04 01:00+10:30, 04 03:00+11, 04 04:00+11"),
    ("45 1 * * *", LORD_HOWE_AUTUMN, "05 01:45+11"),
    ("15,45 1-2 * * *", LORD_HOWE_AUTUMN, "05 01:15+11, 05 01:45+11, 05 02:15+10:30, 05 02:45+10:30"),
    ("*/15 1 * * *", LORD_HOWE_AUTUMN, ("05 01:00+11, 05 01:15+11, 05 01:30+11, "
     "05 01:45+11, 05 01:30+10:30, 05 01:45+10:30")),
    # Cairo, at midnight: 24 April begins at 01:00, and the last hour of 29 October comes twice.
    ("0 0 * * *", CAIRO_SPRING, "23 00:00+2, 24 01:00+3, 25 00:00+3"),
    ("@daily", CAIRO_SPRING, "23 00:00+2, 24 01:00+3, 25 00:00+3"),
    ("30 0 24 4 *", CAIRO_SPRING, "24 01:00+3"),
    ("0 0 24 * FRI", CAIRO_SPRING, "24 01:00+3"),
    ("*/30 0 * * *", CAIRO_SPRING, "23 00:00+2, 23 00:30+2, 25 00:00+3, 25 00:30+3"),
    ("0 0 * * *", CAIRO_AUTUMN, "30 00:00+2, 31 00:00+2"),
    ("30 23 * * *", CAIRO_AUTUMN, "29 23:30+3, 30 23:30+2"),
    ("30 23 30 * *", CAIRO_AUTUMN, "30 23:30+2"),
    ("*/30 23 * * *", CAIRO_AUTUMN, "29 23:00+3, 29 23:30+3, 29 23:00+2, 29 23:30+2, 30 23:00+2, 30 23:30+2"),
    # Havana, at 01:00: the first hour of the day comes twice.
    ("30 */2 3 11 *", ("America/Havana", "2024-11-02T12:00-04:00", "2024-11-03T00:10-05:00"), "03 00:30-4"),
    # Apia had no 30 December 2011.
    ("0 12 * * *", APIA, "29 12:00-10, 31 00:00+14, 31 12:00+14"),
    ("0 0 * * *", APIA, "29 00:00-10, 31 00:00+14, 01 00:00+14"),
    ("0 0 30 12 *", APIA, "31 00:00+14"),
    ("30 12 * * FRI", APIA, "31 00:00+14"),
    ("0 */12 * * *", APIA, "29 00:00-10, 29 12:00-10, 31 00:00+14, 31 12:00+14, 01 00:00+14"),
    ("*/30 12 30 12 *", APIA, ""),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "night", "expected"), NIGHTS)
def test_nights(expression: str, night: tuple[str, str, str], expected: str) -> None:
    zone, start, end = night
    assert short(fires(expression, zone, start, end)) == expected


TROLL_SPRING = ("Antarctica/Troll", "2026-03-28T12:00+00:00", "2026-03-29T06:00+02:00")
TROLL_AUTUMN = ("Antarctica/Troll", "2026-10-24T12:00+02:00", "2026-10-25T06:00+00:00")
DUBLIN_SPRING = ("Europe/Dublin", "2026-03-28T12:00+00:00", "2026-03-29T06:00+01:00")
DUBLIN_AUTUMN = ("Europe/Dublin", "2026-10-24T12:00+01:00", "2026-10-25T06:00+00:00")
# Pyongyang changed its rule: half an hour back at midnight in 2015, forward in 2018.
PYONGYANG_2015 = ("Asia/Pyongyang", "2015-08-14T12:00+09:00", "2015-08-15T12:00+08:30")
PYONGYANG_2018 = ("Asia/Pyongyang", "2018-05-04T12:00+08:30", "2018-05-05T12:00+09:00")

CHOSEN: list[tuple[str, tuple[str, str, str], Gap | None, Fold | None, str]] = [
    # Berlin.
    ("30 2 * * *", BERLIN_SPRING, "skip", None, ""),
    ("30 2 * * *", BERLIN_SPRING, "shift", None, "29 03:00+2"),
    ("*/30 2 * * *", BERLIN_SPRING, "shift", None, "29 03:00+2"),
    ("*/30 * * * *", BERLIN_SPRING, "shift", None, ("28 23:30+1, 29 00:00+1, 29 00:30+1, 29 01:00+1, 29 01:30+1, "
     "29 03:00+2, 29 03:30+2, 29 04:00+2, 29 04:30+2, 29 05:00+2")),
    ("30 * * * *", BERLIN_SPRING, "shift", None, ("28 23:30+1, 29 00:30+1, 29 01:30+1, 29 03:00+2, "
     "29 03:30+2, 29 04:30+2")),
    ("15,45 2-3 * * *", BERLIN_SPRING, "skip", None, "29 03:15+2, 29 03:45+2"),
    ("0 3 * * *", BERLIN_SPRING, "skip", None, "29 03:00+2"),
    ("30 2 * * *", BERLIN_AUTUMN, None, "first", "25 02:30+2"),
    ("30 2 * * *", BERLIN_AUTUMN, None, "last", "25 02:30+1"),
    ("30 2 * * *", BERLIN_AUTUMN, None, "both", "25 02:30+2, 25 02:30+1"),
    ("0 2,3 * * *", BERLIN_AUTUMN, None, "last", "25 02:00+1, 25 03:00+1"),
    ("*/30 2 * * *", BERLIN_AUTUMN, None, "first", "25 02:00+2, 25 02:30+2"),
    ("*/30 2 * * *", BERLIN_AUTUMN, None, "last", "25 02:00+1, 25 02:30+1"),
    ("0 * * * *", BERLIN_AUTUMN, None, "last", "25 00:00+2, 25 01:00+2, 25 02:00+1, 25 03:00+1, 25 04:00+1"),
    # Lord Howe, half an hour.
    ("15 2 * * *", LORD_HOWE_SPRING, "skip", None, ""),
    ("*/15 2 * * *", LORD_HOWE_SPRING, "shift", None, "04 02:30+11, 04 02:45+11"),
    ("45 1 * * *", LORD_HOWE_AUTUMN, None, "last", "05 01:45+10:30"),
    ("45 1 * * *", LORD_HOWE_AUTUMN, None, "both", "05 01:45+11, 05 01:45+10:30"),
    # Cairo, midnight.
    ("0 0 * * *", CAIRO_SPRING, "skip", None, "23 00:00+2, 25 00:00+3"),
    ("30 23 * * *", CAIRO_AUTUMN, None, "last", "29 23:30+2, 30 23:30+2"),
    ("30 23 * * *", CAIRO_AUTUMN, None, "both", "29 23:30+3, 29 23:30+2, 30 23:30+2"),
    # Apia, a whole day.
    ("0 12 * * *", APIA, "skip", None, "29 12:00-10, 31 12:00+14"),
    ("0 */12 * * *", APIA, "shift", None, "29 00:00-10, 29 12:00-10, 31 00:00+14, 31 12:00+14, 01 00:00+14"),
    ("30 */12 30 12 *", APIA, "shift", None, "31 00:00+14"),
    # Troll, two hours.
    ("30 1,2 * * *", TROLL_SPRING, None, None, "29 03:00+2"),
    ("0 1-4 * * *", TROLL_SPRING, "skip", None, "29 03:00+2, 29 04:00+2"),
    ("30 1,2 * * *", TROLL_AUTUMN, None, None, "25 01:30+2, 25 02:30+2"),
    ("30 1,2 * * *", TROLL_AUTUMN, None, "last", "25 01:30+0, 25 02:30+0"),
    ("30 1,2 * * *", TROLL_AUTUMN, None, "both", "25 01:30+2, 25 02:30+2, 25 01:30+0, 25 02:30+0"),
    # Dublin, whose winter is the one that saves daylight.
    ("30 1 * * *", DUBLIN_SPRING, None, None, "29 02:00+1"),
    ("30 1 * * *", DUBLIN_SPRING, "skip", None, ""),
    ("30 1 * * *", DUBLIN_AUTUMN, None, None, "25 01:30+1"),
    ("30 1 * * *", DUBLIN_AUTUMN, None, "last", "25 01:30+0"),
    # Pyongyang.
    ("45 23 * * *", PYONGYANG_2015, None, None, "14 23:45+9"),
    ("45 23 * * *", PYONGYANG_2015, None, "last", "14 23:45+8:30"),
    ("45 23 * * *", PYONGYANG_2018, None, None, "05 00:00+9"),
    ("*/15 23 * * *", PYONGYANG_2018, None, None, "04 23:00+8:30, 04 23:15+8:30"),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "night", "gap", "fold", "expected"), CHOSEN)
def test_as_chosen(
    expression: str, night: tuple[str, str, str], gap: Gap | None, fold: Fold | None, expected: str
) -> None:
    zone, start, end = night
    assert short(fires(expression, zone, start, end, gap, fold)) == expected


def test_strictly_after_the_shifted_fire() -> None:
    cron, shifted = compile_cron("30 2 * * *"), instant("2026-03-29T03:00+02:00")
    assert cron.next_after(shifted - 1, "Europe/Berlin") == shifted
    assert cron.next_after(shifted, "Europe/Berlin") == instant("2026-03-30T02:30+02:00")
    assert cron.prev_before(shifted + 1, "Europe/Berlin") == shifted
    assert cron.prev_before(shifted, "Europe/Berlin") == instant("2026-03-28T02:30+01:00")
    assert cron.count(shifted, shifted + 1, "Europe/Berlin") == 1
    assert cron.count(shifted + 1, shifted + 1000, "Europe/Berlin") == 0


def matches(fields: Fields, local: datetime) -> bool:
    by_month = local.day in fields.days.of_month
    by_week = local.isoweekday() % 7 in fields.days.of_week
    return (
        local.second in fields.seconds
        and local.minute in fields.minutes
        and local.hour in fields.hours
        and local.month in fields.months
        and (by_month or by_week if fields.days.either else by_month and by_week)
    )


def comings(local: datetime, info: ZoneInfo) -> list[int]:
    """The instants (epoch seconds) at which clocks show that local time, in order."""
    found = [int(local.replace(tzinfo=info, fold=fold).timestamp()) for fold in (0, 1)]
    return sorted({at for at in found if datetime.fromtimestamp(at, info).replace(tzinfo=None) == local})


def oracle(
    expression: str, zone: str, start: int, end: int, gap: Gap | None = None, fold: Fold | None = None
) -> list[int]:
    """Fire times in start <= t < end (epoch seconds, whole minutes), minute by minute from the contract's words."""
    info, fields = load_zone(zone), parse(expression)
    gap = gap or ("shift" if fields.fixed_time else "skip")
    fold = fold or ("first" if fields.fixed_time else "both")
    found: set[int] = set()
    local = datetime.fromtimestamp(start, UTC).replace(tzinfo=None) - timedelta(days=2)
    while local < datetime.fromtimestamp(end, UTC).replace(tzinfo=None) + timedelta(days=2):
        if matches(fields, local):
            instants = comings(local, info)
            if instants:
                found.update({"first": instants[:1], "last": instants[-1:], "both": instants}[fold])
            elif gap == "shift":
                after = local
                while not (instants := comings(after, info)):
                    after += MINUTE
                found.add(instants[0])
        local += MINUTE
    return sorted(at for at in found if start <= at < end)


def changes() -> list[tuple[str, int]]:
    """Changes of offset between 1995 and 2040, on whole minutes."""
    names = (
        "Europe/Berlin America/New_York Australia/Lord_Howe Africa/Cairo Pacific/Apia Africa/Casablanca Asia/Gaza "
        "America/Sao_Paulo Asia/Tehran Antarctica/Troll Antarctica/Casey America/Nuuk Pacific/Chatham Asia/Pyongyang "
        "America/Caracas Europe/Dublin America/Havana Asia/Beirut Pacific/Kiritimati America/St_Johns"
    )
    found = []
    for name in names.split():
        at = 788_000_000
        while at < 2_208_988_800:
            start, end, offset, before = offsets(name).segment(at)
            if before != offset:
                found.append((name, start))
            at = end
    return found


CHANGES = changes()
MINUTES = st.sampled_from(["0", "30", "15,45", "*/20", "*", "0-59/7", "59", "1-5", "*/59"])
HOURS = st.sampled_from(["0", "1", "2", "3", "*", "*/2", "0-3", "1/2", "23", "22-23,0", "*/5"])
DAYS = st.sampled_from(["*", "*", "1", "29-31", "*/2", "25"])
GAPS: st.SearchStrategy[Gap | None] = st.sampled_from([None, "skip", "shift"])
FOLDS: st.SearchStrategy[Fold | None] = st.sampled_from([None, "first", "last", "both"])
WEEKDAYS = st.sampled_from(["*", "*", "SUN", "MON-FRI", "6,7", "*/3"])


@settings(deadline=None)
@given(st.data(), st.sampled_from(CHANGES), MINUTES, HOURS, DAYS, WEEKDAYS, st.booleans(), GAPS, FOLDS)
def test_oracle(
    data: st.DataObject,
    change: tuple[str, int],
    minute: str,
    hour: str,
    day: str,
    weekday: str,
    six: bool,
    gap: Gap | None,
    fold: Fold | None,
) -> None:
    zone, at = change
    expression = f"{'0 ' if six else ''}{minute} {hour} {day} * {weekday}"
    start = at - 60 * data.draw(st.integers(0, 1500), "minutes before the change")
    end = at + 60 * data.draw(st.integers(1, 1500), "minutes after the change")
    expected = oracle(expression, zone, start, end, gap, fold)
    cron = compile_cron(expression, gap, fold)
    found, last = [], start * 1000 - 1
    while (fire := cron.next_after(last, zone)) is not None and fire < end * 1000:
        found.append(fire // 1000)
        last = fire
    assert found == expected
    back, last = [], end * 1000
    while (earlier := cron.prev_before(last, zone)) is not None and earlier >= start * 1000:
        back.append(earlier // 1000)
        last = earlier
    assert back[::-1] == expected
    assert cron.count(start * 1000, end * 1000, zone) == len(expected)


def test_seconds_inside_a_change() -> None:
    assert len(fires("* * * * * *", "Europe/Berlin", "2026-03-29T01:59:50+01:00", "2026-03-29T03:00:10+02:00")) == 20
    twice = fires("*/10 59 * * * *", "Europe/Berlin", "2026-10-25T02:00+02:00", "2026-10-25T03:00+01:00")
    assert len(twice) == 12
    every = compile_cron("* * 2 * * *")
    day = (instant("2026-10-25T00:00+02:00"), instant("2026-10-26T00:00+01:00"))
    assert every.count(*day, "Europe/Berlin") == 7200
    once = compile_cron("0-59 0-59 2 * * *")
    assert once.count(*day, "Europe/Berlin") == 3600
    assert once.count(instant("2026-03-29T00:00+01:00"), instant("2026-03-30T00:00+02:00"), "Europe/Berlin") == 1


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"])
@pytest.mark.parametrize("expression", ["0 0 1 1 *", "0 0 1 7 *", "30 2 29 3 *", "*/30 23 31 12 *", "0 12 29 2 *"])
def test_far_fires(expression: str, zone: str) -> None:
    """Searches that leap over many changes land where short ones do, from either side."""
    cron, fields, found = compile_cron(expression), parse(expression), list[int]()
    for year in range(1980, 2050):
        if (month_day := (fields.months[0], fields.days.of_month[0])) != (2, 29) or isleap(year):
            noon = int(datetime(year, *month_day, 12, tzinfo=UTC).timestamp()) * 1000
            at: int | None = noon - 3 * 86_400_000
            while (at := cron.next_after(at, zone)) is not None and at < noon + 3 * 86_400_000:
                found.append(at)
    for earlier, later in pairwise(found):
        for part in range(1, 20):
            between = earlier + (later - earlier) * part // 20
            assert cron.next_after(between, zone) == later
            assert cron.prev_before(between, zone) == earlier


def test_odd_offsets() -> None:
    """Liberia was 44 minutes and 30 seconds behind until 1972."""
    cron = compile_cron("0 12 * * *")
    assert cron.next_after(0, "Africa/Monrovia") == (12 * 3600 + 44 * 60 + 30) * 1000
    assert fires("0 0 * * *", "Africa/Monrovia", "1972-01-06T00:00+00:00", "1972-01-08T12:00+00:00") == [
        "1972-01-06T00:00:00-00:44:30",
        "1972-01-07T00:44:30+00:00",
        "1972-01-08T00:00:00+00:00",
    ]


def test_random_walk_never_goes_back() -> None:
    chance = random.Random(7)
    for zone, at in chance.sample(CHANGES, 60):
        for expression in ("30 2 * * *", "*/7 * * * *", "0 0 * * *", "0 0 1 * *", "*/13 * * * * *"):
            cron = compile_cron(expression)
            now = at * 1000 - chance.randrange(100_000_000)
            for _ in range(20):
                fire = cron.next_after(now, zone)
                assert fire is not None
                assert fire > now
                assert cron.next_after(fire - 1, zone) == fire
                now = fire
