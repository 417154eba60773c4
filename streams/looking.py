"""What loops share: how they wait, how often they look at the partitions of their process, and who they ask as."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

ACTOR = "scheduler"

LOOK = 5.0
"""Seconds after which it is asked again which partitions are this process's."""

PAUSE = 0.5
"""Seconds before what could not be decided is tried again."""


async def set_within(event: asyncio.Event, seconds: float = LOOK) -> None:
    """Returns when the event is set, or after so many seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def until(holds: Callable[[], bool], changed: asyncio.Event) -> None:
    """Returns when `holds()`, which is asked at once, and again whenever `changed` is set."""
    while not holds():
        changed.clear()
        await changed.wait()
