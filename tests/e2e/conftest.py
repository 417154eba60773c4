"""Schedulers to test as their users see them, in either profile."""

from __future__ import annotations

import msgspec


class Scheduler(msgspec.Struct, frozen=True):
    """A running scheduler: the base URLs of its instances."""

    urls: tuple[str, ...]
