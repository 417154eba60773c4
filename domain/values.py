"""The units everything in the domain is counted in."""

from typing import TypeAlias

Instant: TypeAlias = int
"""A moment: milliseconds since 1970-01-01T00:00Z, leap seconds not counted."""

Millis: TypeAlias = int
"""A length of time in milliseconds."""

Json: TypeAlias = str
"""Opaque JSON text. Its nesting and size are checked once, where it enters."""

SECOND: Millis = 1_000
MINUTE: Millis = 60 * SECOND
HOUR: Millis = 60 * MINUTE
DAY: Millis = 24 * HOUR
