"""What the tests of Kafka share: a log with a name of its own on a real broker, and messages that are none of ours."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Self

import pytest

from taskscheduler.api.settings import Kafka
from taskscheduler.commands.handler import CommandHandler
from taskscheduler.commands.ports import DecisionLog, LogUnavailable
from taskscheduler.domain.definition import Lane
from taskscheduler.domain.values import Instant
from taskscheduler.streams.handing import Handing
from taskscheduler.streams.limiter import Limiter
from taskscheduler.streams.partitions import Replicas
from taskscheduler.streams.rocksdb import state_store
from taskscheduler.streams.rocksdb.buffer import Buffer
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.state_store import StateStore
from tests.streams.conformance.log import decision


def now() -> Instant:
    return time.time_ns() // 1_000_000


def settings_for(address: str, **given: Any) -> Kafka:
    """A scheduler of its own on the broker, which is a single one; several are separated by commas."""
    defaults = {"partitions": 3, "development": True, "topic_prefix": f"test-{uuid.uuid4().hex[:12]}"}
    return Kafka(bootstrap_servers=tuple(address.split(",")), **{**defaults, **given})


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


class Writing:
    """Streams that are appended to at once, until `stop`; `told` is how many versions of each are acknowledged."""

    def __init__(self, log: DecisionLog, count: int = 8) -> None:
        self.told: dict[str, int] = {}
        self._log = log
        self._stopping = asyncio.Event()
        self._writers = [asyncio.create_task(self._write(f"w{number}")) for number in range(count)]

    async def _write(self, name: str) -> None:
        version = 0
        while not self._stopping.is_set():
            try:
                await self._log.append([decision(f"task/{name}", version, name=f"{name}.{version}")])
            except LogUnavailable:
                # What became of it is unknown: another stream goes on.
                name, version = f"{name}'", 0
                await asyncio.sleep(0.05)
            else:
                version += 1
                self.told[name] = version

    async def more(self, count: int) -> None:
        """Returns when so many more are acknowledged."""
        enough = sum(self.told.values()) + count
        while sum(self.told.values()) < enough:
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self._stopping.set()
        await asyncio.gather(*self._writers)

    def acknowledged(self, partition: int) -> set[str]:
        """The names of those of a partition."""
        return {
            f"{name}.{version}"
            for name, versions in self.told.items()
            if self._log.partition_of(f"task/{name}") == partition
            for version in range(versions)
        }


async def seconds(work: Awaitable[object], raises: type[Exception]) -> float:
    """How long it took to be refused."""
    began = time.monotonic()
    with pytest.raises(raises):
        await work
    return time.monotonic() - began


async def until_taken(log: DecisionLog, stream: str, version: int = 0) -> None:
    """Append under new names until the log takes it."""
    for attempt in count():
        try:
            await log.append([decision(stream, version, name=f"{stream} {attempt}")])
        except LogUnavailable:
            await asyncio.sleep(0.05)
        else:
            return


class AllSpare:
    """Nothing waits."""

    def spare(self, lane: Lane, most: int) -> int:
        return most


def handing_of(instance: Instance, handler: Any = None, *takers: Any) -> Handing:
    """What triggers of an instance go through on their way to its handler, or another one."""
    handler = handler or instance.handler
    limiter = Limiter(instance.handler, clock=now, seed=lambda: random.getrandbits(64))
    handing = Handing(handler, AllSpare(), limiter, seed=lambda: random.getrandbits(64))
    handing.takers = list(takers)
    return handing


class Instance:
    """What decides in a process of a cluster: a log, a replica of each partition on RocksDB, and a handler."""

    def __init__(self, settings: Kafka, path: Path, name: str = "n", timeout: float = 10.0) -> None:
        self.settings = settings
        self.path = path
        self.name = name
        self.timeout = timeout

    async def start(self, *, follow: bool = True) -> Self:
        from taskscheduler.streams.kafka.event_log import KafkaEventLog

        self.log = await KafkaEventLog.open(self.settings, clock=now)
        self.databases = [
            Database(self.path / str(partition), state_store.FAMILIES) for partition in range(self.log.partitions)
        ]
        self.stores = {number: StateStore(Buffer(database)) for number, database in enumerate(self.databases)}
        self.replicas = Replicas(self.log, self.stores)
        self.handler = CommandHandler(
            self.log,
            self.replicas,
            clock=now,
            seed=lambda: random.getrandbits(64),
            instance=self.name,
            timeout=self.timeout,
        )
        await self.replicas.check()
        self.following: asyncio.Task[None] | None = None
        if follow:
            self.follow()
        return self

    def follow(self) -> None:
        self.following = asyncio.create_task(self.replicas.run())

    async def caught_up(self) -> None:
        """Returns when everything that is on the log is folded."""
        for partition in range(self.log.partitions):
            await self.replicas.reached(partition, await self.log.end(partition))

    def digests(self) -> list[str]:
        return [store.digest() for store in self.stores.values()]

    async def stop(self) -> None:
        await self.handler.drain()
        if self.following is not None:
            self.following.cancel()
            await asyncio.gather(self.following, return_exceptions=True)
        await self.log.close()
        self.replicas.flush()
        for database in self.databases:
            database.close()


@asynccontextmanager
async def instances(settings: Kafka, path: Path, count: int = 1, **given: Any) -> AsyncIterator[list[Instance]]:
    """So many instances of one cluster in this process."""
    running: list[Instance] = []
    try:
        for number in range(count):
            running.append(await Instance(settings, path / str(number), f"n{number}", **given).start())
        yield running
    finally:
        for instance in running:
            await instance.stop()
