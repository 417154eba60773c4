"""What the tests of the Flink job share: a log on a real broker, the job on a real cluster, and what both say."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from taskscheduler.api.local_cluster import flink_home
from taskscheduler.api.settings import Flink as FlinkSettings
from taskscheduler.api.settings import Kafka
from taskscheduler.domain.decision import Record
from taskscheduler.domain.events import TaskPaused
from taskscheduler.domain.values import Instant
from taskscheduler.streams.codec import encode_record
from taskscheduler.streams.flink import control
from taskscheduler.streams.flink.rest import FlinkRefused, Job, flink_rest
from taskscheduler.streams.kafka.client_options import client_options
from taskscheduler.streams.kafka.messages import Trigger
from taskscheduler.streams.kafka.partitioning import partition_of
from taskscheduler.streams.kafka.topics import Topics, topics
from tests.support.engines import Flink

PATIENCE = 60.0
FIRST_REPEAT = 1_000
PARTITIONS = 3

_decode = msgspec.json.Decoder(Trigger).decode
_names = itertools.count()


def now() -> Instant:
    return time.time_ns() // 1_000_000


def stream_name() -> str:
    """A stream that no other test uses."""
    return f"task/s{next(_names)}"


def record(stream: str, version: int = 0, **more: Any) -> Record:
    given = {"record_id": f"{stream}@{version}", "recorded_at": 1, "events": (TaskPaused(at=1, by="ada"),), **more}
    return Record(stream=stream, expected_version=version, **given)


class Timers:
    """The job of one log, and who speaks with it."""

    def __init__(self, cluster: Flink, kafka: Kafka, **given: Any) -> None:
        self.cluster = cluster
        self.kafka = kafka
        self.settings = FlinkSettings(url=cluster.session.url, checkpoint_interval=1_000, **given)
        self.topics: Topics = topics(kafka.topic_prefix)

    async def submit(self, savepoint: str | None = None, **more: Any) -> Job:
        """As `flink submit` does, with short waits between repeats."""
        changed = {"first_repeat": FIRST_REPEAT, "longest_repeat": 8 * FIRST_REPEAT}
        environment = {**self.cluster.session.environment(), **more}

        async def submitted() -> Job:
            return await control.submit(
                self.kafka, self.settings, environment=environment, savepoint=savepoint, changed=changed
            )

        try:
            return await submitted()
        except FlinkRefused as refused:
            if "free slot" not in str(refused):
                raise
        # Seen once: where many jobs come and go, Flink left one waiting for ever although there was room.
        await self.cancel()
        return await submitted()

    async def job(self) -> Job | None:
        return await control.status(self.kafka, self.settings)

    async def becomes(self, is_so: Callable[[Job], bool], patience: float = PATIENCE) -> Job:
        """Wait until the job is as wanted."""
        async with asyncio.timeout(patience):
            while (job := await self.job()) is None or not is_so(job):
                await asyncio.sleep(0.1)
        return job

    async def cancel(self) -> None:
        """End the job and forget it."""
        async with flink_rest(self.settings) as rest:
            job = await rest.find(control.job_name(self.kafka))
            if job is not None:
                async with rest._session.patch(f"{self.settings.url}/jobs/{job.id}"):
                    pass
            async with asyncio.timeout(PATIENCE):
                while await rest.find(control.job_name(self.kafka)) is not None:
                    await asyncio.sleep(0.1)

    async def append(self, *records: Record) -> None:
        """Put records onto the log, each where it belongs."""
        from aiokafka import AIOKafkaProducer

        async with AIOKafkaProducer(**client_options(self.kafka)) as producer:
            sent = [
                await producer.send(
                    self.topics.decisions,
                    encode_record(one),
                    key=one.stream.encode(),
                    partition=partition_of(one.stream, PARTITIONS),
                )
                for one in records
            ]
            await asyncio.gather(*sent)

    @asynccontextmanager
    async def listening(self, topic: str) -> AsyncIterator[Said]:
        """What comes onto a topic from now on."""
        from aiokafka import AIOKafkaConsumer, TopicPartition

        async with AIOKafkaConsumer(**client_options(self.kafka)) as consumer:
            count = self.kafka.partitions if topic == self.topics.triggers else 1
            places = [TopicPartition(topic, number) for number in range(count)]
            consumer.assign(places)
            await consumer.seek_to_end(*places)
            for place in places:
                await consumer.position(place)
            yield Said(consumer)

    def metrics(self, which: str) -> dict[str, list[tuple[dict[str, str], float]]]:
        """What a Flink process tells Prometheus: samples with their labels by name."""
        url = f"http://127.0.0.1:{self.cluster.session.ports[which]}/metrics"
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        with urllib.request.urlopen(url, timeout=10) as reply:
            for family in text_string_to_metric_families(reply.read().decode()):
                for sample in family.samples:
                    found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found


class Said:
    """The messages of a topic, as they come."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self.messages: list[Any] = []

    async def until(self, enough: Callable[[Self], bool], patience: float = PATIENCE) -> Self:
        """Wait until what was said is enough."""
        async with asyncio.timeout(patience):
            while not enough(self):
                for batch in (await self._consumer.getmany(timeout_ms=200)).values():
                    self.messages += batch
        return self

    def triggers(self, stream: str | None = None) -> list[Trigger]:
        """Those of a stream, or all, in the order in which they came."""
        every = [_decode(message.value) for message in self.messages]
        return [one for one in every if stream in (None, one.stream)]

    async def of(self, *streams: str, at_least: int = 1, patience: float = PATIENCE) -> list[list[Trigger]]:
        """The triggers of these streams, once there are so many of each."""
        await self.until(lambda said: all(len(said.triggers(one)) >= at_least for one in streams), patience)
        return [self.triggers(one) for one in streams]


def overlay(folder: Path, changes: dict[str, Sequence[tuple[str, str]]]) -> Path:
    """Our packages with changes to modules of `streams`, as another release would have them."""
    home = folder / "release"
    (home / "taskscheduler").mkdir(parents=True)
    for name in ("domain", "commands", "projections", "api", "client"):
        (home / "taskscheduler" / name).symlink_to(flink_home._folder_of(f"taskscheduler.{name}"))
    source = flink_home._folder_of("taskscheduler.streams")
    for file in source.rglob("*.py"):
        text = file.read_text()
        for old, new in changes.get(str(file.relative_to(source)), ()):
            assert old in text, old
            text = text.replace(old, new)
        target = home / "taskscheduler" / "streams" / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return home


def python_path(first: Path, cluster: Flink) -> dict[str, str]:
    """An environment in which Python finds packages in `first` before those installed."""
    return {"PYTHONPATH": os.pathsep.join((str(first), flink_home.pythonpath(cluster.session.home)))}
