"""Calendars in requests and replies."""

from __future__ import annotations

from datetime import date
from typing import Any

from taskscheduler.api.body import join
from taskscheduler.api.calendars.ics import MOST_BYTES
from taskscheduler.api.schemas.fields import Fields
from taskscheduler.api.schemas.shapes import (
    COUNT,
    ID,
    INSTANT,
    TEXT,
    Schema,
    array,
    nullable,
    ref,
    request,
    response,
    text,
    whole,
)
from taskscheduler.domain.calendar_definition import MOST_DAYS, CalendarDefinition, DateRange, Holidays
from taskscheduler.domain.zones import InvalidZone, load_zone

LONGEST_NOTE = 1_000
MOST_RANGES = 1_000
MOST_YEARS = 50
MOST_CATEGORIES = 20
FIRST_YEAR, LAST_YEAR = 1970, 2199
SHOWN_USERS = 10
"""Tasks named in a reply; all of them are a list of tasks."""

_PARTS = ("dates", "ranges", "holidays", "ics")
_DATE_HINT = f"must be a date such as 2026-12-24, from {FIRST_YEAR} to {LAST_YEAR}"


def read_calendar(fields: Fields) -> CalendarDefinition:
    """A calendar; errors are collected in `fields.errors`."""
    if not any(fields.raw(part) is not None for part in _PARTS):
        fields.errors.add(fields.pointer, f"must hold at least one of {', '.join(_PARTS)}")
    zone = fields.text("timezone", 1, 64)
    if zone is not None:
        try:
            load_zone(zone)
        except InvalidZone as error:
            fields.error("timezone", str(error))
            zone = None
    definition = CalendarDefinition(
        timezone=zone,
        dates=_dates(fields),
        ranges=_ranges(fields),
        holidays=_holidays(fields.object("holidays")),
        ics=_ics(fields),
        note=fields.text("note", 0, LONGEST_NOTE) or "",
    )
    fields.end()
    return definition


def read_date(value: Any) -> date:
    """A day. Raises ValueError that says how to write one."""
    try:
        if isinstance(value, str) and len(value) == 10:
            day = date.fromisoformat(value)
            if FIRST_YEAR <= day.year <= LAST_YEAR:
                return day
    except ValueError:
        pass
    raise ValueError(_DATE_HINT)


def _dates(fields: Fields) -> tuple[str, ...]:
    if isinstance(given := fields.raw("dates"), list) and len(given) > MOST_DAYS:
        fields.take("dates")
        fields.error("dates", f"must be an array of 0 to {MOST_DAYS} items")
        return ()
    return fields.each("dates", MOST_DAYS, lambda value: read_date(value).isoformat())


def _ranges(fields: Fields) -> tuple[DateRange, ...]:
    ranges: list[DateRange] = []
    days = 0
    for index, value in enumerate(fields.list("ranges", 0, MOST_RANGES)):
        pointer = f"{join(fields.pointer, 'ranges')}/{index}"
        if not isinstance(value, dict):
            fields.errors.add(pointer, 'must be an object such as {"from": "2026-12-24", "to": "2026-12-31"}')
            continue
        one = Fields(value, pointer, fields.errors)
        first, last = _date(one, "from"), _date(one, "to")
        one.end()
        if first is None or last is None:
            continue
        if last < first:
            one.error("to", "lies before from")
            continue
        days += (last - first).days + 1
        ranges.append(DateRange(first.isoformat(), last.isoformat()))
    if days > MOST_DAYS:
        fields.error("ranges", f"come to {days} days; at most {MOST_DAYS} are taken")
        return ()
    return tuple(ranges)


def _date(fields: Fields, name: str) -> date | None:
    value = fields.take(name, required=True)
    if value is None:
        return None
    try:
        return read_date(value)
    except ValueError as error:
        fields.error(name, str(error))
        return None


def _holidays(fields: Fields | None) -> Holidays | None:
    if fields is None:
        return None
    wanted = Holidays(
        country=fields.text("country", 2, 2, required=True) or "",
        region=fields.text("region", 1, 40),
        years=fields.each("years", MOST_YEARS, _year),
        categories=fields.each("categories", MOST_CATEGORIES, _category),
    )
    fields.end()
    return wanted


def _year(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and FIRST_YEAR <= value <= LAST_YEAR:
        return value
    raise ValueError(f"must be a year from {FIRST_YEAR} to {LAST_YEAR}")


def _category(value: Any) -> str:
    if isinstance(value, str) and 1 <= len(value) <= 40:
        return value
    raise ValueError("must be a string of 1 to 40 characters")


def _ics(fields: Fields) -> str | None:
    value = fields.take("ics")
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        fields.error("ics", "must be the text of an iCalendar file, from BEGIN:VCALENDAR on")
    elif (size := len(value.encode(errors="surrogatepass"))) > MOST_BYTES:
        fields.error("ics", f"is {size} bytes; at most {MOST_BYTES} are taken")
    else:
        return value
    return None


DATE: Schema = {"type": "string", "format": "date", "examples": ["2026-12-24"]}
_ZONE = text(
    1, 64, description="By whose clock timed events of `ics` touch days; `UTC` by default.", examples=["Europe/Berlin"]
)
_RANGE = {"from": DATE, "to": DATE}
_YEAR = whole(FIRST_YEAR, LAST_YEAR)
_HOLIDAYS_IN = request(
    {"country": text(2, 2, examples=["DE"])},
    {
        "region": text(1, 40, examples=["BE"]),
        "years": array(_YEAR, MOST_YEARS, description="Left out: this one and the next ten."),
        "categories": array(text(1, 40), MOST_CATEGORIES, description="Left out: the public ones."),
    },
    description="Codes of ISO 3166 and categories as the Python library `holidays` knows them.",
)
_SUMMARY: dict[str, Schema] = {
    "name": ID,
    "timezone": nullable(TEXT),
    "dates": array(DATE),
    "ranges": array(response(_RANGE)),
    "holidays": {
        "anyOf": [
            response({"country": TEXT, "region": nullable(TEXT), "years": array(_YEAR), "categories": array(TEXT)}),
            {"type": "null"},
        ]
    },
    "note": TEXT,
    "version": {**whole(1, 2**62), "description": "Of its definition; rises with each change. Tasks name it."},
    "day_count": {**COUNT, "description": "How many days it comes to."},
    "resolved": response(
        {
            "first_year": nullable(_YEAR),
            "last_year": nullable(_YEAR),
            "holidays": nullable(TEXT),
            "tzdata": nullable(TEXT),
        },
        description="For which years holidays and repeating events were worked out, by which releases of the library "
        "and of the zone data; null where there are none. Put it again to renew that.",
    ),
    "created_at": INSTANT,
    "updated_at": INSTANT,
}
COMPONENTS: dict[str, Schema] = {
    "CalendarIn": request(
        {},
        {
            "timezone": _ZONE,
            "dates": array(DATE, MOST_DAYS),
            "ranges": array(request(_RANGE, description="Both days included."), MOST_RANGES),
            "holidays": _HOLIDAYS_IN,
            "ics": text(
                1, MOST_BYTES, description="An iCalendar file: all-day events, and the days that timed ones touch."
            ),
            "note": text(0, LONGEST_NOTE),
        },
        description=f"At least one of dates, ranges, holidays and ics; together at most {MOST_DAYS} days.",
        examples=[
            {"holidays": {"country": "DE", "region": "BE"}, "ranges": [{"from": "2026-12-24", "to": "2026-12-31"}]}
        ],
    ),
    "CalendarSummary": response(_SUMMARY, description="A calendar without its days."),
    "Calendar": response(
        {
            **_SUMMARY,
            "ics": {**nullable(TEXT), "description": "As it was given."},
            "days": array(DATE, description="Those from `from` to `to`, where these are given."),
            "used_by": array(ID, SHOWN_USERS, description="Tasks that leave it out; `?calendar=` lists all."),
        },
        description="Days that schedules may leave out.",
    ),
    "CalendarPage": response({"items": array(ref("CalendarSummary")), "next_cursor": nullable(TEXT)}),
}
