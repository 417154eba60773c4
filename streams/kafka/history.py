"""Reads anywhere on the log, for those who are far from its end."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from taskscheduler.commands.ports import Entry, LogUnavailable
from taskscheduler.streams.codec import UnknownEvent
from taskscheduler.streams.kafka.client_options import KafkaSettings, why
from taskscheduler.streams.kafka.consumers import start_consumer, stop_consumer
from taskscheduler.streams.kafka.entries import entry_of
from taskscheduler.streams.kafka.feed import consumer_options, marks, out_of_range


class History:
    """One reader at a time; reading on where the last one stopped costs no new request."""

    def __init__(self, settings: KafkaSettings, topic: str, partitions: int) -> None:
        self._settings = settings
        self._topic = topic
        self._partitions = partitions
        self._consumer: Any = None
        self._next: tuple[int, int] | None = None
        self._turn = asyncio.Lock()

    async def read(self, partition: int, position: int, limit: int) -> list[Entry]:
        """Up to `limit` entries from `position` on, of which there is one. Raises LogUnavailable, LogOutOfRange,
        UnknownEvent.
        """
        async with self._turn:
            try:
                return await self._read(partition, position, limit)
            except OffsetOutOfRangeError:
                raise out_of_range(self._topic, partition, position) from None
            except (KafkaError, OSError, TimeoutError) as error:
                raise LogUnavailable(f"{self._topic} cannot be read: {why(error)}") from None

    async def close(self) -> None:
        """Closes the connections."""
        async with self._turn:
            if self._consumer is not None:
                await stop_consumer(self._consumer)
                self._consumer = None

    async def _read(self, partition: int, position: int, limit: int) -> list[Entry]:
        place = TopicPartition(self._topic, partition)
        if self._consumer is None:
            self._consumer = await start_consumer(consumer_options(self._settings))
        if self._next != (partition, position):
            self._consumer.assign([place])
            self._consumer.seek(place, position)
        self._next = None
        entries: list[Entry] = []
        async with asyncio.timeout(self._settings.request_timeout / 1000):
            while not (messages := (await self._consumer.getmany(timeout_ms=1_000, max_records=limit)).get(place)):
                pass
        for message in messages:
            entries += marks(partition, position, message.offset)
            if len(entries) >= limit:
                return entries[:limit]
            try:
                entries.append(entry_of(message, self._partitions))
            except UnknownEvent:
                if entries:
                    return entries
                raise
            position = message.offset + 1
        self._next = (partition, position)
        return entries
