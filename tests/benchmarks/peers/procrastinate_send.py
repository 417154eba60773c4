"""Procrastinate on PostgreSQL: reads one JSON list of [number, due] from standard input and defers them."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime

from procrastinate_app import app, noop


async def _defer(jobs: list[tuple[int, float | None]]) -> None:
    async with app.open_async():
        if not await app.check_connection_async():
            await app.schema_manager.apply_schema_async()
        queued = [{"number": number} for number, due in jobs if due is None]
        for start in range(0, len(queued), 1_000):
            await noop.batch_defer_async(*queued[start : start + 1_000])
        for number, due in jobs:
            if due is not None:
                await noop.configure(schedule_at=datetime.fromtimestamp(due, UTC)).defer_async(number=number)


if __name__ == "__main__":
    asyncio.run(_defer(json.load(sys.stdin)))
