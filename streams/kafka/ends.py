"""Where the partitions end: one request for all who ask while another is under way."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from taskscheduler.commands.ports import LogUnavailable
from taskscheduler.streams.kafka.client_options import KafkaSettings, why
from taskscheduler.streams.kafka.consumers import start_consumer, stop_consumer
from taskscheduler.streams.kafka.feed import consumer_options


class Ends:
    """Has connections of its own: brokers answer a connection in order, and a fetch waits for what is to come.

    After a failure they are made anew: a broker that stands still keeps its connections, and who asks it would
    never hear that another leads.
    """

    def __init__(self, settings: KafkaSettings, topic: str, partitions: int) -> None:
        self._places = [TopicPartition(topic, partition) for partition in range(partitions)]
        self._options = consumer_options(settings)
        self._bound = settings.append_timeout / 1000
        self._consumer: Any = None
        self._running: asyncio.Task[list[int]] | None = None
        self._queued: asyncio.Task[list[int]] | None = None
        self._stopping: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect. Raises KafkaError."""
        self._consumer = await start_consumer(self._options)

    async def close(self) -> None:
        """Closes the connection; who still asks is told LogUnavailable."""
        for task in (self._running, self._queued):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, LogUnavailable):
                    await task
        self._give_up()
        if self._stopping:
            await asyncio.wait(self._stopping)

    async def ask(self) -> list[int]:
        """By partition the position of the last entry that was there at the call or later. Raises LogUnavailable."""
        if self._queued is None:
            self._queued = asyncio.get_running_loop().create_task(self._ask(self._running))
        asked = self._queued
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            if asked.cancelled():
                raise LogUnavailable("the log is closed") from None
            raise

    async def _ask(self, before: asyncio.Task[list[int]] | None) -> list[int]:
        # A request that is under way may have been answered already: who asks now waits for the next.
        if before is not None:
            await asyncio.wait([before])
        self._running, self._queued = self._queued, None
        try:
            async with asyncio.timeout(self._bound):
                if self._consumer is None:
                    await self.start()
                ends = await self._consumer.end_offsets(self._places)
        except (KafkaError, OSError, TimeoutError) as error:
            self._give_up()
            raise LogUnavailable(f"Kafka does not say where the log ends: {why(error)}") from None
        finally:
            self._running = None
        return [ends[place] - 1 for place in self._places]

    def _give_up(self) -> None:
        if self._consumer is not None:
            stopping = asyncio.get_running_loop().create_task(stop_consumer(self._consumer))
            self._consumer = None
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)
