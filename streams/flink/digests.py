"""Asking the job what it keeps: one marker for many streams, one digest back for each.

Markers have a topic of their own. On the log they would take positions for ever and be passed over by every reader; and
since a stream's digest says the version it is of, nothing is gained by their order among decisions.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from taskscheduler.streams.flink.messages import Digest, Marker
from taskscheduler.streams.kafka.client_options import KafkaSettings, client_options, why
from taskscheduler.streams.kafka.refusals import KafkaRefused
from taskscheduler.streams.kafka.topics import topics

STREAMS_OF_A_MARKER = 500

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Digest).decode


async def digests(settings: KafkaSettings, streams: Sequence[str], timeout: float) -> dict[str, Digest]:
    """What the job keeps of these streams. One that is missing was not answered within `timeout` seconds of silence.

    Raises KafkaRefused.
    """
    names = topics(settings.topic_prefix)
    options = client_options(settings)
    marker = uuid.uuid4().hex
    found: dict[str, Digest] = {}
    try:
        async with (
            AIOKafkaConsumer(**options, auto_offset_reset="none", enable_auto_commit=False) as consumer,
            AIOKafkaProducer(**options, enable_idempotence=True) as producer,
        ):
            place = TopicPartition(names.digests, 0)
            consumer.assign([place])
            consumer.seek(place, (await consumer.end_offsets([place]))[place])
            markers = (_encode(Marker(marker, some)) for some in _parts(streams))
            await asyncio.gather(*[await producer.send(names.markers, one) for one in markers])
            wanted = len(set(streams))
            while len(found) < wanted and (batch := await consumer.getmany(place, timeout_ms=round(timeout * 1_000))):
                for message in batch[place]:
                    digest = _decode(message.value)
                    if digest.marker == marker:
                        found[digest.stream] = digest
    except (KafkaError, OSError, TimeoutError) as error:
        raise KafkaRefused(f"digests of the timers' job cannot be read: {why(error)}") from None
    return found


def _parts(streams: Sequence[str]) -> Iterator[tuple[str, ...]]:
    rest = iter(streams)
    while some := tuple(islice(rest, STREAMS_OF_A_MARKER)):
        yield some
