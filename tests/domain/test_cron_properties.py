"""What holds for every cron expression, instant and zone."""

import time
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from taskscheduler.domain.cron import InvalidCron, compile_cron
from taskscheduler.domain.on_clock import Fold, Gap, OnClock

YEAR_2200 = 7_258_118_400_000
DAY = 86_400_000


def field(low: int, high: int, stars: int = 3) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.integers(1, high + 1)
    stepped = st.tuples(st.one_of(st.just("*"), span, number.map(str)), step).map(lambda two: f"{two[0]}/{two[1]}")
    part = st.one_of(number.map(str), span, stepped)
    listed = st.lists(part, min_size=1, max_size=4).map(",".join)
    return st.one_of(*[st.just("*")] * stars, listed)


def expressions() -> st.SearchStrategy[str]:
    days = field(1, 31) | st.sampled_from(["L", "LW", "L-5", "1W", "31W", "28-2", "1,15W,L", "?"])
    weekdays = field(0, 7) | st.sampled_from(["5L", "MON#5", "FRI-MON", "SUN#1,WEDL", "?"])
    five = st.tuples(field(0, 59), field(0, 23), days, field(1, 12), weekdays).map(" ".join)
    six = st.tuples(field(0, 59), five).map(" ".join)
    return st.one_of(five, six, st.tuples(six, field(1970, 2199)).map(" ".join))


ZONES = st.sampled_from(
    [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Africa/Cairo",
        "Pacific/Apia",
        "Asia/Kathmandu",
    ]
)
GAPS: st.SearchStrategy[Gap | None] = st.sampled_from([None, "skip", "shift"])
FOLDS: st.SearchStrategy[Fold | None] = st.sampled_from([None, "first", "last", "both"])
INSTANTS = st.integers(-DAY, YEAR_2200 + DAY)


def compiled(expression: str, gap: Gap | None = None, fold: Fold | None = None) -> OnClock:
    try:
        return compile_cron(expression, gap, fold)
    except InvalidCron as refusal:
        assume("never fires" not in str(refusal))
        raise


@settings(deadline=None)
@given(expressions(), INSTANTS, ZONES, GAPS, FOLDS)
def test_next_and_prev(expression: str, instant: int, zone: str, gap: Gap | None, fold: Fold | None) -> None:
    cron = compiled(expression, gap, fold)
    fire, last = cron.next_after(instant, zone), cron.prev_before(instant, zone)
    if fire is not None:
        assert instant < fire < YEAR_2200
        assert fire % 1000 == 0
        assert cron.next_after(fire - 1, zone) == fire
        assert cron.prev_before(fire + 1, zone) == fire
        before = cron.prev_before(fire, zone)
        assert before is None or before <= instant
    if last is not None:
        assert 0 <= last < instant
        assert cron.next_after(last - 1, zone) == last
        after = cron.next_after(last, zone)
        assert after is None or after >= instant


@settings(deadline=None)
@given(expressions(), INSTANTS, st.integers(0, 40), ZONES, GAPS, FOLDS)
def test_count_is_iteration(
    expression: str, instant: int, fires: int, zone: str, gap: Gap | None, fold: Fold | None
) -> None:
    cron, found, at = compiled(expression, gap, fold), list[int](), instant - 1
    while len(found) <= fires and (fire := cron.next_after(at, zone)) is not None:
        found.append(fire)
        at = fire
    assert all(earlier < later for earlier, later in pairwise(found))
    end = found.pop() if len(found) > fires else YEAR_2200
    assert cron.count(instant, end, zone) == len(found)
    assert cron.count(instant, end + 1, zone) == len(found) + (end < YEAR_2200)
    for number, fire in enumerate(found):
        assert cron.count(instant, fire, zone) == number
        assert cron.prev_before(fire, zone) == (found[number - 1] if number else cron.prev_before(instant, zone))


@settings(deadline=None)
@given(expressions(), ZONES, INSTANTS, INSTANTS, INSTANTS)
def test_counts_add_up(expression: str, zone: str, one: int, two: int, three: int) -> None:
    cron = compiled(expression)
    start, middle, end = sorted((one, two, three))
    assert cron.count(start, middle, zone) + cron.count(middle, end, zone) == cron.count(start, end, zone)
    assert cron.count(end, start, zone) == 0 or start == end


@settings(deadline=None)
@given(st.text(alphabet="0123456789*/-,? LW#HTZ=@aminorutSUNJAN", max_size=40) | st.text())
def test_any_text_is_compiled_or_refused(text: str) -> None:
    try:
        cron = compile_cron(text)
    except InvalidCron:
        return
    assert cron.next_after(0, "UTC") is not None


def test_ends_of_time() -> None:
    every = compile_cron("* * * * * *")
    assert every.next_after(-(10**18), "Pacific/Apia") == 0
    assert every.prev_before(10**18, "Pacific/Kiritimati") == YEAR_2200 - 1000
    assert every.next_after(YEAR_2200 - 1001, "UTC") == YEAR_2200 - 1000
    assert every.next_after(YEAR_2200 - 1000, "UTC") is None
    assert every.prev_before(1, "UTC") == 0
    assert every.prev_before(0, "UTC") is None
    assert every.count(-(10**18), 10**18, "Europe/Berlin") == YEAR_2200 // 1000
    assert compile_cron("* * * * *").next_after(YEAR_2200 - 60_000, "UTC") is None
    assert compile_cron("0 0 1 1 *").prev_before(3_600_000, "Europe/Berlin") is None


def test_milliseconds() -> None:
    minutely = compile_cron("* * * * *")
    assert [minutely.next_after(at, "UTC") for at in (59_999, 60_000, 60_001)] == [60_000, 120_000, 120_000]
    assert [minutely.prev_before(at, "UTC") for at in (119_999, 120_000, 120_001)] == [60_000, 60_000, 120_000]
    assert [minutely.count(60_000, end, "UTC") for end in (60_000, 60_001, 120_000, 120_001)] == [0, 1, 1, 2]
    assert [minutely.count(start, 120_000, "UTC") for start in (59_999, 60_000, 60_001)] == [1, 1, 0]


@pytest.mark.parametrize(
    "expression",
    [
        "0 0 0 29 2 MON",
        "0 0 0 29 2 MON#5",
        "0 0 0 LW 2 SAT-MON 2180-2199",
        "0 0 0 29W 2 ? 2196",
        "59 59 23 31 12 ? 2199",
        "* * * * * *",
        "30 2 29 3 *",
    ],
)
def test_no_next_time_takes_a_millisecond(expression: str) -> None:
    cron, took = compile_cron(expression), list[float]()
    for zone in ("Europe/Berlin", "Pacific/Apia", "Asia/Tokyo"):
        cron.next_after(0, zone)
        for instant in range(0, 7_000_000_000_000, 350_000_000_000):
            began = time.process_time_ns()
            cron.next_after(instant, zone)
            cron.next_after(instant, zone)
            took.append((time.process_time_ns() - began) / 2e6)
    assert sorted(took)[len(took) // 2] < 1


def test_a_year_of_seconds_is_counted_at_once() -> None:
    start = 1_767_225_600_000
    cron = compile_cron("* * * * * *")
    began = time.process_time()
    assert cron.count(start, start + 365 * DAY, "Europe/Berlin") == 365 * 86_400
    assert time.process_time() - began < 0.1
