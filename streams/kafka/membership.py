"""Which partitions an instance should prefer, so that those of a role don't all do the same work at once.

A consumer group is used for nothing but its assignment. It gives no guarantee: for a moment two instances may both
have a partition, or none, so whatever is done with it must be harmless twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from taskscheduler.streams.kafka.client_options import KafkaSettings
from taskscheduler.streams.kafka.consumers import stop_consumer
from taskscheduler.streams.kafka.groups import group_options
from taskscheduler.streams.kafka.topics import Topics

_POLL = 10_000
"""Milliseconds. Nothing ever comes; asking shows that this instance is well, and raises what went wrong."""


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]
    """`changed` is called with the partitions after each assignment, one call at a time; only the newest counts."""

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Topics,
        role: str,
        changed: Callable[[Collection[int]], Awaitable[None]] | None = None,
    ) -> None:
        self._settings = settings
        self._topic = topics.decisions
        self._role = role
        self._changed = changed
        self._news = asyncio.Event()
        self._consumer: Any = None
        self.partitions: frozenset[int] = frozenset()
        """What to prefer; empty while not a member. They stay while the brokers are away."""

    async def run(self) -> None:
        """Be a member until cancelled. Raises KafkaError when that cannot go on; it can be run again."""
        consumer = AIOKafkaConsumer(**group_options(self._settings, self._role), auto_offset_reset="latest")
        self._consumer = consumer
        telling = asyncio.create_task(self._tell())
        try:
            consumer.subscribe([self._topic], listener=self)
            await consumer.start()
            while True:
                polling = asyncio.ensure_future(consumer.getmany(timeout_ms=_POLL))
                try:
                    done, _ = await asyncio.wait([polling, telling], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    polling.cancel()
                for ended in done:
                    ended.result()
        finally:
            self.partitions = frozenset()
            telling.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):  # it was raised above, or nobody waits for it
                await telling
            await stop_consumer(consumer)

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """They are kept until others are given: most come back."""

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Called by the consumer, which must not be held up."""
        self._consumer.pause(*assigned)
        self.partitions = frozenset(place.partition for place in assigned)
        self._news.set()

    async def _tell(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            if self._changed is not None:
                await self._changed(self.partitions)
