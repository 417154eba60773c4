"""What the tests of Kafka share: a log with a name of its own on a real broker, and messages that are none of ours."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from taskscheduler.api.settings import Kafka
from taskscheduler.domain.values import Instant


def now() -> Instant:
    return time.time_ns() // 1_000_000


def settings_for(address: str, **given: Any) -> Kafka:
    """A scheduler of its own on the broker, which is a single one."""
    defaults = {"partitions": 3, "development": True, "topic_prefix": f"test-{uuid.uuid4().hex[:12]}"}
    return Kafka(bootstrap_servers=(address,), **{**defaults, **given})


@asynccontextmanager
async def raw_producer(settings: Kafka, **options: Any) -> AsyncIterator[Any]:
    """A producer as any program has it."""
    from aiokafka import AIOKafkaProducer

    async with AIOKafkaProducer(bootstrap_servers=list(settings.bootstrap_servers), **options) as producer:
        yield producer


async def put(settings: Kafka, partition: int, *values: bytes | None, topic: str = "decisions") -> list[int]:
    """Put messages that did not pass our own log onto a topic; their offsets."""
    async with raw_producer(settings) as producer:
        name = f"{settings.topic_prefix}.{topic}"
        return [(await producer.send_and_wait(name, value, key=b"k", partition=partition)).offset for value in values]


@asynccontextmanager
async def admin_of(settings: Kafka) -> AsyncIterator[Any]:
    """What operators have."""
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(bootstrap_servers=list(settings.bootstrap_servers))
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()
