"""Durations as people and settings write them, in whole milliseconds inside."""

from __future__ import annotations

import re
from decimal import Decimal

from taskscheduler.domain.values import DAY, HOUR, MINUTE, SECOND, Millis

LONGEST: Millis = 36_525 * DAY
"""A hundred years: longer ones are typing errors."""

_UNITS: dict[str, Millis] = {"w": 7 * DAY, "d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND, "ms": 1}
_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
_PLAIN = re.compile(_NUMBER)
_SHORT = re.compile(rf"(?:{_NUMBER}(?:ms|[wdhms]))+")
_SHORT_PART = re.compile(rf"({_NUMBER})(ms|[wdhms])")
_ISO = re.compile(
    rf"P(?:({_NUMBER})W|(?:({_NUMBER})D)?(?:T(?=[0-9])(?:({_NUMBER})H)?(?:({_NUMBER})M)?(?:({_NUMBER})S)?)?)", re.I
)
_MONTHS = re.compile(r"P(?=.)(?:([0-9]{1,4})Y)?(?:([0-9]{1,4})M)?", re.I)
_MOST_MONTHS = 1_200
_ISO_UNITS = (7 * DAY, DAY, HOUR, MINUTE, SECOND)


def parse_duration(value: str | int | float) -> Millis:
    """Milliseconds of `PT1M30S`, `1m30s`, `500ms`, `2d` or a number of seconds. Raises ValueError that says why not."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("a duration is text such as 1m30s, or a number of seconds")
    text = str(value) if isinstance(value, str) else _number(value)
    total = _total(text.strip()) if len(text) <= 64 else None
    if total is None:
        raise ValueError(f"not a duration: {text[:64]!r} (write it as 1m30s, PT1M30S or a number of seconds)")
    if total > LONGEST:
        raise ValueError(f"{text!r} is longer than a hundred years")
    millis = int(total.to_integral_value())
    if millis == 0 and total > 0:
        raise ValueError(f"{text!r} is shorter than a millisecond")
    return millis


def format_duration(millis: Millis) -> str:
    """ISO 8601, such as `PT1M30S`, `P30D` or `PT0.5S`."""
    days, rest = divmod(millis, DAY)
    hours, rest = divmod(rest, HOUR)
    minutes, rest = divmod(rest, MINUTE)
    seconds = f"{rest / 1000:.3f}".rstrip("0").rstrip(".")
    time = f"{hours}H" * bool(hours) + f"{minutes}M" * bool(minutes) + f"{seconds}S" * bool(rest)
    date = f"{days}D" * bool(days)
    if not date and not time:
        return "PT0S"
    return f"P{date}" + (f"T{time}" if time else "")


def _number(value: int | float) -> str:
    if not 0 <= value < 1e15:
        raise ValueError("a duration is a number of seconds from 0 to a hundred years")
    return f"{value:.9f}" if isinstance(value, float) else str(value)


def _total(text: str) -> Decimal | None:
    if _PLAIN.fullmatch(text):
        return Decimal(text) * SECOND
    if _SHORT.fullmatch(text):
        return sum((Decimal(number) * _UNITS[unit] for number, unit in _SHORT_PART.findall(text)), Decimal(0))
    match = _ISO.fullmatch(text)
    if match is None or not any(match.groups()):
        return None
    return sum(
        (Decimal(number) * unit for number, unit in zip(match.groups(), _ISO_UNITS, strict=True) if number), Decimal(0)
    )


def has_no_length(value: object) -> bool:
    """Whether the text names months or years, which are not all of the same length."""
    return isinstance(value, str) and _MONTHS.fullmatch(value.strip()) is not None


def parse_steps(value: str | int | float) -> tuple[int, int]:
    """Days and months, of which one is 0, of `1d`, `P2W`, `P1M` or `P1Y`. Raises ValueError that says why not."""
    if isinstance(value, str) and (found := _MONTHS.fullmatch(value.strip())):
        months = int(found[1] or 0) * 12 + int(found[2] or 0)
        if not 1 <= months <= _MOST_MONTHS:
            raise ValueError("must be from P1M to P100Y")
        return 0, months
    days, rest = divmod(parse_duration(value), DAY)
    if rest or not days:
        raise ValueError("must be whole days, weeks, months or years by a clock; leave timezone out for elapsed time")
    return days, 0


def format_steps(days: int, months: int) -> str:
    """ISO 8601, such as `P1D`, `P3M` or `P1Y`."""
    if not months:
        return f"P{days}D"
    return f"P{months}M" if months % 12 else f"P{months // 12}Y"
