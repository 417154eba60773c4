"""The producer in force. One that failed is given up for a new one: aiokafka's cannot go on after a fatal error."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerClosed

from taskscheduler.commands.ports import LogUnavailable
from taskscheduler.streams.kafka.client_options import KafkaSettings, client_options, why

BATCH_BYTES = 1024 * 1024
"""Of one message set. A larger record makes one of its own."""

_LAST_WORD = 1.0
"""Seconds that a producer is given to send what it still holds before it is cut off."""


class Producers:
    """Idempotent producers with acks=all, one after the other."""

    def __init__(self, settings: KafkaSettings) -> None:
        compression = None if settings.compression == "none" else settings.compression
        self._options = {
            **client_options(settings),
            "acks": "all",
            "enable_idempotence": True,
            "max_batch_size": BATCH_BYTES,
            "compression_type": compression,
        }
        self._pause = settings.retry_backoff / 1000
        self._producer: Any = None
        self._starting = asyncio.Lock()
        self._not_before = 0.0
        self._stopping: set[asyncio.Task[None]] = set()
        self.made = 0
        """How many there were."""

    async def get(self) -> Any:
        """The producer in force; makes one when there is none. Raises LogUnavailable."""
        if self._producer is None:
            async with self._starting:
                if self._producer is None:
                    self._producer = await self._start()
        return self._producer

    def give_up(self, producer: Any) -> None:
        """The next `get` makes a new one; what the old one was not told to be safe is sent no more."""
        if producer is self._producer:
            self._producer = None
            stopping = asyncio.get_running_loop().create_task(stop_producer(producer))
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)

    async def close(self) -> None:
        """Returns when all connections are closed."""
        if self._producer is not None:
            self.give_up(self._producer)
        while self._stopping:
            await asyncio.wait(self._stopping)

    async def _start(self) -> Any:
        loop = asyncio.get_running_loop()
        if loop.time() < self._not_before:
            raise LogUnavailable("Kafka is not reached: a producer could not be started a moment ago")
        producer = AIOKafkaProducer(**self._options)
        try:
            await producer.start()
        except BaseException as error:
            self._not_before = loop.time() + self._pause
            await stop_producer(producer)
            if isinstance(error, KafkaError | OSError | TimeoutError):
                raise LogUnavailable(f"Kafka is not reached: {why(error)}") from None
            raise
        self.made += 1
        return producer


async def stop_producer(producer: Any) -> None:
    """Let it send what it holds, but not for long."""
    stopping = asyncio.ensure_future(producer.stop())
    await asyncio.wait([stopping], timeout=_LAST_WORD)
    if not stopping.done():
        # It waits until everything is sent, for ever where no broker answers, and there is no public way to end that.
        producer._message_accumulator.fail_all(ProducerClosed())
        await producer.client.close()
    with contextlib.suppress(Exception):  # nobody waits for what it may still complain about
        await stopping
