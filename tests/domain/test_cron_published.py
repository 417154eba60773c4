"""What others publish about their cron expressions, as cases: Debian's manual, Spring and Quartz.

Expected times follow from the words (or the dates) that stand there, by the calendar.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta

import pytest

from taskscheduler.domain.cron import Gap, compile_cron

DAY = 86_400
IsDay = Callable[[date], bool]


def millis(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000


def every_day(day: date) -> bool:
    return True


def weekday(day: date) -> bool:
    return day.weekday() < 5


def last_day(day: date) -> int:
    return monthrange(day.year, day.month)[1]


def is_last(day: date) -> bool:
    return day.day > last_day(day) - 7


def nearest_weekday(wanted: int, day: date) -> bool:
    """Whether `day` is the weekday nearest to the day `wanted` of its month."""
    near = [other for other in range(1, last_day(day) + 1) if date(day.year, day.month, other).weekday() < 5]
    return wanted <= last_day(day) and day.day == min(near, key=lambda other: abs(other - wanted))


def each(hours: Iterable[int], minutes: Iterable[int] = (0,)) -> list[int]:
    return [hour * 3600 + minute * 60 for hour in hours for minute in minutes]


# https://manpages.debian.org/crontab.5: the examples, the special strings, and how day fields combine.
DEBIAN: list[tuple[str, list[int], IsDay]] = [
    ("5 0 * * *", each([0], [5]), every_day),
    ("15 14 1 * *", each([14], [15]), lambda day: day.day == 1),
    ("0 22 * * 1-5", each([22]), weekday),
    ("23 0-23/2 * * *", each(range(0, 24, 2), [23]), every_day),
    ("5 4 * * sun", each([4], [5]), lambda day: day.weekday() == 6),
    ("0 */4 1 * mon", each(range(0, 24, 4)), lambda day: day.day == 1 or day.weekday() == 0),
    ("0 0 */2 * sun", each([0]), lambda day: day.day % 2 == 1 and day.weekday() == 6),
    ("0 4 8-14 * *", each([4]), lambda day: 8 <= day.day <= 14),
    ("30 4 1,15 * 5", each([4], [30]), lambda day: day.day in (1, 15) or day.weekday() == 4),
    ("0 23,0-7/2,8 * * *", each([0, 2, 4, 6, 8, 23]), every_day),
    ("@yearly", each([0]), lambda day: (day.month, day.day) == (1, 1)),
    ("@annually", each([0]), lambda day: (day.month, day.day) == (1, 1)),
    ("@monthly", each([0]), lambda day: day.day == 1),
    ("@weekly", each([0]), lambda day: day.weekday() == 6),
    ("@daily", each([0]), every_day),
    ("@midnight", each([0]), every_day),
    ("@hourly", each(range(24)), every_day),
]

# The examples of org.springframework.scheduling.support.CronExpression.
SPRING: list[tuple[str, list[int], IsDay]] = [
    ("0 0 * * * *", each(range(24)), every_day),
    ("*/10 * * * * *", list(range(0, DAY, 10)), every_day),
    ("0 0 8-10 * * *", each([8, 9, 10]), every_day),
    ("0 0 6,19 * * *", each([6, 19]), every_day),
    ("0 0/30 8-10 * * *", each([8, 9, 10], [0, 30]), every_day),
    ("0 0 9-17 * * MON-FRI", each(range(9, 18)), weekday),
    ("0 0 0 25 12 ?", each([0]), lambda day: (day.month, day.day) == (12, 25)),
    ("0 0 0 L * *", each([0]), lambda day: day.day == last_day(day)),
    ("0 0 0 L-3 * *", each([0]), lambda day: day.day == last_day(day) - 3),
    ("0 0 0 1W * *", each([0]), lambda day: nearest_weekday(1, day)),
    ("0 0 0 LW * *", each([0]), lambda day: weekday(day) and not any(map(weekday, rest_of_month(day)))),
    ("0 0 0 * * 5L", each([0]), lambda day: day.weekday() == 4 and is_last(day)),
    ("0 0 0 * * THUL", each([0]), lambda day: day.weekday() == 3 and is_last(day)),
    ("0 0 0 ? * 5#2", each([0]), lambda day: day.weekday() == 4 and 8 <= day.day <= 14),
    ("0 0 0 ? * MON#1", each([0]), lambda day: day.weekday() == 0 and day.day <= 7),
]

# The examples of Quartz's CronTrigger tutorial; days of the week in numbers are one less here, where Sunday is 0.
QUARTZ: list[tuple[str, list[int], IsDay]] = [
    ("0 0 12 * * ?", each([12]), every_day),
    ("0 15 10 ? * *", each([10], [15]), every_day),
    ("0 15 10 * * ?", each([10], [15]), every_day),
    ("0 15 10 * * ? *", each([10], [15]), every_day),
    ("0 15 10 * * ? 2005", each([10], [15]), lambda day: day.year == 2005),
    ("0 * 14 * * ?", each([14], range(60)), every_day),
    ("0 0/5 14 * * ?", each([14], range(0, 60, 5)), every_day),
    ("0 0/5 14,18 * * ?", each([14, 18], range(0, 60, 5)), every_day),
    ("0 0-5 14 * * ?", each([14], range(6)), every_day),
    ("0 10,44 14 ? 3 WED", each([14], [10, 44]), lambda day: day.month == 3 and day.weekday() == 2),
    ("0 15 10 ? * MON-FRI", each([10], [15]), weekday),
    ("0 15 10 15 * ?", each([10], [15]), lambda day: day.day == 15),
    ("0 15 10 L * ?", each([10], [15]), lambda day: day.day == last_day(day)),
    ("0 15 10 L-2 * ?", each([10], [15]), lambda day: day.day == last_day(day) - 2),
    ("0 15 10 ? * 5L", each([10], [15]), lambda day: day.weekday() == 4 and is_last(day)),  # 6L
    (
        "0 15 10 ? * 5L 2002-2005",  # 6L 2002-2005
        each([10], [15]),
        lambda day: day.weekday() == 4 and is_last(day) and 2002 <= day.year <= 2005,
    ),
    ("0 15 10 ? * 5#3", each([10], [15]), lambda day: day.weekday() == 4 and 15 <= day.day <= 21),  # 6#3
    ("0 0 12 1/5 * ?", each([12]), lambda day: day.day in (1, 6, 11, 16, 21, 26, 31)),
    ("0 11 11 11 11 ?", each([11], [11]), lambda day: (day.month, day.day) == (11, 11)),
    ("0 0 9 15W * ?", each([9]), lambda day: nearest_weekday(15, day)),
]


TABLES = {"debian": DEBIAN, "spring": SPRING, "quartz": QUARTZ}


def rest_of_month(day: date) -> list[date]:
    return [day.replace(day=later) for later in range(day.day + 1, last_day(day) + 1)]


@pytest.mark.parametrize(
    ("expression", "times", "is_day"),
    DEBIAN + SPRING + QUARTZ,
    ids=[
        f"{name} {case[0]}"
        for name, cases in (("debian", DEBIAN), ("spring", SPRING), ("quartz", QUARTZ))
        for case in cases
    ],
)
def test_by_its_words(expression: str, times: list[int], is_day: IsDay) -> None:
    """Six years that begin on different weekdays; every fire time of those that fire seldom."""
    cron = compile_cron(expression)
    first, end = date(2001, 1, 1), date(2007, 1, 1)
    expected = [day for number in range((end - first).days) if is_day(day := first + timedelta(number))]
    assert expected
    begin, stop = (millis(datetime(day.year, 1, 1, tzinfo=UTC)) for day in (first, end))
    assert cron.count(begin, stop, "UTC") == len(expected) * len(times)
    at = begin - 1
    for day in expected if len(times) < 10 else expected[:3]:
        midnight = millis(datetime(day.year, day.month, day.day, tzinfo=UTC))
        for seconds in times:
            found = cron.next_after(at, "UTC")
            assert found == midnight + seconds * 1000
            assert cron.prev_before(found + 1, "UTC") == found
            at = found


# Dates that stand in Spring's CronExpressionTests.
SPRING_DATES = [
    ("0 0 0 29 2 *", "2007-02-10T00:00", "2008-02-29T00:00 2012-02-29T00:00"),
    ("0 0 7 ? * MON-FRI", "2009-09-26T12:00", "2009-09-28T07:00 2009-09-29T07:00 2009-09-30T07:00"),
    ("0 30 23 30 1/3 ?", "2010-12-30T12:00", "2011-01-30T23:30 2011-04-30T23:30 2011-07-30T23:30"),
    ("0 15 12 */10 1-8 5", "2021-04-30T12:14:59", "2021-05-21T12:15 2021-06-11T12:15 2022-01-21T12:15"),
    ("0 0 0 L * *", "2008-01-04T12:00", "2008-01-31T00:00 2008-02-29T00:00 2008-03-31T00:00 2008-04-30T00:00"),
    ("0 0 0 L-3 * *", "2008-01-04T12:00", "2008-01-28T00:00 2008-02-26T00:00 2008-03-28T00:00 2008-04-27T00:00"),
    ("0 0 0 LW * *", "2008-05-01T12:00", "2008-05-30T00:00 2008-06-30T00:00 2008-07-31T00:00 2008-08-29T00:00"),
    ("0 0 0 * * 5L", "2008-01-04T12:00", "2008-01-25T00:00 2008-02-29T00:00 2008-03-28T00:00 2008-04-25T00:00"),
    ("0 0 0 15W * ?", "2020-01-01T00:00", "2020-01-15T00:00 2020-02-14T00:00 2020-03-16T00:00 2020-04-15T00:00"),
    ("0 0 0 1W * ?", "2019-12-31T00:00", "2020-01-01T00:00 2020-02-03T00:00 2020-03-02T00:00 2020-04-01T00:00"),
    ("0 0 0 1W * ?", "2022-01-01T00:00", "2022-01-03T00:00"),
    ("0 0 0 1W * ?", "2021-08-01T00:00", "2021-08-02T00:00"),
    ("0 0 0 ? * 5#2", "2020-01-01T00:00", "2020-01-10T00:00 2020-02-14T00:00 2020-03-13T00:00 2020-04-10T00:00"),
    ("0 0 0 ? * FRI#2", "2020-01-01T00:00", "2020-01-10T00:00 2020-02-14T00:00 2020-03-13T00:00"),
    ("0 0 0 ? * 3#5", "2020-01-01T00:00", "2020-01-29T00:00 2020-04-29T00:00 2020-07-29T00:00 2020-09-30T00:00"),
    ("0 0 0 1W,15,LW * ?", "2019-12-30T00:00", "2019-12-31T00:00 2020-01-01T00:00 2020-01-15T00:00 2020-01-31T00:00"),
    ("0 0 0 ? * THU#1,THU#3,THU#5", "2019-12-31T00:00", "2020-01-02T00:00 2020-01-16T00:00 2020-01-30T00:00"),
    ("0 0 * L-1 * *", "2021-01-29T00:01", "2021-01-30T00:00 2021-01-30T01:00 2021-01-30T02:00"),
    ("0 0 0 ? * SUN-FRI", "2021-02-25T15:00", "2021-02-26T00:00 2021-02-28T00:00"),
    ("3-57 13-28 17,18 1,15 3-12 6#1", "2022-09-15T17:44:11", "2022-10-01T17:13:03"),
    ("*/28 56 22 */6 * *", "2022-02-27T08:00:42", "2022-03-01T22:56:00"),
]


@pytest.mark.parametrize(("expression", "after", "expected"), SPRING_DATES)
def test_spring_dates(expression: str, after: str, expected: str) -> None:
    cron, at = compile_cron(expression), millis(datetime.fromisoformat(after).replace(tzinfo=UTC))
    for text in expected.split():
        found = cron.next_after(at, "UTC")
        assert found == millis(datetime.fromisoformat(text).replace(tzinfo=UTC))
        at = found


@pytest.mark.parametrize(
    ("expression", "gap", "after", "expected"),
    [
        ("0 0 9 * * *", None, "2021-03-27T09:00:00+01:00", "2021-03-28T09:00:00+02:00"),
        ("0 0 9 * * *", None, "2021-10-30T09:00:00+02:00", "2021-10-31T09:00:00+01:00"),
        ("0 5 0 * * *", None, "2021-03-28T01:00:00+01:00", "2021-03-29T00:05:00+02:00"),
        # Spring leaves out what a gap swallows; here that has to be asked for.
        ("0 10 2 * * *", "skip", "2013-03-31T01:09:00+01:00", "2013-04-01T02:10:00+02:00"),
        ("0 10 2 * * *", None, "2013-03-31T01:09:00+01:00", "2013-03-31T03:00:00+02:00"),
    ],
)
def test_spring_in_amsterdam(expression: str, gap: Gap | None, after: str, expected: str) -> None:
    found = compile_cron(expression, gap).next_after(millis(datetime.fromisoformat(after)), "Europe/Amsterdam")
    assert found == millis(datetime.fromisoformat(expected))


def test_spring_leaves_a_month_out_where_31w_would_leave_it() -> None:
    """31 May 2020 was a Sunday: Spring's 31W does not fire then; here as in Quartz it is Friday, the 29th."""
    cron, at = compile_cron("0 0 0 31W * ?"), millis(datetime(2020, 1, 1, tzinfo=UTC))
    for month, day in ((1, 31), (3, 31), (5, 29), (7, 31), (8, 31), (10, 30), (12, 31)):
        found = cron.next_after(at, "UTC")
        assert found == millis(datetime(2020, month, day, tzinfo=UTC))
        at = found


def test_quartz_counts_days_of_the_week_from_another_day() -> None:
    """Quartz's 6L is a Friday; here, as in cron and Spring, 6 is Saturday."""
    found = compile_cron("0 15 10 ? * 6L").next_after(millis(datetime(2026, 1, 1, tzinfo=UTC)), "UTC")
    assert found == millis(datetime(2026, 1, 31, 10, 15, tzinfo=UTC))
