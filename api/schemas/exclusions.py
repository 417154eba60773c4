"""Several schedules together, and what a schedule leaves out, in requests."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

from taskscheduler.api.body import join
from taskscheduler.api.schemas.fields import Fields
from taskscheduler.api.schemas.local_forms import is_zone
from taskscheduler.api.values import HINT, parse_instant
from taskscheduler.domain.cron import MAX_EXPRESSION, InvalidCron
from taskscheduler.domain.cron_parse import parse, split_zone
from taskscheduler.domain.excluded import ExceptCalendar, ExceptCron, ExceptDays, ExceptTime, Exclusion
from taskscheduler.domain.exclusions import cron_stretches

MOST_EXCLUSIONS = 100
MOST_CALENDARS = 8
"""The days of all stand in each event that holds the schedule, and Kafka takes a megabyte."""

_KINDS = ("date", "from", "cron", "calendar")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def read_exclusions(fields: Fields) -> tuple[Exclusion, ...]:
    """`except` of a schedule; what is wrong is named by its place in the list."""
    found = []
    for number, value in enumerate(fields.list("except", 1, MOST_EXCLUSIONS)):
        inner = member(fields, "except", number, value)
        if inner is not None:
            exclusion = _read(inner)
            inner.end()
            if exclusion is not None:
                found.append(exclusion)
    calendars = sum(isinstance(one, ExceptCalendar) for one in found)
    if calendars > MOST_CALENDARS:
        detail = f"names {calendars} calendars; at most {MOST_CALENDARS} are taken: put days that go together into one"
        fields.error("except", detail)
    return tuple(found)


def member(fields: Fields, name: str, number: int, value: Any) -> Fields | None:
    """The object at that place of a list, or None and an error."""
    pointer = f"{join(fields.pointer, name)}/{number}"
    if isinstance(value, dict):
        return Fields(value, pointer, fields.errors)
    fields.errors.add(pointer, "must be an object")
    return None


def _read(fields: Fields) -> Exclusion | None:
    given = [name for name in _KINDS if name in fields]
    if len(given) != 1:
        fields.errors.add(fields.pointer, "must hold one of date, from and to, cron, or calendar")
        for name in (*given, "to", "timezone"):
            fields.take(name)
        return None
    if given == ["cron"]:
        return _read_cron(fields)
    if given == ["calendar"]:
        calendar = fields.id("calendar", required=True)
        return None if calendar is None else ExceptCalendar(calendar)
    if given == ["date"]:
        day = _day(fields, "date")
        return None if day is None else ExceptDays(day, day)
    return _read_range(fields)


def _read_range(fields: Fields) -> Exclusion | None:
    fields.required("from")
    fields.required("to")
    first = fields.raw("from")
    if isinstance(first, str) and _DATE.fullmatch(first):
        day, until = _day(fields, "from"), _day(fields, "to")
        if day is None or until is None:
            return None
        if until < day:
            fields.error("to", "lies before from")
        return ExceptDays(day, until)
    start, end = _instant(fields, "from"), _instant(fields, "to")
    if start is None or end is None:
        return None
    if end <= start:
        fields.error("to", "must lie after from, which it does not include")
    return ExceptTime(start, end)


def _day(fields: Fields, name: str) -> str | None:
    value = fields.take(name, required=name == "date")
    if value is None:
        return None
    try:
        good = isinstance(value, str) and _DATE.fullmatch(value) and 1970 <= date.fromisoformat(value).year < 2200
    except ValueError:
        good = False
    if good:
        return str(value)
    fields.error(name, "write a date such as 2030-12-25, in 1970 to 2199")
    return None


def _instant(fields: Fields, name: str) -> int | None:
    value = fields.take(name)
    if value is None:
        return None
    try:
        return parse_instant(value)
    except ValueError as error:
        said = f"both from and to are dates, such as 2030-12-25, or both are instants: {HINT}"
        fields.error(name, said if str(error) == HINT else str(error))
        return None


def _read_cron(fields: Fields) -> Exclusion | None:
    expression, zone = fields.text("cron", 1, MAX_EXPRESSION, required=True), fields.text("timezone", 1, 64)
    if expression is None:
        return None
    prefix, expression = split_zone(expression)
    if prefix is not None and zone not in (None, prefix):
        fields.error("timezone", f"differs from the zone {prefix[:64]!r} that cron begins with; give one of them")
    zone = zone if prefix is None else prefix
    good = zone is None or is_zone(fields, "timezone" if prefix is None else "cron", zone)
    try:
        if parse(expression).years is not None:
            raise InvalidCron("an exclusion comes every year; for some years write from and to")
        cron_stretches(expression)
    except InvalidCron as error:
        fields.error("cron", str(error))
        return None
    return ExceptCron(expression, zone) if good else None
