"""The cron language: what is understood as what, and how everything else is refused."""

import time
from operator import attrgetter

import pytest

from taskscheduler.domain.cron import MAX_EXPRESSION, InvalidCron, compile_cron
from taskscheduler.domain.cron_parse import DayRule, parse

START = 1_767_225_600_000  # Thursday, 2026-01-01T00:00Z


@pytest.mark.parametrize(
    ("expression", "field", "values"),
    [
        ("*/15 * * * *", "minutes", (0, 15, 30, 45)),
        ("*/90 * * * *", "minutes", (0,)),
        ("10-20/5 * * * *", "minutes", (10, 15, 20)),
        ("50/4 * * * *", "minutes", (50, 54, 58)),
        ("09,39,9 * * * *", "minutes", (9, 39)),
        ("5,10-12,*/30 * * * *", "minutes", (0, 5, 10, 11, 12, 30)),
        ("0 9-17 * * *", "hours", tuple(range(9, 18))),
        ("0 0 31 * *", "days.of_month", (31,)),
        ("0 0 1 jan,Mar-MAY,12 *", "months", (1, 3, 4, 5, 12)),
        ("0 0 1 feb/5 *", "months", (2, 7, 12)),
        ("0 0 * * 0", "days.of_week", (0,)),
        ("0 0 * * 7", "days.of_week", (0,)),
        ("0 0 * * 5-7", "days.of_week", (0, 5, 6)),
        ("0 0 * * 0-7", "days.of_week", tuple(range(7))),
        ("0 0 * * 1/2", "days.of_week", (1, 3, 5)),
        ("0 0 * * 7/2", "days.of_week", (0,)),
        ("0 0 * * */7", "days.of_week", (0,)),
        ("0 0 * * Mon-fri", "days.of_week", (1, 2, 3, 4, 5)),
        ("0 0 * * FRI-SUN", "days.of_week", (0, 5, 6)),
        ("0 0 * * SUN-TUE", "days.of_week", (0, 1, 2)),
        ("*/20 * * * * *", "seconds", (0, 20, 40)),
        ("7 8 9 * * *", "minutes", (8,)),
        ("7 8 9 * * *", "hours", (9,)),
        ("7 8 9 * *", "seconds", (0,)),
        ("0 22-4 * * *", "hours", (0, 1, 2, 3, 4, 22, 23)),
        ("0 22-4/2 * * *", "hours", (0, 2, 4, 22)),
        ("50-10/10 * * * *", "minutes", (0, 10, 50)),
        ("0 0 30-2 * *", "days.of_month", (1, 2, 30, 31)),
        ("0 0 1 NOV-FEB *", "months", (1, 2, 11, 12)),
        ("0 0 1 11-3/2 *", "months", (1, 3, 11)),
        ("0 0 * * FRI-MON", "days.of_week", (0, 1, 5, 6)),
        ("0 0 * * 5-1/2", "days.of_week", (0, 5)),
        ("0 0 * * 5-0", "days.of_week", (0, 5, 6)),
        ("0 0 * * 7-2", "days.of_week", (0, 1, 2)),
        ("0 0 * * 6-7", "days.of_week", (0, 6)),
        ("0 0 ? * MON", "days.of_month", tuple(range(1, 32))),
        ("0 0 1 * ?", "days.of_week", tuple(range(7))),
        ("0 0 L,L-3,5 * *", "days.before_last", (0, 3)),
        ("0 0 L,L-3,5 * *", "days.of_month", (5,)),
        ("0 0 lw,15W * *", "days.near", (0, 15)),
        ("0 0 * * 5L,sunL,7L", "days.last_of_week", (5, 0, 0)),
        ("0 0 * * MON#2,5#1,7#5", "days.nth_of_week", ((1, 2), (5, 1), (0, 5))),
        ("0 0 0 1 1 * 2030", "years", (2030,)),
        ("0 0 0 1 1 * 2030/50,1999-2000", "years", (1999, 2000, 2030, 2080, 2130, 2180)),
        ("0 0 0 1 1 * *", "years", None),
        ("0 0 0 1 1 *", "years", None),
        ("  7\t8   9 * *\t", "hours", (8,)),
    ],
)
def test_fields(expression: str, field: str, values: object) -> None:
    assert attrgetter(field)(parse(expression)) == values


@pytest.mark.parametrize(
    ("macro", "same"),
    [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        (" @Hourly ", "0 * * * *"),
    ],
)
def test_macros(macro: str, same: str) -> None:
    assert parse(macro) == parse(same)


@pytest.mark.parametrize(
    ("expression", "either_day"),
    [
        ("0 0 1 * 1", True),
        ("0 0 1-31 * 1", True),
        ("0 0 */2 * 1", False),
        ("0 0 1 * */2", False),
        ("0 0 * * 1", False),
        ("0 0 0 1 * 1", False),
        ("0 0 ? * 1", False),
        ("0 0 1 * ?", False),
        ("0 0 L * 1", True),
        ("0 0 15W * MON#1", True),
        ("0 0 0 1 * 1 2030", False),
    ],
)
def test_day_fields_combine(expression: str, either_day: bool) -> None:
    assert parse(expression).days.either is either_day


@pytest.mark.parametrize(
    ("expression", "rule", "either_day"),
    [
        ("0 0 1 * 1", "and", False),
        ("0 0 1 * 1", "or", True),
        ("0 0 0 1 * 1", "or", True),
        ("0 0 0 1 * 1 *", "or", True),
        ("0 0 */2 * 1", "or", False),
        ("0 0 ? * 1", "or", False),
    ],
)
def test_days_as_asked(expression: str, rule: DayRule, either_day: bool) -> None:
    assert parse(expression, rule).days.either is either_day


@pytest.mark.parametrize(
    ("expression", "gap", "fold"),
    [
        ("30 2 * * *", "shift", "first"),
        ("0-59 0-23/2 * * *", "shift", "first"),
        ("* */5 2 * * *", "skip", "both"),
        ("0 0 * 1 * *", "skip", "both"),
        ("*/5 30 2 * * *", "shift", "first"),
        ("* 2 * * *", "skip", "both"),
        ("30 */2 * * *", "skip", "both"),
        ("@hourly", "skip", "both"),
        ("@daily", "shift", "first"),
    ],
)
def test_kind_follows_minute_and_hour(expression: str, gap: str, fold: str) -> None:
    cron = compile_cron(expression)
    assert (cron.gap, cron.fold) == (gap, fold)


REFUSED = {
    "": "expected five fields",
    "   ": "expected five fields",
    "* * * *": "but found 4",
    "* * * * * * * *": "but found 8",
    "60 * * * *": "minute: 60 is outside 0-59",
    "* 24 * * *": "hour: 24 is outside 0-23",
    "* * 0 * *": "day of month: 0 is outside 1-31",
    "* * 32 * *": "day of month: 32 is outside 1-31",
    "* * * 13 *": "month: 13 is outside 1-12",
    "* * * 0 *": "month: 0 is outside 1-12",
    "* * * * 8": "day of week: 8 is outside 0-7",
    "60 * * * * *": "second: 60 is outside 0-59",
    "-1 * * * *": "minute: a missing number is not understood",
    "1- * * * *": "minute: a missing number is not understood",
    "1-2-3 * * * *": "minute: 2-3 is not understood",
    "*-5 * * * *": "minute: * is not understood",
    "** * * * *": "minute: ** is not understood",
    "1.5 * * * *": "minute: 1.5 is not understood",
    "+5 * * * *": "minute: +5 is not understood",
    "1_0 * * * *": "minute: 1_0 is not understood",
    "0 0 * JANUARY *": "month: JANUARY is not understood",
    "0 MON * * *": "hour: MON is not understood",
    "0 0 MON * *": "day of month: MON is not understood",
    "1,,2 * * * *": "minute: a list has an empty place",
    ", * * * *": "minute: a list has an empty place",
    "5, * * * *": "minute: a list has an empty place",
    "*/0 * * * *": "minute: a step of 0 never moves on",
    "1-5/00 * * * *": "minute: a step of 0 never moves on",
    "*/ * * * *": "minute: the step after / is a number, not empty",
    "*/x * * * *": "minute: the step after / is a number, not X",
    "*/2/3 * * * *": "minute: the step after / is a number, not 2/3",
    "*/-2 * * * *": "minute: the step after / is a number, not -2",
    "/5 * * * *": "minute: a missing number is not understood",
    f"{'9' * 240} * * * *": "minute: 99999999999999999999… is outside 0-59",
    f"{'9' * 5000} * * * *": "at most 256 characters; this one has 5008",
    f"{'0,' * 500_000}0 * * * *": "at most 256 characters",
    "٣ * * * *": "plain ASCII text only",
    "5\u00a0* * * *": "plain ASCII text only",
    "* * * * *\n": "plain ASCII text only",
    "* *\0* * *": "plain ASCII text only",
    "* * * * *\x7f": "plain ASCII text only",
    "@fortnightly": "@fortnightly is not a macro; write one of @yearly",
    "@": "@ is not a macro",
    "@daily 5": "@daily 5 is not a macro",
    "0 0 30 2 *": "day of month: it never fires, since no month it names has a day 30",
    "0 0 31 2,4,6,9,11 *": "no month it names has a day 31",
    "0 0 30-31 FEB *": "no month it names has a day 30",
    "0 0 30 2 */2": "no month it names has a day 30",
    "0 0 0 30 2 1": "no month it names has a day 30",
    "@reboot": "@reboot names no time; leave the schedule out",
    "@every 5m": "@every is an interval: write it as @every 90s",
    "CRON_TZ=UTC * * * * *": "second: CRON_TZ=UTC is not understood",
    "? * * * *": "minute: ? is not understood",
    "0 0 1,? * *": "day of month: ? is not understood",
    "0 0 L-31 * *": "day of month: L-31 is outside L-0 to L-30",
    "0 0 L-3W * *": "day of month: L-3W is not understood; write L, L-3 or LW",
    "0 0 LL * *": "day of month: LL is not understood",
    "0 0 32W * *": "day of month: 32 is outside 1-31",
    "0 0 0W * *": "day of month: 0 is outside 1-31",
    "0 0 1-5W * *": "day of month: 5W is not understood",
    "0 0 5L * *": "day of month: 5L is not understood",
    "0 0 * * L": "L alone means Saturday here and Sunday there; write SAT, SUN or 5L",
    "0 0 * * 8L": "day of week: 8 is outside 0-7",
    "0 0 * * XXXL": "day of week: XXX is not understood",
    "0 0 * * XXX#1": "day of week: XXX is not understood",
    "0 0 * * MON#0": "day of week: MON#0 counts from 1 to 5; write MON#1 or, for the last one, 1L",
    "0 0 * * MON#6": "day of week: MON#6 counts from 1 to 5",
    "0 0 * * MON#": "day of week: MON# is not understood",
    "0 0 * * 15W": "day of week: 15W is not understood",
    "0 0 0 1 1 * 2030-2026": "year: the range 2030-2026 runs backwards; write 2026-2030",
    "0 0 0 1 1 * 1969": "year: 1969 is outside 1970-2199",
    "0 0 0 1 1 * L": "year: L is not understood",
    "0 0 0 29 2 * 2031": "it never fires: no date matches",
    "0 0 0 29 2 * 2100": "it never fires: no date matches",
    "0 0 0 31W 4,6,9,11 ?": "it never fires: no date matches",
    "0 0 0 L-30 2,4 ?": "it never fires: no date matches",
    "0 0 0 1-14 * MON#3": "it never fires: no date matches",
    "0 0 0 LW * SAT,SUN": "it never fires: no date matches",
    "0 0 0 1-20 * 5L": "it never fires: no date matches",
    "R * * * *": "minute: R is not understood",
}


@pytest.mark.parametrize(("expression", "says"), REFUSED.items(), ids=[key[:30] for key in REFUSED])
def test_refused(expression: str, says: str) -> None:
    began = time.process_time()
    with pytest.raises(InvalidCron) as refusal:
        compile_cron(expression)
    assert time.process_time() - began < 0.1
    message = str(refusal.value)
    assert says in message
    assert message.isprintable()
    assert len(message) < 300


def test_longest_expression() -> None:
    longest = "* * * * " + ",".join(["1"] * 124)
    assert len(longest) == MAX_EXPRESSION - 1
    assert compile_cron(longest + " ").next_after(START, "UTC") is not None
    with pytest.raises(InvalidCron, match="at most 256 characters; this one has 257"):
        compile_cron(longest + "  ")


def test_29_february_is_no_contradiction() -> None:
    leap = compile_cron("0 0 0 29 2 1")
    fire = leap.next_after(START, "UTC")
    assert fire == 2_340_316_800_000  # Monday, 2044-02-29
    assert leap.next_after(fire, "UTC") == 3_223_929_600_000  # 2072-02-29


def test_2100_is_no_leap_year() -> None:
    leap = compile_cron("0 0 29 2 *")
    of_2096, of_2104 = 3_981_312_000_000, 4_233_686_400_000
    assert leap.next_after(of_2096, "UTC") == of_2104
    assert leap.prev_before(of_2104, "UTC") == of_2096
    assert leap.count(of_2096, of_2104, "UTC") == 1


def test_compiled_once() -> None:
    assert compile_cron("1 2 3 4 *") is compile_cron("1 2 3 4 *")
