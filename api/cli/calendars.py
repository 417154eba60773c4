"""`calendar put`, `get`, `list`, `delete` and `import`."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any

from cyclopts import Parameter

from taskscheduler.api.cli.common import COMMON, Common, Key, Limit, contents, document
from taskscheduler.api.cli.errors import UsageError
from taskscheduler.api.cli.output import Columns, say, show, show_all

Zone = Annotated[str | None, Parameter(help="By whose clock timed events of a file touch days (default UTC).")]
Match = Annotated[int | None, Parameter(help="Only if the calendar is at this version; else exit 4.")]

CALENDARS: Columns = {
    "name": lambda calendar: calendar.name,
    "days": lambda calendar: calendar.day_count,
    "holidays": lambda calendar: _holidays_text(calendar.holidays),
    "until": lambda calendar: calendar.resolved.get("last_year"),
    "version": lambda calendar: calendar.version,
    "updated": lambda calendar: calendar.updated_at,
    "note": lambda calendar: calendar.note,
}
CALENDAR: Columns = {
    **CALENDARS,
    "timezone": lambda calendar: calendar.timezone,
    "used by": lambda calendar: ", ".join(calendar.used_by),
    "all days": lambda calendar: " ".join(day.isoformat() for day in calendar.days),
}


def put(
    name: str,
    /,
    *,
    date: Annotated[list[str] | None, Parameter(negative="", help="A day, 2026-12-24; repeatable.")] = None,
    range: Annotated[
        list[str] | None, Parameter(negative="", help="2026-12-24/2027-01-02, both included; repeatable.")
    ] = None,
    country: Annotated[str | None, Parameter(help="Public holidays of a country: DE.")] = None,
    region: Annotated[str | None, Parameter(help="With --country: of a region of it: BE.")] = None,
    year: Annotated[
        list[int] | None, Parameter(negative="", help="With --country: only of this year; repeatable.")
    ] = None,
    category: Annotated[
        list[str] | None, Parameter(negative="", help="With --country: instead of the public ones; repeatable.")
    ] = None,
    ics: Annotated[str | None, Parameter(help="An iCalendar file (- for standard input).")] = None,
    timezone: Zone = None,
    note: Annotated[str | None, Parameter(help="Why, for others to read.")] = None,
    file: Annotated[
        str | None, Parameter(name=["--file", "-f"], help="The calendar as JSON or YAML (- for standard input).")
    ] = None,
    if_match: Match = None,
    idempotency_key: Key = None,
    common: Common = COMMON,
) -> None:
    """Make a calendar, or let it be another one: `calendar put de-holidays --country DE --region BE`."""
    if country is None and (region or year or category):
        raise UsageError("--region, --year and --category go with --country")
    given: dict[str, Any] = {
        "dates": date,
        "ranges": [_range(one) for one in range] if range else None,
        "holidays": _given({"country": country, "region": region, "years": year, "categories": category}) or None,
        "ics": None if ics is None else _text_of(ics),
        "timezone": timezone,
        "note": note,
    }
    fields = ({} if file is None else document(file)) | _given(given)
    _put(name, fields, if_match, idempotency_key, common)


def import_(
    path: str,
    /,
    *,
    name: Annotated[str, Parameter(help="What the calendar is called.")],
    timezone: Zone = None,
    note: Annotated[str | None, Parameter(help="Why, for others to read.")] = None,
    idempotency_key: Key = None,
    common: Common = COMMON,
) -> None:
    """Make a calendar of an iCalendar file: `calendar import FILE.ics --name closed`."""
    _put(name, _given({"ics": _text_of(path), "timezone": timezone, "note": note}), None, idempotency_key, common)


def get(
    name: str,
    /,
    *,
    since: Annotated[str | None, Parameter(name="--from", help="Only days from this one on.")] = None,
    until: Annotated[str | None, Parameter(name="--to", help="Only days up to this one.")] = None,
    common: Common = COMMON,
) -> None:
    """Show a calendar, its days, and which tasks use it."""
    with common.client() as client:
        show(client.get_calendar(name, since=since, until=until), CALENDAR, common.output)


def list_calendars(
    *,
    limit: Limit = 50,
    all: Annotated[bool, Parameter(negative="", help="All of them.")] = False,
    common: Common = COMMON,
) -> None:
    """List calendars."""
    with common.client() as client:
        found = client.iter_calendars()
        show_all(found if all else islice(found, limit), CALENDARS, common.output)
        if not all and next(found, None) is not None:
            say(f"there are more: --limit {limit} shows no more than {limit}, --all shows all")


def delete(name: str, /, *, if_match: Match = None, idempotency_key: Key = None, common: Common = COMMON) -> None:
    """Delete a calendar that no task uses."""
    with common.client() as client:
        client.delete_calendar(name, if_match=if_match, idempotency_key=idempotency_key)
    say(f"calendar {name} is deleted")


def _put(name: str, fields: dict[str, Any], if_match: int | None, key: str | None, common: Common) -> None:
    with common.client() as client:
        try:
            calendar = client.put_calendar(name, if_match=if_match, idempotency_key=key, **fields)
        except TypeError as error:
            raise UsageError(f"--file: {str(error).lower()}") from error
        show(calendar, CALENDAR, common.output)


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _range(text: str) -> dict[str, str]:
    first, slash, last = text.partition("/")
    if not slash:
        raise UsageError(f"--range {text!r}: write it as 2026-12-24/2027-01-02")
    return {"from": first, "to": last}


def _text_of(path: str) -> str:
    try:
        return contents(path).decode("utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{path}: {error}") from error


def _holidays_text(holidays: dict[str, Any] | None) -> str:
    if holidays is None:
        return ""
    return "-".join(str(part) for part in (holidays.get("country"), holidays.get("region")) if part)
