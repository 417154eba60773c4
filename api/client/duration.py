"""Durations as the API writes them."""

import re
from datetime import timedelta

import msgspec

Duration = float | str | timedelta

_UNITS = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[wdhms])")


def seconds(duration: Duration) -> float:
    """Give the seconds of a number, a timedelta, `"1m30s"` or `"PT1M30S"`; raises ValueError for anything else."""
    if isinstance(duration, timedelta):
        value = duration.total_seconds()
    elif isinstance(duration, str):
        value = _parsed(duration)
    else:
        value = float(duration)
    if not 0 <= value < float("inf"):
        raise ValueError(f"not a duration: {duration!r}")
    return value


def _parsed(text: str) -> float:
    parts = _PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    try:
        return msgspec.convert(text, timedelta, strict=False).total_seconds()
    except msgspec.ValidationError:
        raise ValueError(f'not a duration: {text!r} (expected such as "30s" or "PT30S")') from None
