"""The cron language: from text to the values that each field names. docs/schedules.md has its grammar."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias

from taskscheduler.domain.cron_days import Days, read_days
from taskscheduler.domain.cron_field import FIVE, MONTH, SEVEN, SIX, YEAR, InvalidCron, Kind, short, values_of

MAX_EXPRESSION = 256

DayRule: TypeAlias = Literal["and", "or"]
"""How two day fields that are both set combine: a day matches by both, or by one of them."""

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ZONE_PREFIX = re.compile(r"\s*(?:CRON_)?TZ=(\S*)\s*(.*)", re.DOTALL)


class Fields(NamedTuple):
    """What each field names, in ascending order."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: Days
    months: tuple[int, ...]
    years: tuple[int, ...] | None
    """None is every year."""
    fixed_time: bool
    """Names a time of day: neither the minute nor the hour field begins with `*`."""


def parse(expression: str, days: DayRule | None = None) -> Fields:
    """The fields of a cron expression: five, six with seconds first, seven with the year last, or a macro.

    `days` None is as written in docs/schedules.md: five fields `or`, the others `and`. Raises InvalidCron.
    """
    texts, kinds = split(expression)
    second, minute, hour, day_of_month, month, day_of_week, year = (
        *(["0"] if kinds is FIVE else []),
        *texts,
        *([] if kinds is SEVEN else ["*"]),
    )
    rule = days or ("or" if kinds is FIVE else "and")
    both_set = not day_of_month.startswith(("*", "?")) and not day_of_week.startswith(("*", "?"))
    seconds, minutes, hours = (
        values_of(kind, text.split(",")) for kind, text in zip(SIX, (second, minute, hour), strict=False)
    )
    return Fields(
        seconds,
        minutes,
        hours,
        read_days(day_of_month, day_of_week, either=rule == "or" and both_set),
        values_of(MONTH, month.split(",")),
        None if year == "*" else values_of(YEAR, year.split(",")),
        fixed_time=not minute.startswith("*") and not hour.startswith("*"),
    )


def split(expression: str) -> tuple[list[str], tuple[Kind, ...]]:
    """The texts of the fields, in capitals, and what each is; raises InvalidCron."""
    if len(expression) > MAX_EXPRESSION:
        raise InvalidCron(f"a cron expression has at most {MAX_EXPRESSION} characters; this one has {len(expression)}")
    # Crontabs separate fields by tabs as often as by spaces; any other control character is a mistake.
    if not expression.replace("\t", " ").isprintable() or not expression.isascii():
        raise InvalidCron("a cron expression holds plain ASCII text only: digits, names, spaces and * , - / ? # L W H")
    text = expression.strip()
    if text.startswith("@"):
        text = _macro(text)
    texts = text.upper().split()
    for kinds in (FIVE, SIX, SEVEN):
        if len(texts) == len(kinds):
            return texts, kinds
    raise InvalidCron(
        f"expected five fields (minute hour day-of-month month day-of-week), six with seconds first, or seven with "
        f"the year last, but found {len(texts)}"
    )


def split_zone(expression: str) -> tuple[str | None, str]:
    """The zone that a prefix `CRON_TZ=` or `TZ=` names, None where there is none, and the expression after it."""
    found = _ZONE_PREFIX.fullmatch(expression)
    return (None, expression) if found is None else (found[1], found[2])


def _macro(text: str) -> str:
    name = text.lower()
    if name.startswith("@reboot"):
        raise InvalidCron("@reboot names no time; leave the schedule out to run once, now")
    if name.startswith("@every"):
        raise InvalidCron("@every is an interval: write it as @every 90s, or as a schedule with every")
    if name not in _MACROS:
        raise InvalidCron(f"{short(text)} is not a macro; write one of {', '.join(_MACROS)}")
    return _MACROS[name]
