"""Decisions through the Kafka log in one process: appends alone, then commands over a handler and its replicas.

Run: python tests/benchmarks/bench_kafka_log.py --kafka 127.0.0.1:9092
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

from taskscheduler.api.settings import Kafka
from taskscheduler.commands.handler import Ask, CommandHandler
from taskscheduler.domain import messages as msg
from taskscheduler.domain.decision import Record
from taskscheduler.domain.definition import Definition, NoopTarget
from taskscheduler.domain.events import TaskPaused
from taskscheduler.domain.schedule import Every
from taskscheduler.domain.values import DAY
from taskscheduler.streams.kafka.event_log import KafkaEventLog
from taskscheduler.streams.partitions import Replicas
from taskscheduler.streams.rocksdb import state_store
from taskscheduler.streams.rocksdb.buffer import Buffer
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.state_store import StateStore

numbers = count()


def now() -> int:
    return time.time_ns() // 1_000_000


def record() -> Record:
    stream = f"task/{next(numbers)}"
    note = TaskPaused(at=1, by="ada", note="n" * 150)
    return Record(stream=stream, record_id=stream, expected_version=0, recorded_at=1, events=(note,))


def ask() -> Ask:
    definition = Definition(name="bench", schedule=Every(every=DAY, anchor=0), target=NoopTarget())
    return Ask(f"{next(numbers)}", msg.Create(definition))


async def repeat(work: Callable[[], Awaitable[object]], workers: int, seconds: float) -> tuple[int, list[float]]:
    """How often the work was done by so many at once, and the milliseconds each took, sorted."""
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def worker() -> None:
        while (began := time.perf_counter()) < end:
            await work()
            took.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(worker() for _ in range(workers)))
    return len(took), sorted(took)


async def measure(name: str, work: Callable[[], Awaitable[object]], workers: int, each: int, seconds: float) -> None:
    cpu, began = time.process_time(), time.perf_counter()
    done, took = await repeat(work, workers, seconds)
    busy = (time.process_time() - cpu) / (time.perf_counter() - began)
    p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
    print(
        f"{name:32} x{workers:<3} {done * each / seconds:9,.0f}/s  p50 {p50:7.2f} ms  p99 {p99:7.2f} ms  cpu {busy:.0%}"
    )


async def run(address: str, partitions: int, seconds: float, only: str, profile: bool) -> None:
    settings = Kafka(
        bootstrap_servers=(address,),
        development=True,
        topic_prefix=f"bench-{uuid.uuid4().hex[:8]}",
        partitions=partitions,
    )
    sizes: list[int] = []
    log = await KafkaEventLog.open(settings, clock=now, observe=lambda _, size: sizes.append(size))
    with tempfile.TemporaryDirectory() as folder:
        databases = [Database(Path(folder, str(number)), state_store.FAMILIES) for number in range(partitions)]
        stores = {number: StateStore(Buffer(database)) for number, database in enumerate(databases)}
        replicas = Replicas(log, stores)
        following = asyncio.create_task(replicas.run())
        handler = CommandHandler(log, replicas, clock=now, seed=lambda: random.getrandbits(64), instance="bench")

        async def command() -> None:
            answers = await handler.handle_many([ask()])
            assert not isinstance(answers[0], Exception), answers

        async def batch() -> None:
            answers = await handler.handle_many([ask() for _ in range(256)])
            assert not any(isinstance(answer, Exception) for answer in answers), answers

        works: list[tuple[str, Callable[[], Awaitable[object]], int, int]] = [
            ("append", lambda: log.append([record()]), 1, 1),
            ("append", lambda: log.append([record()]), 32, 1),
            ("append of 256", lambda: log.append([record() for _ in range(256)]), 4, 256),
            ("end", lambda: log.end(0), 1, 1),
            ("end", lambda: log.end(0), 64, 1),
            ("command", command, 1, 1),
            ("command", command, 32, 1),
            ("command", command, 256, 1),
            ("batch of 256 commands", batch, 4, 256),
        ]
        profiler = cProfile.Profile()
        for name, work, workers, each in works:
            if only in f"{name} x{workers}":
                sizes.clear()
                if profile:
                    profiler.enable()
                await measure(name, work, workers, each, seconds)
                profiler.disable()
                if sizes:
                    print(f"{'':32} {len(sizes) / seconds:,.0f} message sets/s of {sum(sizes) / len(sizes):.1f}")
        if profile:
            pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime").print_stats(45)
        await handler.drain()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        replicas.flush()
        for database in databases:
            database.close()
    await log.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", default="127.0.0.1:9092")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    try:
        import uvloop

        runner = uvloop.run
    except ImportError:
        runner = asyncio.run
    runner(run(given.kafka, given.partitions, given.seconds, given.only, given.profile))
