"""The kafka target: one message per attempt, acknowledged by all in-sync replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from taskscheduler.domain.definition import KafkaTarget
from taskscheduler.domain.events import Error
from taskscheduler.domain.values import Instant
from taskscheduler.streams.dispatch.dispatcher import Attempted, Outcome
from taskscheduler.streams.dispatch.kafka_events import headers_of, value_of, wrong_with_topic
from taskscheduler.streams.kafka.client_options import ClientSettings, client_options, why
from taskscheduler.streams.kafka.producers import stop_producer

_LARGEST = 1024 * 1024
"""Bytes of a message, a little less: brokers take a megabyte unless they are told otherwise."""

_BATCH = 16 * 1024
"""Bytes of messages that go together. What is larger goes alone."""

_FINAL = (ClusterAuthorizationFailedError, InvalidTopicError, TopicAuthorizationFailedError)
"""What another attempt would not change."""


class KafkaCaller:
    """Implements Target for kafka. It connects with the first attempt; `close` ends its connections.

    The producer is not an idempotent one: that fails as a whole when one topic does, and an attempt whose answer was
    lost is repeated anyway. Consumers know repetitions by the event's source and id.
    """

    group = "kafka"

    def __init__(
        self,
        settings: ClientSettings,
        *,
        clock: Callable[[], Instant],
        at_once: int,
        source: str,
        prefix: str,
        topics: Sequence[str],
        settings_group: str = "kafka_target",
    ) -> None:
        self.at_once = at_once
        self._options = {
            **client_options(settings, "taskscheduler-target", group=settings_group),
            "acks": "all",
            "max_request_size": _LARGEST,
            "max_batch_size": _BATCH,
        }
        self._clock = clock
        self._source = source
        self._prefix = prefix
        self._topics = topics
        self._producer: Any = None
        self._starting = asyncio.Lock()

    async def close(self) -> None:
        """Returns when all connections are closed."""
        if self._producer is not None:
            await stop_producer(self._producer)

    async def call(self, attempt: Attempted) -> Outcome:
        """Produce the message and wait for the brokers' word. Every failure is an outcome."""
        target = attempt.definition.target
        assert isinstance(target, KafkaTarget)
        if (wrong := wrong_with_topic(target.topic, self._prefix, self._topics)) is not None:
            return _failed("forbidden_topic", f"the topic {target.topic} {wrong}", retryable=False)
        value = value_of(attempt)
        try:
            async with asyncio.timeout(max(1, attempt.deadline - self._clock()) / 1000):
                producer = await self._connected()
                found = await producer.send_and_wait(
                    target.topic,
                    value,
                    key=None if target.key is None else target.key.encode(),
                    headers=headers_of(attempt, target, self._source),
                )
        except UnknownTopicOrPartitionError:
            return _failed("unknown_topic", f"the brokers know no topic {target.topic}, and made none")
        except (KafkaError, OSError, TimeoutError) as error:
            kind = "timed_out" if isinstance(error, TimeoutError) else "kafka_failed"
            # A small message may have been too large only together with others.
            final = isinstance(error, _FINAL) or (isinstance(error, MessageSizeTooLargeError) and len(value) > _BATCH)
            return _failed(kind, f"the message was not acknowledged: {why(error)}", retryable=not final)
        result = {"topic": found.topic, "partition": found.partition, "offset": found.offset}
        return Outcome(result=msgspec.json.encode(result).decode())

    async def _connected(self) -> Any:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(**self._options)
                try:
                    await producer.start()
                except BaseException:
                    await stop_producer(producer)
                    raise
                self._producer = producer
        return self._producer


def _failed(kind: str, message: str, *, retryable: bool = True) -> Outcome:
    return Outcome(error=Error(kind, message), retryable=retryable)
