"""What a user says of a calendar, and the days that it comes to."""

from __future__ import annotations

import msgspec

MOST_DAYS = 4_000
"""Days of one calendar: each task that uses it carries them."""


class DateRange(msgspec.Struct, frozen=True, gc=False):
    """Days from `first` to `last`, both included, as `2026-12-24`."""

    first: str
    last: str


class Holidays(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Public holidays of a country (ISO 3166-1), or of a region of it (ISO 3166-2), as the library names them.

    Without `years` those of the span in which the calendar is resolved; without `categories` the public ones.
    """

    country: str
    region: str | None = None
    years: tuple[int, ...] = ()
    categories: tuple[str, ...] = ()


class CalendarDefinition(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A calendar as its owner defined it: the days of all its parts together. `ics` is a text in iCalendar format."""

    timezone: str | None = None
    dates: tuple[str, ...] = ()
    ranges: tuple[DateRange, ...] = ()
    holidays: Holidays | None = None
    ics: str | None = None
    note: str = ""


class ResolvedDays(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The days of a calendar in ascending order, as `2026-12-25`; several on end as `2026-12-24/2027-01-02`.

    What repeats (holidays, events of `ics`) was resolved for the years from `first_year` to `last_year`, with the
    releases named of the library of holidays and of the zone data; None where these were not needed.
    """

    days: tuple[str, ...]
    count: int
    """How many days these are."""
    first_year: int | None = None
    last_year: int | None = None
    holidays: str | None = None
    tzdata: str | None = None
