"""The log on Kafka, read in bulk by tools; nothing is made there, nobody's place in it is touched."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from taskscheduler.commands.ports import Entry, LogUnavailable
from taskscheduler.streams.codec import Unreadable, decode_envelope
from taskscheduler.streams.kafka.client_options import KafkaSettings, why
from taskscheduler.streams.kafka.consumers import stop_consumer
from taskscheduler.streams.kafka.entries import record_of
from taskscheduler.streams.kafka.feed import consumer_options
from taskscheduler.streams.kafka.genesis import find
from taskscheduler.streams.kafka.messages import Genesis
from taskscheduler.streams.kafka.partitioning import partition_of
from taskscheduler.streams.kafka.topics import topics
from taskscheduler.streams.replay.source import BATCH, WHOLE, Raw, Share

WRITTEN_AT = "written-at"
"""The header of a message that was brought from another log: when it was appended there, in milliseconds."""


class KafkaSource:
    """Made by `open`. Raises LogUnavailable when the brokers do not answer in time."""

    def __init__(self, settings: KafkaSettings, genesis: Genesis, consumer: Any) -> None:
        self.log_id = genesis.log_id
        self.partitions = genesis.partitions
        self._topic = topics(settings.topic_prefix).decisions
        self._timeout = settings.request_timeout / 1000
        self._settings = settings
        self._consumer = consumer

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, settings: KafkaSettings) -> AsyncIterator[KafkaSource | None]:
        """The log that is there, None when there is none. Raises KafkaRefused, LogUnavailable."""
        async with _consumer(settings) as consumer:
            topic = topics(settings.topic_prefix).decisions
            try:
                genesis = await find(consumer, topic) if topic in await consumer.topics() else None
            except (KafkaError, OSError, TimeoutError) as error:
                raise LogUnavailable(f"the beginning of {topic} cannot be read: {why(error)}") from None
            yield None if genesis is None else cls(settings, genesis, consumer)

    async def ends(self) -> Mapping[int, int]:
        """By partition, the position of the last record."""
        places = [TopicPartition(self._topic, partition) for partition in range(self.partitions)]
        try:
            async with asyncio.timeout(self._timeout):
                found = await self._consumer.end_offsets(places)
        except (KafkaError, OSError, TimeoutError) as error:
            raise LogUnavailable(f"Kafka does not say where the log ends: {why(error)}") from None
        return {place.partition: found[place] - 1 for place in places}

    async def raw(self, partition: int, after: int, to: int) -> AsyncGenerator[list[Raw]]:
        """What lies at the positions after < p <= to, in order; nothing for what no reader can take."""
        async for messages in self._messages(partition, after, to):
            yield [raw for message in messages if (raw := self._raw(message)) is not None]

    async def entries(self, partition: int, after: int, to: int, share: Share = WHOLE) -> AsyncGenerator[list[Entry]]:
        """The same decoded, of the streams in a share. Raises UnknownEvent for what a newer release wrote."""
        async for messages in self._messages(partition, after, to):
            batch = []
            for message in messages:
                # By what the record says, as every reader does: keys of messages are for people.
                record = None if message.value is None else record_of(message.value, partition, self.partitions)
                if record is not None and share.holds(record.stream):
                    batch.append(Entry(partition, message.offset, message.timestamp, record))
            yield batch

    def _raw(self, message: Any) -> Raw | None:
        try:
            stream = decode_envelope(message.value or b"").stream
        except Unreadable:
            return None
        if partition_of(stream, self.partitions) != message.partition:
            return None
        stated = (int(value) for name, value in message.headers if name == WRITTEN_AT and value.isdigit())
        written_at = next(stated, message.timestamp)
        return Raw(message.partition, message.offset, message.timestamp, message.value, written_at)

    async def _messages(self, partition: int, after: int, to: int) -> AsyncGenerator[list[Any]]:
        if to <= after:
            return
        place = TopicPartition(self._topic, partition)
        async with _consumer(self._settings) as consumer:
            consumer.assign([place])
            position = max(1, after + 1)
            consumer.seek(place, position)
            while position <= to:
                found = await self._fetch(consumer, place, position)
                position = await consumer.position(place)
                yield [message for message in found if message.offset <= to]

    async def _fetch(self, consumer: Any, place: TopicPartition, position: int) -> list[Any]:
        """The next messages, of which there are some; none where Kafka's own marks stood."""
        try:
            async with asyncio.timeout(self._timeout):
                while True:
                    found = await consumer.getmany(timeout_ms=200, max_records=BATCH)
                    if found or await consumer.position(place) > position:
                        return list(found.get(place, ()))
        except (KafkaError, OSError, TimeoutError) as error:
            raise LogUnavailable(f"{place.topic} cannot be read at position {position}: {why(error)}") from None


@contextlib.asynccontextmanager
async def _consumer(settings: KafkaSettings) -> AsyncIterator[Any]:
    consumer = AIOKafkaConsumer(**consumer_options(settings))
    try:
        try:
            await consumer.start()
        except (KafkaError, OSError) as error:
            raise LogUnavailable(f"Kafka is not reached: {why(error)}") from None
        yield consumer
    finally:
        await stop_consumer(consumer)
