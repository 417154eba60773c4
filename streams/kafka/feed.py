"""Follows partitions of the log with one consumer, without a group: one loop fetches for all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from taskscheduler.commands.ports import Entry
from taskscheduler.streams.codec import UnknownEvent
from taskscheduler.streams.kafka.buffer import PartitionBuffer
from taskscheduler.streams.kafka.client_options import KafkaSettings, client_options, why
from taskscheduler.streams.kafka.consumers import stop_consumer
from taskscheduler.streams.kafka.entries import entry_of
from taskscheduler.streams.kafka.refusals import LogOutOfRange

_POLL = 1_000
"""Milliseconds. How long one call of the consumer waits; whatever comes ends it."""


_FETCH = 100
"""Milliseconds. A fetch that finds nothing ends after this: one partition more can only be asked for in the next."""

PACE = 0.005
"""Seconds between two fetches that find something: one costs broker and reader more than the records that it brings."""


def consumer_options(settings: KafkaSettings) -> dict[str, Any]:
    """For readers of the log: they keep their own positions, and one that is not there is an error."""
    return {
        **client_options(settings),
        "auto_offset_reset": "none",
        "enable_auto_commit": False,
        "fetch_max_wait_ms": _FETCH,
    }


def out_of_range(topic: str, partition: int, position: int) -> LogOutOfRange:
    """What a reader is told whose next position is not on the log."""
    return LogOutOfRange(
        f"{topic}: partition {partition} holds no position {position}: records were deleted, or it is another topic"
    )


def marks(partition: int, start: int, end: int) -> list[Entry]:
    """Positions without a message: Kafka's marks of transactions, which are not ours. They hold nothing for anybody."""
    return [Entry(partition, position, 0, None) for position in range(start, end)]


class Feed:
    """A buffer for each partition, filled from where its first reader begins. `failure` ends all reading."""

    def __init__(self, settings: KafkaSettings, topic: str, ends: Sequence[int], pace: float = PACE) -> None:
        self._settings = settings
        self._pace = pace
        self._topic = topic
        self._places = [TopicPartition(topic, partition) for partition in range(len(ends))]
        self._buffers = [PartitionBuffer(end) for end in ends]
        self._paused: set[int] = set()
        self._consumer: Any = None
        self._task: asyncio.Task[None] | None = None
        self.failure: Exception | None = None

    async def start(self) -> None:
        """Connect. Raises KafkaError."""
        self._consumer = AIOKafkaConsumer(**consumer_options(self._settings))
        await self._consumer.start()
        self._consumer.assign(self._places)
        for place in self._places:
            # Nothing is fetched before somebody reads, but a place without a position would be an error.
            self._consumer.seek(place, 0)
            self._consumer.pause(place)
        self._task = asyncio.create_task(self._run(), name="kafka feed")

    async def close(self) -> None:
        """Tells who waits, and closes the connections."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._consumer is not None:
            await stop_consumer(self._consumer)

    def buffer(self, partition: int, position: int) -> PartitionBuffer:
        """The buffer of a partition; if nothing was read there yet it begins at `position`. Raises `failure`."""
        if self.failure is not None:
            raise self.failure
        buffer = self._buffers[partition]
        if not buffer.started:
            buffer.start(min(position, buffer.known_end + 1))
            self._consumer.seek(self._places[partition], buffer.next)
            self._consumer.resume(self._places[partition])
        return buffer

    def known(self, partition: int) -> PartitionBuffer:
        """The buffer as it is, for what is known of the partition's end."""
        return self._buffers[partition]

    def was_read(self, partition: int) -> None:
        """Somebody took entries: go on fetching where that had been put off."""
        if partition in self._paused and not self._buffers[partition].full:
            self._paused.discard(partition)
            self._consumer.resume(self._places[partition])

    def fail(self, error: Exception) -> None:
        """End all reading."""
        if self.failure is None:
            self.failure = error
            for buffer in self._buffers:
                buffer.fail(error)

    async def _run(self) -> None:
        try:
            while True:
                fetched = await self._fetch()
                for place, messages in fetched.items():
                    self._take(place.partition, messages)
                if fetched:
                    await asyncio.sleep(self._pace)
                else:
                    await self._pass_over_marks()
        except Exception as error:
            self.fail(error)

    async def _fetch(self) -> dict[TopicPartition, list[Any]]:
        try:
            fetched: dict[TopicPartition, list[Any]] = await self._consumer.getmany(timeout_ms=_POLL)
        except OffsetOutOfRangeError as error:
            place, position = next(iter(error.args[0].items()))
            raise out_of_range(self._topic, place.partition, position) from None
        except KafkaError as error:
            if not error.retriable:
                raise LogOutOfRange(f"{self._topic} cannot be read: {why(error)}") from None
            await asyncio.sleep(self._settings.retry_backoff / 1000)
            return {}
        return fetched

    async def _pass_over_marks(self) -> None:
        for place, buffer in zip(self._places, self._buffers, strict=True):
            if buffer.started and (reached := await self._consumer.position(place)) > buffer.next:
                passed = marks(place.partition, buffer.next, reached)
                buffer.add(passed, [0] * len(passed))

    def _take(self, partition: int, messages: Sequence[Any]) -> None:
        buffer = self._buffers[partition]
        entries: list[Entry] = []
        sizes: list[int] = []
        position = buffer.next
        unknown = None
        for message in messages:
            if position < message.offset:
                passed = marks(partition, position, message.offset)
                entries += passed
                sizes += [0] * len(passed)
                position = message.offset
            try:
                entries.append(entry_of(message, len(self._buffers)))
            except UnknownEvent as error:
                unknown = error
                break
            sizes.append(len(message.value or b""))
            position += 1
        if entries:
            buffer.add(entries, sizes)
        if unknown is not None:
            buffer.stop_at(unknown)
            self._consumer.pause(self._places[partition])
        elif buffer.full:
            self._paused.add(partition)
            self._consumer.pause(self._places[partition])
