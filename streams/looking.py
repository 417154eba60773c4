"""What loops share that work through the partitions of their process: how often they look, and who they ask as."""

from __future__ import annotations

import asyncio
import contextlib

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
