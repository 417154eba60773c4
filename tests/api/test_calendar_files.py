"""The days that iCalendar files and the library of holidays give."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from taskscheduler.api.calendars import ics as module
from taskscheduler.api.calendars.ics import InvalidIcs, days_of_ics
from taskscheduler.api.calendars.public_holidays import UnknownHolidays, holidays_of
from taskscheduler.api.calendars.spans import days_of, spans_of
from taskscheduler.domain.calendar_definition import Holidays

FILES = Path(__file__).parent.parent / "data" / "calendars"
BERLIN, UTC = ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")


def days(text: str, zone: ZoneInfo = UTC, first: int = 2026, last: int = 2027) -> list[str]:
    return [day.isoformat() for day in sorted(days_of_ics(text, zone, first, last))]


def event(*lines: str) -> str:
    return "\r\n".join(["BEGIN:VEVENT", "UID:1", "SUMMARY:s", *lines, "END:VEVENT"])


def file(*events: str) -> str:
    return "\r\n".join(["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//t//", *events, "END:VCALENDAR", ""])


def test_days_on_end_are_one_span() -> None:
    given = [date(2026, 12, 31), date(2026, 5, 1), date(2027, 1, 1), date(2026, 12, 31)]
    assert spans_of(given) == ("2026-05-01", "2026-12-31/2027-01-01")
    assert list(days_of(spans_of(given))) == sorted(set(given))
    assert spans_of([]) == ()


def test_an_export_of_google_calendar() -> None:
    assert days((FILES / "google.ics").read_text(), BERLIN) == [
        "2026-05-01",  # yearly
        "2026-07-06",  # a holiday of three days
        "2026-07-07",
        "2026-07-08",
        "2026-11-03",  # from 23:30 to 1:00 in New York, which is 5:30 to 7:00 of the next day in Berlin
        "2027-05-01",
    ]


def test_an_export_of_outlook() -> None:
    assert days((FILES / "outlook.ics").read_text(), BERLIN) == [
        "2026-01-05",  # every other Monday, three times, of which the second was moved to a Tuesday
        "2026-01-20",
        "2026-02-02",
        "2026-08-03",  # closed for a week
        "2026-08-04",
        "2026-08-05",
        "2026-08-06",
        "2026-08-07",
        "2026-10-24",  # Saturday 22:00 to Sunday 06:00, over the change of clocks
        "2026-10-25",
    ]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (("DTSTART;VALUE=DATE:20260501",), ["2026-05-01"]),
        (("DTSTART;VALUE=DATE:20260501", "DTEND;VALUE=DATE:20260501"), ["2026-05-01"]),
        (("DTSTART;VALUE=DATE:20260501", "DURATION:P2D"), ["2026-05-01", "2026-05-02"]),
        (("DTSTART:20260501T100000Z",), ["2026-05-01"]),
        (("DTSTART:20260501T220000Z", "DTEND:20260502T000000Z"), ["2026-05-01"]),
        (("DTSTART:20260501T220000Z", "DURATION:PT2H1S"), ["2026-05-01", "2026-05-02"]),
        (("DTSTART;VALUE=DATE:20250101", "RRULE:FREQ=YEARLY"), ["2026-01-01", "2027-01-01"]),
        (
            ("DTSTART;VALUE=DATE:20260101", "RRULE:FREQ=DAILY;UNTIL=20260103"),
            ["2026-01-01", "2026-01-02", "2026-01-03"],
        ),
        (("DTSTART;VALUE=DATE:20251231", "RRULE:FREQ=DAILY;COUNT=3"), ["2026-01-01", "2026-01-02"]),
        (
            ("DTSTART;VALUE=DATE:20260101", "RRULE:FREQ=MONTHLY;COUNT=3", "EXDATE;VALUE=DATE:20260201"),
            ["2026-01-01", "2026-03-01"],
        ),
        (
            ("DTSTART;VALUE=DATE:20260101", "RDATE;VALUE=DATE:20260301,20260303"),
            ["2026-01-01", "2026-03-01", "2026-03-03"],
        ),
        (("DTSTART;VALUE=DATE:20260130", "RRULE:FREQ=MONTHLY;BYDAY=-1FR;COUNT=2"), ["2026-01-30", "2026-02-27"]),
        (("DTSTART;VALUE=DATE:20251231", "DTEND;VALUE=DATE:20260102"), ["2026-01-01"]),
        (("DTSTART;VALUE=DATE:20280101",), []),
        (("DTSTART;VALUE=DATE:20260501", "STATUS:CANCELLED"), []),
        (("DTSTART;VALUE=DATE:20260501", "TRANSP:TRANSPARENT"), ["2026-05-01"]),
    ],
)
def test_what_an_event_says_is_so_many_days(lines: tuple[str, ...], found: list[str]) -> None:
    assert days(file(event(*lines))) == found


def test_a_time_is_one_of_the_zone_it_names_and_counts_by_the_clock_of_the_calendar() -> None:
    floating = file(event("DTSTART:20260501T233000", "DTEND:20260501T234500"))
    assert days(floating, BERLIN) == days(floating, UTC) == ["2026-05-01"]
    utc = file(event("DTSTART:20260501T223000Z", "DTEND:20260501T224500Z"))
    assert (days(utc, UTC), days(utc, BERLIN)) == (["2026-05-01"], ["2026-05-02"])
    tokyo = file(event("DTSTART;TZID=Asia/Tokyo:20260501T010000", "DURATION:PT1H", "RRULE:FREQ=DAILY;COUNT=2"))
    assert days(tokyo, UTC) == ["2026-04-30", "2026-05-01"]


def test_the_end_of_a_rule_may_be_given_in_utc() -> None:
    rule = "RRULE:FREQ=DAILY;UNTIL=20260101T160000Z"  # the second of January, 1:00, in Tokyo
    tokyo = file(event("DTSTART;TZID=Asia/Tokyo:20260101T010000", "DURATION:PT1H", rule))
    assert days(tokyo, ZoneInfo("Asia/Tokyo")) == ["2026-01-01", "2026-01-02"]


def test_one_occurrence_may_be_cancelled_by_itself() -> None:
    series = event("DTSTART;VALUE=DATE:20260101", "RRULE:FREQ=DAILY;COUNT=3")
    gone = event("RECURRENCE-ID;VALUE=DATE:20260102", "DTSTART;VALUE=DATE:20260102", "STATUS:CANCELLED")
    assert days(file(series, gone)) == ["2026-01-01", "2026-01-03"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello", "cannot be read as iCalendar"),
        ("BEGIN:VEVENT\r\nEND:VEVENT\r\n", "no VCALENDAR"),
        (file(event()), "no DTSTART"),
        (file(event("DTSTART:tomorrow")), "DTSTART"),
        (file(event("DTSTART;VALUE=DATE:19691231", "RRULE:FREQ=YEARLY")), "from before 1970"),
        (file(event("DTSTART;VALUE=DATE:20260101", "RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30")), "never fires"),
        (file(event("DTSTART;VALUE=DATE:20260101", "RRULE:FREQ=YEARLY;BYMONTH=99")), "BYMONTH"),
        (file(event("DTSTART:20260101T000000Z", "RRULE:FREQ=HOURLY")), "other than by days"),
        (file(event("DTSTART;VALUE=DATE:20260102", "DTEND;VALUE=DATE:20260101")), "ends before it begins"),
        (file(event("DTSTART;VALUE=DATE:20260101", "DTEND;VALUE=DATE:20280101")), "lasts over a year"),
        (file(event("DTSTART;VALUE=DATE:20260101", "DTEND:20260102T000000Z")), "a day at one end"),
        (file(event("DTSTART;VALUE=DATE:20260101", "RRULE:FREQ=WEEKLY;BYDAY=XX")), "cannot be understood"),
        (file(*[event("DTSTART;VALUE=DATE:20260101", "RRULE:FREQ=YEARLY")] * 201), "201 of its events repeat"),
    ],
)
def test_what_cannot_be_taken_is_said(text: str, said: str) -> None:
    with pytest.raises(InvalidIcs, match=said):
        days(text)


def test_a_file_is_not_followed_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    old = file(
        event("DTSTART;VALUE=DATE:19500101"), event("DTSTART;VALUE=DATE:19700101", "RRULE:FREQ=YEARLY;INTERVAL=8")
    )
    assert days(old) == ["2026-01-01"]
    monkeypatch.setattr(module, "MOST_LOOKED_AT", 1_000)
    long = event("DTSTART;VALUE=DATE:20260101", "DURATION:P300D", "RRULE:FREQ=DAILY")
    with pytest.raises(InvalidIcs, match="over 1000 days"):
        days(file(long))


# From the law of Berlin on public holidays (Gesetz über die Sonn- und Feiertage), with the Easter dates of 2026
# (5 April) and 2027 (28 March).
BERLIN_2026 = ["01-01", "03-08", "04-03", "04-06", "05-01", "05-14", "05-25", "10-03", "12-25", "12-26"]
BERLIN_2027 = ["01-01", "03-08", "03-26", "03-29", "05-01", "05-06", "05-17", "10-03", "12-25", "12-26"]

# As published by the Office of Personnel Management for 2026: Independence Day is a Saturday, observed the day before.
FEDERAL_2026 = [
    "01-01", "01-19", "02-16", "05-25", "06-19", "07-03", "07-04", "09-07", "10-12", "11-11", "11-26", "12-25",
]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "year", "published"),
    [
        (Holidays("DE", "BE"), 2026, BERLIN_2026),
        (Holidays("DE", "DE-BE"), 2027, BERLIN_2027),
        (Holidays("US"), 2026, FEDERAL_2026),
    ],
)
def test_holidays_are_those_that_were_published(wanted: Holidays, year: int, published: list[str]) -> None:
    assert sorted(f"{day:%m-%d}" for day in holidays_of(wanted, [year])) == published


def test_years_and_categories_are_those_asked_for() -> None:
    assert {day.year for day in holidays_of(Holidays("DE", years=(2020, 2030)), range(2026, 2037))} == {2020, 2030}
    assert {day.year for day in holidays_of(Holidays("DE"), range(2026, 2037))} == set(range(2026, 2037))
    public, others = (holidays_of(Holidays("US", categories=(name,)), [2026]) for name in ("public", "unofficial"))
    assert public == holidays_of(Holidays("US"), [2026])
    assert others
    assert not others & public


@pytest.mark.parametrize(
    ("wanted", "field", "said"),
    [
        (Holidays("XX"), "country", "'XX' is no country"),
        (Holidays("de"), "country", "ISO 3166-1"),
        (Holidays("DE", "ZZ"), "region", "which has BB, BE"),
        (Holidays("DE", categories=("bank",)), "categories", "'bank' is not known for DE"),
    ],
)
def test_holidays_that_are_not_known_are_told(wanted: Holidays, field: str, said: str) -> None:
    with pytest.raises(UnknownHolidays, match=said) as refused:
        holidays_of(wanted, [2026])
    assert refused.value.field == field
