"""Where a job without a savepoint begins to read."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from taskscheduler.streams.kafka.client_options import KafkaSettings, client_options, why
from taskscheduler.streams.kafka.refusals import KafkaRefused


async def begin_with_the_log(settings: KafkaSettings, topic: str, partitions: int, group_id: str) -> None:
    """Let a group read every partition from its first message. Raises KafkaRefused."""
    places = [TopicPartition(topic, partition) for partition in range(partitions)]
    try:
        async with AIOKafkaConsumer(
            **client_options(settings), group_id=group_id, enable_auto_commit=False
        ) as consumer:
            consumer.assign(places)
            await consumer.commit(dict.fromkeys(places, 0))
    except (KafkaError, OSError, TimeoutError) as error:
        raise KafkaRefused(f"offsets of the group {group_id} cannot be set: {why(error)}") from None
