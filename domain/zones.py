"""Time zones: names, and when their offset from UTC changes. Data from the pinned tzdata package only."""

from __future__ import annotations

import importlib.resources
import re
import zoneinfo
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeAlias
from zoneinfo import ZoneInfo

import tzdata  # type: ignore[import-untyped]

# zoneinfo prefers the system's files, which differ from machine to machine.
zoneinfo.reset_tzpath(())

TZDATA_VERSION: str = tzdata.IANA_VERSION

_PRINTABLE = re.compile(r"[A-Za-z0-9_+/-]{1,64}")
_NAMES = frozenset(importlib.resources.files("tzdata").joinpath("zones").read_text("ascii").split())

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400
_CHUNK = 365 * _DAY
_KEPT_CHUNKS = 64
# In tzdata two changes of one zone are never less than six days apart (a test watches it), so none hides in a step.
_STEP = 3 * _DAY

Segment: TypeAlias = tuple[int, int, int, int]
"""`(start, end, offset, before)`: in start <= t < end (epoch seconds) the local time is t + offset; just before
`start` it was t + before. A segment may be cut where nothing changes: there `before` equals `offset`."""


class InvalidZone(ValueError):
    """The name is not a time zone of the pinned database."""


class Zone:
    """The offsets of one time zone, worked out a year at a time when first asked for."""

    __slots__ = ("_chunks", "_last", "_zone")

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._chunks: dict[int, tuple[list[int], list[Segment]]] = {}
        self._last: Segment = (0, 0, 0, 0)

    def segment(self, at: int) -> Segment:
        """The segment that holds the instant `at` (epoch seconds, years 1970 to 9998)."""
        last = self._last
        if last[0] <= at < last[1]:
            return last
        number = at // _CHUNK
        chunk = self._chunks.get(number)
        if chunk is None:
            if len(self._chunks) >= _KEPT_CHUNKS:
                self._chunks.clear()
            segments = self._segments(number * _CHUNK, (number + 1) * _CHUNK)
            chunk = self._chunks[number] = ([start for start, *_ in segments], segments)
        starts, segments = chunk
        found = segments[bisect_right(starts, at) - 1]
        self._last = found
        return found

    def _segments(self, low: int, high: int) -> list[Segment]:
        segments: list[Segment] = []
        start, before, offset = low, self._offset(low - 1), self._offset(low)
        probed = low
        while probed < high - 1:
            step = min(probed + _STEP, high - 1)
            after = self._offset(step)
            if after != offset:
                change = self._first_change(probed, step, offset)
                segments.append((start, change, offset, before))
                start, before, offset = change, offset, after
            probed = step
        segments.append((start, high, offset, before))
        return segments

    def _first_change(self, low: int, high: int, offset: int) -> int:
        while high - low > 1:
            middle = (low + high) // 2
            if self._offset(middle) == offset:
                low = middle
            else:
                high = middle
        return high

    def _offset(self, at: int) -> int:
        offset = (_EPOCH + timedelta(seconds=at)).astimezone(self._zone).utcoffset()
        assert offset is not None
        return offset.days * _DAY + offset.seconds


@lru_cache(maxsize=1024)
def load_zone(name: str) -> ZoneInfo:
    """The zone of that IANA name, such as `Europe/Berlin`; raises InvalidZone, never anything else."""
    if name not in _NAMES:
        shown = name if _PRINTABLE.fullmatch(name) else "this"
        raise InvalidZone(
            f"{shown} is no time zone of tzdata {TZDATA_VERSION}; use a name such as Europe/Berlin or UTC"
        )
    return ZoneInfo(name)


@lru_cache(maxsize=1024)
def offsets(name: str) -> Zone:
    """The offsets of the zone of that name; raises InvalidZone."""
    return Zone(load_zone(name))
