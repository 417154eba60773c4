"""Which fire times of a schedule the calendars that it names take out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time

from msgspec.structs import replace

from taskscheduler.api.calendars.spans import ONE_DAY
from taskscheduler.domain.calendar_days import calendars_of
from taskscheduler.domain.excluded import ExceptCalendar
from taskscheduler.domain.schedule import Schedule, next_after, zone_of
from taskscheduler.domain.values import Instant
from taskscheduler.domain.zones import load_zone

MOST_CONFLICTS = 1_000


def conflicts(schedule: Schedule, since: Instant, until: Instant) -> Mapping[Instant, list[str]]:
    """By nominal time in since < t <= until, in order, the names of the calendars that take it out.

    Of a great many, the first that each calendar takes out.
    """
    others = tuple(one for one in schedule.excluded if not isinstance(one, ExceptCalendar))
    zone = load_zone(zone_of(schedule) or "UTC")
    named = replace(schedule, excluded=others, jitter=0)
    first, last = (datetime.fromtimestamp(at / 1000, UTC).astimezone(zone).date() for at in (since, until))
    found: dict[Instant, list[str]] = {}
    for calendar in calendars_of(schedule):
        left = MOST_CONFLICTS
        for span in calendar.days:
            begin, _, end = span.partition("/")
            days = max(date.fromisoformat(begin), first), min(date.fromisoformat(end or begin), last)
            if not left or days[0] > days[1]:
                continue
            at = max(since, _before(days[0]))
            while left and (fire := next_after(named, at)) is not None and fire <= until:
                day, at = datetime.fromtimestamp(fire / 1000, UTC).astimezone(zone).date(), fire
                if day > days[1]:
                    break
                if day >= days[0]:
                    found.setdefault(fire, []).append(calendar.calendar)
                    left -= 1
    return dict(sorted(found.items()))


def _before(day: date) -> Instant:
    """An instant before the day begins in any zone."""
    return round(datetime.combine(day - ONE_DAY, time(), UTC).timestamp() * 1000)
