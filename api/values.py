"""Instants as the API reads and writes them; inside, they are whole milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from taskscheduler.domain.values import Instant
from taskscheduler.domain.zones import offsets

END_OF_TIME: Instant = 7_258_118_400_000
"""2200-01-01T00:00Z: no instant in a request lies at or after it."""

HINT = "write an RFC 3339 instant with an offset, such as 2030-01-31T08:00:00Z or 2030-01-31T09:00:00+01:00"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MINUTE = timedelta(minutes=1)
_INSTANT = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)


def parse_instant(value: object) -> Instant:
    """The instant of an RFC 3339 text, cut to milliseconds. Raises ValueError with what to write instead."""
    match = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(HINT)
    date, time, fraction, offset = match.groups()
    try:
        at = datetime.fromisoformat(f"{date}T{time}{'+00:00' if offset in 'Zz' else offset}")
        instant = (at - _EPOCH) // _MILLISECOND + int(((fraction or "") + "000")[:3])
    except (ValueError, OverflowError):
        raise ValueError(f"there is no such date or time; {HINT}") from None
    if not 0 <= instant < END_OF_TIME:
        raise ValueError("must lie in the years 1970 to 2199")
    return instant


def format_instant(instant: Instant) -> str:
    """RFC 3339 in UTC with milliseconds and `Z`."""
    seconds, millis = divmod(instant, 1000)
    return f"{_second(seconds)}.{millis:03d}Z"


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def offset_of(zone: str, instant: Instant) -> timedelta:
    """How far the clock of a known zone is ahead of UTC at that instant."""
    return timedelta(seconds=offsets(zone).segment(instant // 1000)[2])


def format_local(instant: Instant, offset: timedelta) -> str:
    """The same instant on a clock that is `offset` ahead of UTC, to the minute."""
    minutes = round(offset / _MINUTE)
    local = (_EPOCH + timedelta(milliseconds=instant) + minutes * _MINUTE).replace(tzinfo=None)
    hours, rest = divmod(abs(minutes), 60)
    return f"{local.isoformat(timespec='milliseconds')}{'-' if minutes < 0 else '+'}{hours:02d}:{rest:02d}"
