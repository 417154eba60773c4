"""How a consumer is ended, whatever it is doing."""

from __future__ import annotations

import asyncio
from typing import Any


async def stop_consumer(consumer: Any) -> None:
    """Close its connections.

    aiokafka's `stop` breaks off, as if its caller had been cancelled, when a fetch that failed waits to be tried again:
    whenever a broker is away. Then there is no public way to close the rest.
    """
    stopping = asyncio.ensure_future(consumer.stop())
    await asyncio.wait([stopping])
    if stopping.cancelled():
        await consumer._client.close()
    else:
        stopping.result()
