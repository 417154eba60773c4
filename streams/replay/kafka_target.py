"""The log on Kafka, to be appended to by an import."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka.errors import KafkaError

from taskscheduler.commands.ports import LogUnavailable
from taskscheduler.streams.kafka.client_options import KafkaSettings, why
from taskscheduler.streams.kafka.partitioning import partition_of
from taskscheduler.streams.kafka.producers import Producers
from taskscheduler.streams.kafka.topics import topics
from taskscheduler.streams.replay.importing import Brought
from taskscheduler.streams.replay.kafka_source import WRITTEN_AT, KafkaSource


class KafkaTarget:
    """The brokers say when a record is appended; when it first was goes into a header. `close` ends it."""

    def __init__(self, settings: KafkaSettings, source: KafkaSource) -> None:
        self.source = source
        self._topic = topics(settings.topic_prefix).decisions
        self._producers = Producers(settings)
        self._bound = settings.request_timeout / 1000

    def partition_of(self, stream: str) -> int:
        """The partition that holds the stream."""
        return partition_of(stream, self.source.partitions)

    async def put(self, records: Sequence[Brought]) -> None:
        """Append durably, in order within each partition. Raises LogUnavailable: some may be there and some not."""
        producer = await self._producers.get()
        try:
            async with asyncio.timeout(self._bound):
                landing = [
                    await producer.send(
                        self._topic,
                        brought.data,
                        brought.stream.encode(),
                        self.partition_of(brought.stream),
                        headers=[(WRITTEN_AT, str(brought.written_at).encode())],
                    )
                    for brought in records
                ]
                await asyncio.gather(*landing)
        except (KafkaError, OSError, TimeoutError) as error:
            self._producers.give_up(producer)
            raise LogUnavailable(f"Kafka did not take the records: {why(error)}; the same command goes on") from None

    async def close(self) -> None:
        """End the connections."""
        await self._producers.close()
