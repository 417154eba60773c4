"""How a log begins: the first message of each partition says which log it is and how many partitions it has.

It is always at offset 0, since nobody appends before having read it there. Where several instances begin a log at
once, each partition keeps the first of their messages; the others are unreadable to every reader and passed over. All
partitions carry the id that won in partition 0, since the others are begun only after that was read.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from taskscheduler.streams.kafka.client_options import KafkaSettings, client_options, why
from taskscheduler.streams.kafka.consumers import stop_consumer
from taskscheduler.streams.kafka.messages import Genesis
from taskscheduler.streams.kafka.producers import stop_producer
from taskscheduler.streams.kafka.refusals import KafkaRefused

KEY = b"genesis"
"""Key of these messages; that of a decision is its stream."""

_LONGEST = 30.0
"""Seconds for connecting, a read or a write. While most brokers are away, a producer would try again without an end."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Genesis)


async def find_or_begin(settings: KafkaSettings, topic: str) -> Genesis:
    """The first message of partition 0, after making sure that every partition has its own. Raises KafkaRefused."""
    try:
        async with _clients(settings) as (consumer, producer):
            return await _find_or_begin(settings, topic, consumer, producer)
    except (KafkaError, TimeoutError, OSError) as error:
        raise KafkaRefused(f"the beginning of {topic} cannot be read: {why(error)}") from None


async def find(consumer: Any, topic: str) -> Genesis | None:
    """The first message of partition 0, None when there is none yet. Raises KafkaRefused, KafkaError, TimeoutError."""
    value = await _first(consumer, topic, 0)
    return None if value is None else _checked(topic, 0, value)


async def _find_or_begin(settings: KafkaSettings, topic: str, consumer: Any, producer: Any) -> Genesis:
    count = len(await producer.partitions_for(topic))
    if count != settings.partitions:
        raise KafkaRefused(
            f"kafka.partitions: is {settings.partitions}, and {topic} has {count}: it is fixed when a log is made"
        )
    log_id = uuid.uuid4().hex
    first = None
    for partition in range(count):
        wanted = Genesis(log_id, count, partition)
        value = await _first(consumer, topic, partition)
        if value is None:
            async with asyncio.timeout(_LONGEST):
                await producer.send_and_wait(topic, _encoder.encode(wanted), KEY, partition)
            value = await _first(consumer, topic, partition)
        found = _checked(topic, partition, value)
        if found.partitions != count:
            raise KafkaRefused(
                f"{topic} has {count} partitions and was begun with {found.partitions}: none can be added to a log"
            )
        if first is None:
            first, log_id = found, found.log_id
        if found != msgspec.structs.replace(wanted, log_id=log_id):
            raise KafkaRefused(
                f"{topic}: partition {partition} is partition {found.partition} of log {found.log_id}, and partition 0 "
                f"is of log {log_id}: the topic was put together from several logs"
            )
    assert first is not None
    return first


def _checked(topic: str, partition: int, value: bytes | None) -> Genesis:
    try:
        return _decoder.decode(value or b"")
    except msgspec.DecodeError:
        raise KafkaRefused(
            f"{topic}: partition {partition} does not begin as a log of decisions does; another program writes to it, "
            "so choose another kafka.topic_prefix"
        ) from None


async def _first(consumer: Any, topic: str, partition: int) -> bytes | None:
    """The value of the message at offset 0, None when there is none yet."""
    place = TopicPartition(topic, partition)
    begin = (await consumer.beginning_offsets([place]))[place]
    if begin > 0:
        raise KafkaRefused(
            f"{topic}: what partition {partition} held before offset {begin} was deleted; the log must be whole: "
            "restore the topic, or begin another under a new kafka.topic_prefix"
        )
    if (await consumer.end_offsets([place]))[place] == 0:
        return None
    consumer.assign([place])
    consumer.seek(place, 0)
    async with asyncio.timeout(_LONGEST):
        while not (found := await consumer.getmany(timeout_ms=1_000, max_records=1)):
            pass
    value: bytes = found[place][0].value or b""
    return value


@contextlib.asynccontextmanager
async def _clients(settings: KafkaSettings) -> AsyncIterator[tuple[Any, Any]]:
    options = client_options(settings)
    async with contextlib.AsyncExitStack() as stack:
        consumer = AIOKafkaConsumer(**options, auto_offset_reset="none", enable_auto_commit=False)
        stack.push_async_callback(stop_consumer, consumer)
        producer = AIOKafkaProducer(**options, enable_idempotence=True)
        stack.push_async_callback(stop_producer, producer)
        async with asyncio.timeout(_LONGEST):
            await consumer.start()
            await producer.start()
        yield consumer, producer
