"""Recurrence rules of RFC 5545: from text to what each part names. docs/schedules.md says what is taken."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Literal, NamedTuple, TypeAlias, get_args

Frequency: TypeAlias = Literal["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY"]

MAX_RULE = 512
MOST_INTERVALS = 10_000
MOST_COUNTED = 100_000

_FREQUENCIES: tuple[Frequency, ...] = get_args(Frequency)
_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_BY_DAY = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_UNTIL = re.compile(r"(\d{8})(?:T(\d{6})(Z?))?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class InvalidRule(ValueError):
    """The text is no recurrence rule that can be used; the message names the part and what to write instead."""


class Numbers(NamedTuple):
    """What a BY part may hold: low to high, and where it counts from the end too, the same below zero."""

    low: int
    high: int
    signed: bool = False
    not_with: tuple[Frequency, ...] = ()


_PARTS = {
    "BYMONTH": Numbers(1, 12),
    "BYWEEKNO": Numbers(1, 53, True, ("MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY")),
    "BYYEARDAY": Numbers(1, 366, True, ("MONTHLY", "WEEKLY", "DAILY")),
    "BYMONTHDAY": Numbers(1, 31, True, ("WEEKLY",)),
    "BYHOUR": Numbers(0, 23),
    "BYMINUTE": Numbers(0, 59),
    "BYSECOND": Numbers(0, 59),
    "BYSETPOS": Numbers(1, 366, True),
}


class Until(NamedTuple):
    """The last moment, in seconds: of the epoch where it is UTC, otherwise by the wall clock."""

    seconds: int
    utc: bool


class Rule(NamedTuple):
    """What each part names, in ascending order, as it stands in the text: empty is not given."""

    freq: Frequency
    interval: int
    runs: int | None
    """COUNT."""
    until: Until | None
    week_start: int
    by_month: tuple[int, ...]
    by_week: tuple[int, ...]
    by_year_day: tuple[int, ...]
    by_month_day: tuple[int, ...]
    by_day: tuple[tuple[int, int], ...]
    """`(n, weekday)`: the n-th such day, from the end if negative; 0 is each. Monday is 0."""
    by_hour: tuple[int, ...]
    by_minute: tuple[int, ...]
    by_second: tuple[int, ...]
    by_place: tuple[int, ...]
    """BYSETPOS."""

    @property
    def names_time_of_day(self) -> bool:
        """Whether it steps by days or more, so that each fire time is at a fixed time of day."""
        return self.freq in ("YEARLY", "MONTHLY", "WEEKLY", "DAILY")


def parse_rule(text: str) -> Rule:
    """The parts of a rule such as `FREQ=MONTHLY;BYDAY=-1FR`; raises InvalidRule."""
    if len(text) > MAX_RULE:
        raise InvalidRule(f"a rule has at most {MAX_RULE} characters; this one has {len(text)}")
    if not text.isascii() or not text.isprintable():
        raise InvalidRule("a rule holds plain ASCII text only, such as FREQ=MONTHLY;BYDAY=-1FR")
    parts = _split(text)
    freq = _frequency(parts.pop("FREQ", None))
    interval = _whole(parts, "INTERVAL", MOST_INTERVALS) or 1
    count, until = _whole(parts, "COUNT", MOST_COUNTED), _until(parts.pop("UNTIL", None))
    if count is not None and until is not None:
        raise InvalidRule("COUNT and UNTIL exclude each other; leave one out")
    week_start = parts.pop("WKST", "MO")
    if week_start not in _DAYS:
        raise InvalidRule(f"WKST: {week_start[:20]} is no day; write one of {', '.join(_DAYS)}")
    by_day = _by_day(parts.pop("BYDAY", None), freq, "BYWEEKNO" in parts)
    numbers = {name: _numbers(name, parts.pop(name, None), freq) for name in _PARTS}
    if parts:
        raise InvalidRule(f"{min(parts)[:20]} is not understood; write the parts of RFC 5545, such as BYDAY or COUNT")
    if numbers["BYSETPOS"] and not by_day and not any(numbers[name] for name in _PARTS if name != "BYSETPOS"):
        raise InvalidRule("BYSETPOS picks from what other BY parts name; write one of these too, such as BYDAY")
    return Rule(
        freq,
        interval,
        count,
        until,
        _DAYS.index(week_start),
        numbers["BYMONTH"],
        numbers["BYWEEKNO"],
        numbers["BYYEARDAY"],
        numbers["BYMONTHDAY"],
        by_day,
        numbers["BYHOUR"],
        numbers["BYMINUTE"],
        numbers["BYSECOND"],
        numbers["BYSETPOS"],
    )


def _split(text: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for part in text.strip().rstrip(";").upper().split(";"):
        name, equals, value = part.strip().partition("=")
        if not equals or not value:
            raise InvalidRule(f"{part[:20]!r} is not understood; write NAME=VALUE, separated by semicolons")
        if name in parts:
            raise InvalidRule(f"{name[:20]} stands there twice; put all its values into one list")
        parts[name] = value
    return parts


def _frequency(text: str | None) -> Frequency:
    for freq in _FREQUENCIES:
        if text == freq:
            return freq
    raise InvalidRule(f"FREQ must be there, and one of {', '.join(_FREQUENCIES)}")


def _whole(parts: dict[str, str], name: str, high: int) -> int | None:
    text = parts.pop(name, None)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= high:
        raise InvalidRule(f"{name} must be a whole number from 1 to {high}")
    return int(text)


def _until(text: str | None) -> Until | None:
    if text is None:
        return None
    found = _UNTIL.fullmatch(text)
    try:
        if found is None:
            raise ValueError(text)
        day, time, utc = found.groups()
        at = datetime.strptime(f"{day}{time or '235959'}+0000", "%Y%m%d%H%M%S%z")
    except ValueError:
        raise InvalidRule("UNTIL is a date or a time such as 20301231, 20301231T170000 or 20301231T160000Z") from None
    return Until(int((at - _EPOCH).total_seconds()), bool(utc))


def _by_day(text: str | None, freq: Frequency, by_week: bool) -> tuple[tuple[int, int], ...]:
    if text is None:
        return ()
    days = set()
    for part in text.split(","):
        found = _BY_DAY.fullmatch(part.strip())
        if found is None:
            raise InvalidRule(f"BYDAY: {part[:20]!r} is not understood; write MO, 2TU or -1FR")
        if found[1] is None:
            days.add((0, _DAYS.index(found[2])))
            continue
        number, most = int(found[1]), 5 if freq == "MONTHLY" else 53
        if freq not in ("MONTHLY", "YEARLY") or by_week:
            raise InvalidRule(
                f"BYDAY: {part[:20]} counts within a month or a year, so it goes with FREQ=MONTHLY, or with "
                f"FREQ=YEARLY without BYWEEKNO; write {found[2]}"
            )
        if not 1 <= abs(number) <= most:
            raise InvalidRule(f"BYDAY: {part[:20]} counts from 1 to {most}, or from -1 to -{most}")
        days.add((number, _DAYS.index(found[2])))
    return tuple(sorted(days))


def _numbers(name: str, text: str | None, freq: Frequency) -> tuple[int, ...]:
    if text is None:
        return ()
    low, high, signed, not_with = _PARTS[name]
    if freq in not_with:
        others = [other for other in _FREQUENCIES if other not in not_with]
        raise InvalidRule(f"{name} does not go with FREQ={freq}; it goes with {', '.join(others)}")
    values = set()
    for part in text.split(","):
        if name == "BYSECOND" and part.strip() == "60":
            raise InvalidRule("BYSECOND: leap seconds are not counted here; write 59, or 0 of the next minute")
        if not re.fullmatch(r"[+-]?[0-9]{1,3}" if signed else r"[0-9]{1,3}", part.strip()):
            raise InvalidRule(f"{name}: {part[:20]!r} is no number; write one from {low} to {high}")
        value = int(part)
        if not low <= (abs(value) if signed else value) <= high:
            below = f" or -{low} to -{high}" if signed else ""
            raise InvalidRule(f"{name}: {value} is outside {low} to {high}{below}")
        values.add(value)
    return tuple(sorted(values))
