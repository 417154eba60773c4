"""Public holidays, from the library `holidays`."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from taskscheduler.domain.calendar_definition import Holidays


class UnknownHolidays(ValueError):
    """The library knows no such `field`: a sentence that says what it does know."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field


def library_version() -> str:
    """The release that the days come from."""
    return importlib.metadata.version("holidays")


def holidays_of(wanted: Holidays, span: Iterable[int]) -> set[date]:
    """The days in the years that are named, else in those of the span. Raises UnknownHolidays."""
    regions = _countries().get(wanted.country)
    if regions is None:
        said = f"{_shown(wanted.country)} is no country whose holidays are known; use a code of ISO 3166-1, such as DE"
        raise UnknownHolidays("country", said)
    region = wanted.region
    if region is not None:
        region = region.removeprefix(f"{wanted.country}-")
        if region not in regions:
            known = ", ".join(regions) if regions else "no regions"
            raise UnknownHolidays("region", f"{_shown(region)} is none of {wanted.country}, which has {known}"[:500])
    supported = _country(wanted.country).supported_categories
    for name in wanted.categories:
        if name not in supported:
            known = ", ".join(supported)
            raise UnknownHolidays("categories", f"{_shown(name)} is not known for {wanted.country}, which has {known}")
    years = set(wanted.years or span)
    found = _country(wanted.country, subdiv=region, years=years, categories=wanted.categories or None)
    return {day for day in found if day.year in years}


def _country(code: str, **more: Any) -> Any:
    import holidays

    return holidays.country_holidays(code, **more)


@functools.cache
def _countries() -> Mapping[str, list[str]]:
    import holidays

    return holidays.list_supported_countries(include_aliases=False)


def _shown(text: str) -> str:
    return repr(text[:40])
