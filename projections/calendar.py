"""Names of days and months, in UTC, for rows that are kept by them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from taskscheduler.domain.values import DAY, SECOND, Instant


def day_of(instant: Instant) -> str:
    """The day, like `2026-11-24`."""
    return _day(instant // DAY)


def month_of(instant: Instant) -> str:
    """The month, like `2026-11`."""
    return _day(instant // DAY)[:7]


@lru_cache(maxsize=64)
def _day(number: int) -> str:
    return datetime.fromtimestamp(number * DAY // SECOND, UTC).date().isoformat()
