"""The days of an iCalendar file (RFC 5545), such as calendar programs export.

An all-day event counts for each of its days, a timed one for each day that it touches by the clock of the calendar's
zone. Events that repeat are followed through the years that are asked for; those that were cancelled count for nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from taskscheduler.api.calendars.spans import ONE_DAY, days_between
from taskscheduler.domain.rrule import compile_rule
from taskscheduler.domain.rrule_parse import InvalidRule

MOST_BYTES = 256 * 1024
MOST_REPEATING = 200
"""Events that repeat: each is followed day by day."""

MOST_LOOKED_AT = 100_000
"""Days of all events together, those that several share counted for each."""

EARLIEST = 1970
"""When events that repeat may begin."""

LONGEST_EVENT = timedelta(days=366)
_EPOCH = datetime(1970, 1, 1)
_RARE_ENOUGH = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")

When: TypeAlias = date | datetime


class InvalidIcs(ValueError):
    """What is wrong with a file: a sentence."""


def days_of_ics(text: str, zone: ZoneInfo, first_year: int, last_year: int) -> set[date]:
    """The days in these years. Raises InvalidIcs."""
    try:
        return _days(text, zone, first_year, last_year)
    except InvalidIcs:
        raise
    except Exception as error:
        # The libraries raise whatever comes of a file that is not in order, some of it long after it was read.
        raise InvalidIcs(f"cannot be understood: {error}"[:300]) from error


def _days(text: str, zone: ZoneInfo, first_year: int, last_year: int) -> set[date]:
    events = list(_events(text))
    repeating = sum(1 for event in events if "RRULE" in event)
    if repeating > MOST_REPEATING:
        raise InvalidIcs(f"{repeating} of its events repeat; at most {MOST_REPEATING} may")
    moved = _moved(events)
    days: set[date] = set()
    first, last = date(first_year, 1, 1), date(last_year, 12, 31)
    looked_at = 0
    for event in events:
        length = _length(event)
        for start in _starts(event, zone, first, last, moved):
            near = first <= _day_of(start) + length + ONE_DAY and _day_of(start) <= last + ONE_DAY
            touched = list(_touched(start, length, zone)) if near else []
            looked_at += max(1, len(touched))
            if looked_at > MOST_LOOKED_AT:
                raise InvalidIcs(f"its events have over {MOST_LOOKED_AT} days up to {last_year}")
            days.update(day for day in touched if first <= day <= last)
    return days


def _day_of(when: When) -> date:
    return when.date() if isinstance(when, datetime) else when


def _events(text: str) -> Iterator[Any]:
    from icalendar import Calendar

    try:
        calendars = Calendar.from_ical(text, multiple=True)
    except ValueError as error:
        raise InvalidIcs(f"cannot be read as iCalendar: {error}"[:300]) from None
    if not calendars or any(calendar.name != "VCALENDAR" for calendar in calendars):
        raise InvalidIcs("holds no VCALENDAR")
    for calendar in calendars:
        event: Any
        for event in calendar.walk("VEVENT"):
            if str(event.get("STATUS", "")).upper() == "CANCELLED" and "RECURRENCE-ID" not in event:
                continue
            start: Any = event.get("DTSTART")
            if not isinstance(getattr(start, "dt", None), date):
                raise InvalidIcs(f"the event {_named(event)} has no DTSTART that can be read")
            if "RRULE" in event and start.dt.year < EARLIEST:
                raise InvalidIcs(f"the event {_named(event)} repeats from before {EARLIEST} on: let it begin later")
            yield event


def _named(event: Any) -> str:
    return repr(str(event.get("SUMMARY") or event.get("UID") or "without a name")[:60])


def _moved(events: Iterable[Any]) -> set[tuple[str, When]]:
    """Single occurrences of repeating events that have an entry of their own, by event and time."""
    return {(str(one.get("UID")), one["RECURRENCE-ID"].dt) for one in events if "RECURRENCE-ID" in one}


def _starts(event: Any, zone: ZoneInfo, first: date, last: date, moved: set[tuple[str, When]]) -> Iterator[When]:
    """When the event takes place, as far as years go that are asked for."""
    start: When = event["DTSTART"].dt
    if "RECURRENCE-ID" in event:
        if str(event.get("STATUS", "")).upper() != "CANCELLED":
            yield start
        return
    left_out = {_point(one, zone) for one in _listed(event, "EXDATE")}
    left_out |= {_point(when, zone) for uid, when in moved if uid == str(event.get("UID"))}
    regular = _repeated(event, start, first, last) if "RRULE" in event else (start,)
    for one in itertools.chain(regular, _listed(event, "RDATE")):
        if _point(one, zone) not in left_out:
            yield one


def _repeated(event: Any, start: When, first: date, last: date) -> Iterator[When]:
    """By the clock that the event goes by, from where on an occurrence may reach into the years asked for."""
    origin = start.replace(tzinfo=None) if isinstance(start, datetime) else datetime.combine(start, time())
    for rule in event["RRULE"] if isinstance(event["RRULE"], list) else [event["RRULE"]]:
        if [str(word).upper() for word in rule.get("FREQ", [])] not in [[word] for word in _RARE_ENOUGH]:
            raise InvalidIcs(f"the event {_named(event)} repeats other than by days, weeks, months or years")
        if rule.get("UNTIL"):
            rule["UNTIL"] = [_local(rule["UNTIL"][0], start)]
        try:
            times = compile_rule(rule.to_ical().decode(), origin.isoformat(timespec="seconds"), "UTC")
        except InvalidRule as error:
            raise InvalidIcs(f"the rule of the event {_named(event)}: {error}"[:300]) from None
        since = max(origin, datetime.combine(first, time()) - LONGEST_EVENT - 2 * ONE_DAY)
        until = _millis(datetime.combine(last, time(23, 59, 59)))
        at: int | None = _millis(since) - 1
        while at is not None and (at := times.next_after(at, "UTC")) is not None and at <= until:
            one = _EPOCH + timedelta(milliseconds=at)
            yield one.replace(tzinfo=start.tzinfo) if isinstance(start, datetime) else one.date()


def _millis(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _local(until: When, start: When) -> datetime:
    """The end of a rule by the clock of its event."""
    if not isinstance(until, datetime):
        return datetime.combine(until, time(23, 59, 59))
    if until.tzinfo is not None and isinstance(start, datetime) and start.tzinfo is not None:
        until = until.astimezone(start.tzinfo)
    return until.replace(tzinfo=None)


def _listed(event: Any, name: str) -> Iterator[When]:
    """The times of a property that may come several times, each with several."""
    given = event.get(name, [])
    for one in given if isinstance(given, list) else [given]:
        for value in one.dts:
            yield value.dt[0] if isinstance(value.dt, tuple) else value.dt


def _point(when: When, zone: ZoneInfo) -> When:
    """The same for all ways to write one time."""
    if not isinstance(when, datetime):
        return when
    return (when if when.tzinfo is not None else when.replace(tzinfo=zone)).astimezone(ZoneInfo("UTC"))


def _length(event: Any) -> timedelta:
    start, length = event["DTSTART"].dt, timedelta()
    if "DTEND" in event:
        end = event["DTEND"].dt
        if isinstance(end, datetime) != isinstance(start, datetime):
            raise InvalidIcs(f"the event {_named(event)} has a day at one end and a time at the other")
        if isinstance(start, datetime) and (start.tzinfo is None) != (end.tzinfo is None):
            end = end.replace(tzinfo=start.tzinfo)
        length = end - start
    elif "DURATION" in event:
        length = event["DURATION"].dt
    elif not isinstance(start, datetime):
        length = ONE_DAY
    if not timedelta() <= length <= LONGEST_EVENT:
        raise InvalidIcs(f"the event {_named(event)} ends before it begins, or lasts over a year")
    return length


def _touched(start: When, length: timedelta, zone: ZoneInfo) -> Iterator[date]:
    if not isinstance(start, datetime):
        return days_between(start, start + max(length, ONE_DAY) - ONE_DAY)
    begin = start.astimezone(zone) if start.tzinfo is not None else start.replace(tzinfo=zone)
    # What ends at midnight does not touch the day that begins then.
    utc = ZoneInfo("UTC")
    end = (begin.astimezone(utc) + length - timedelta(microseconds=1)).astimezone(zone)
    return days_between(begin.date(), max(end.date(), begin.date()))
