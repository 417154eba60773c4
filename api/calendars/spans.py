"""Days of a calendar as text, in ascending order: `2026-12-25`, several on end as `2026-12-24/2027-01-02`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, timedelta

ONE_DAY = timedelta(days=1)


def spans_of(days: Iterable[date]) -> tuple[str, ...]:
    """The days as text, each once."""
    spans: list[tuple[date, date]] = []
    for day in sorted(set(days)):
        if spans and spans[-1][1] + ONE_DAY == day:
            spans[-1] = spans[-1][0], day
        else:
            spans.append((day, day))
    return tuple(first.isoformat() if first == last else f"{first}/{last}" for first, last in spans)


def days_between(first: date, last: date) -> Iterator[date]:
    """The days from one to another, both included."""
    return (first + timedelta(days=number) for number in range((last - first).days + 1))


def days_of(spans: Iterable[str]) -> Iterator[date]:
    """The days one by one."""
    for span in spans:
        first, _, last = span.partition("/")
        yield from days_between(date.fromisoformat(first), date.fromisoformat(last or first))
