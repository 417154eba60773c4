"""The days that a calendar comes to, at the time of the command: what follows is that they are in the event."""

from __future__ import annotations

from datetime import UTC, date, datetime

from taskscheduler.api.calendars.ics import InvalidIcs, days_of_ics
from taskscheduler.api.calendars.public_holidays import UnknownHolidays, holidays_of, library_version
from taskscheduler.api.calendars.spans import days_between, spans_of
from taskscheduler.api.problems import FieldError
from taskscheduler.domain.calendar_definition import MOST_DAYS, CalendarDefinition, ResolvedDays
from taskscheduler.domain.values import Instant
from taskscheduler.domain.zones import TZDATA_VERSION, load_zone

YEARS_AHEAD = 10
"""What repeats is resolved for this year and so many more."""


def resolve(definition: CalendarDefinition, now: Instant) -> tuple[ResolvedDays | None, list[FieldError]]:
    """The days; None where there is an error. May take a moment: the library of holidays is read when first asked."""
    this_year = datetime.fromtimestamp(now / 1000, UTC).year
    years = range(this_year, this_year + YEARS_AHEAD + 1)
    errors: list[FieldError] = []
    days = {date.fromisoformat(day) for day in definition.dates}
    for span in definition.ranges:
        days.update(days_between(date.fromisoformat(span.first), date.fromisoformat(span.last)))
    if definition.holidays is not None:
        try:
            days |= holidays_of(definition.holidays, years)
        except UnknownHolidays as error:
            errors.append(FieldError(f"/holidays/{error.field}", str(error)))
    if definition.ics is not None:
        try:
            days |= days_of_ics(definition.ics, load_zone(definition.timezone or "UTC"), years[0], years[-1])
        except InvalidIcs as error:
            errors.append(FieldError("/ics", str(error)))
    if len(days) > MOST_DAYS:
        errors.append(FieldError("", f"comes to {len(days)} days; at most {MOST_DAYS} are taken: leave some years out"))
    if errors:
        return None, errors
    repeats = definition.ics is not None or (definition.holidays is not None and not definition.holidays.years)
    found = ResolvedDays(
        days=spans_of(days),
        count=len(days),
        first_year=years[0] if repeats else None,
        last_year=years[-1] if repeats else None,
        holidays=None if definition.holidays is None else library_version(),
        tzdata=None if definition.ics is None else TZDATA_VERSION,
    )
    return found, []
