"""How a consumer is started, and how it is ended whatever it is doing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer


async def start_consumer(options: Mapping[str, Any]) -> Any:
    """A consumer that is connected; one that cannot be leaves no connection. Raises KafkaError."""
    consumer = AIOKafkaConsumer(**options)
    try:
        await consumer.start()
    except BaseException:
        await stop_consumer(consumer)
        raise
    return consumer


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
