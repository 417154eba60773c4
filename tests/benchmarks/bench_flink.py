"""The Flink job alone: how fast it gives triggers for timers due at once, how late at a steady rate, how soon again
after its TaskManager was killed.

Lateness is between the instant a timer was set for and the clock reading in its trigger. A broker and a Flink cluster
are started for it and share this machine with who writes the log; triggers are read once all of them were given.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from broken_off import end_in_order, undisturbed

from taskscheduler.api.bootstrap import system_clock
from taskscheduler.api.local_cluster import kafka as kafka_server
from taskscheduler.api.local_cluster.plan import DEFAULT_PORTS, Plan
from taskscheduler.api.local_cluster.process import Process, free_ports
from taskscheduler.api.settings import Flink, Kafka
from taskscheduler.domain.decision import Record
from taskscheduler.domain.events import TaskPaused
from taskscheduler.domain.values import Instant
from taskscheduler.streams.flink import control
from taskscheduler.streams.kafka.event_log import KafkaEventLog
from taskscheduler.streams.kafka.messages import Trigger
from taskscheduler.streams.kafka.topics import topics

BATCH = 1_000
NEVER_AGAIN = 3_600_000
"""Milliseconds. Nobody answers here, and no trigger is to be given twice while this measures."""

_decode = msgspec.json.Decoder(Trigger).decode
_names = itertools.count()


class Job(NamedTuple):
    """The settings of its broker, the port where its metrics are, and the process that runs it."""

    settings: Kafka
    metrics: int
    task_manager: Process


@contextmanager
def job() -> Iterator[Job]:
    """The job on a log without decisions.

    Not to be entered where an event loop runs: that could be broken off while a thread starts a server.
    """
    with tempfile.TemporaryDirectory(prefix="taskscheduler-bench-") as folder:
        ports = dict(zip(DEFAULT_PORTS, free_ports(len(DEFAULT_PORTS)), strict=True))
        plan = Plan(folder=Path(folder), ports=ports)
        servers = [kafka_server.broker(plan.folder / "kafka", ports, plan.jit), *plan.flink().processes()]
        try:
            for server in servers:
                server.start()
            settings = Kafka(bootstrap_servers=(f"127.0.0.1:{ports['kafka']}",), development=True)
            repeats = {"first_repeat": NEVER_AGAIN, "longest_repeat": NEVER_AGAIN}
            environment = plan.flink().environment()
            flink = Flink(url=plan.flink().url)
            asyncio.run(control.submit(settings, flink, environment=environment, changed=repeats))
            yield Job(settings, ports["taskmanager-metrics"], plan.flink().task_manager())
        finally:
            with undisturbed():
                for server in reversed(servers):
                    server.stop()


def at_once(count: int) -> dict[str, float]:
    """So many timers for the same instant: triggers per second from the first to the last of them."""
    with job() as running:
        _triggers(running, itertools.repeat(0, BATCH), lead=20.0)  # so that Java has compiled it
        fired = _triggers(running, itertools.repeat(0, count), lead=20.0 + count / 2_000)
        instants = [trigger.fired_at for trigger in fired]
        return {"timers": count, "triggers_per_s": 1000 * count / max(1, max(instants) - min(instants))}


def paced(rate: int, seconds: int) -> dict[str, float]:
    """Timers due evenly: how late their triggers are."""
    with job() as running:
        _triggers(running, _evenly(rate, 10), lead=20.0)  # so that Java has compiled it
        fired = _triggers(running, _evenly(rate, seconds), lead=20.0 + rate * seconds / 2_000)
        late = sorted(trigger.fired_at - trigger.due_at for trigger in fired)
        return {"p50_ms": late[len(late) // 2], "p99_ms": late[len(late) * 99 // 100], "max_ms": late[-1]}


def after_kill(rate: int, seconds: int) -> dict[str, float]:
    """Timers due evenly: seconds from a kill of the TaskManager, started again at once, to the next trigger."""
    with job() as running:
        _triggers(running, _evenly(rate, 10), lead=20.0)
        streams, first = asyncio.run(_written(running, _evenly(rate, seconds), lead=20.0))
        time.sleep(max(0.0, (first - system_clock()) / 1000 + seconds / 4))
        killed = system_clock()
        running.task_manager.kill()
        running.task_manager.launch()
        fired = asyncio.run(_read(running.settings, streams))
        return {"seconds": (min(one.fired_at for one in fired if one.fired_at > killed) - killed) / 1000}


def _evenly(rate: int, seconds: int) -> Iterator[int]:
    return (1000 * n // rate for n in range(rate * seconds))


def _triggers(running: Job, offsets: Iterator[int], lead: float) -> list[Trigger]:
    """Write streams that are due `lead` seconds from now, each by its offset in ms later; their triggers."""
    return asyncio.run(_written_and_read(running, offsets, lead))


async def _written_and_read(running: Job, offsets: Iterator[int], lead: float) -> list[Trigger]:
    given = await _counted(running, "triggers")
    streams, _ = await _written(running, offsets, lead)
    while await _counted(running, "triggers") < given + len(streams):
        await asyncio.sleep(0.5)
    return await _read(running.settings, streams)


async def _written(running: Job, offsets: Iterator[int], lead: float) -> tuple[set[str], Instant]:
    """The streams that were written, and when the first of them is due."""
    log = await KafkaEventLog.open(running.settings, clock=system_clock)
    seen = await _counted(running, "accepted")
    first = system_clock() + int(1000 * lead)
    streams: set[str] = set()
    while some := [_record(first + offset) for offset in itertools.islice(offsets, BATCH)]:
        await log.append(some)
        streams.update(record.stream for record in some)
    await log.close()
    while await _counted(running, "accepted") < seen + len(streams):
        if system_clock() > first:
            raise RuntimeError("the first were due before the job had read all; give it more time")
        await asyncio.sleep(0.5)
    return streams, first


def _record(wakeup: Instant) -> Record:
    number = next(_names)
    events = (TaskPaused(at=1, by="benchmark"),)
    return Record(
        stream=f"task/t{number}",
        record_id=f"r{number}",
        expected_version=0,
        recorded_at=1,
        wakeup=wakeup,
        events=events,
        actor="benchmark",
    )


async def _counted(running: Job, counter: str) -> float:
    """How far a counter of the job has come, 0 when it does not say."""
    try:
        text = await asyncio.to_thread(_metrics, running.metrics)
    except OSError:
        return 0  # a TaskManager under load hangs up now and then; it is asked again
    return sum(map(float, re.findall(rf"^\S*taskscheduler_{counter}\{{[^}}]*\}} (\S+)$", text, re.MULTILINE)))


def _metrics(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as reply:
        return str(reply.read().decode())


async def _read(settings: Kafka, streams: set[str]) -> list[Trigger]:
    topic = topics(settings.topic_prefix).triggers
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False)
    await consumer.start()
    try:
        places = [TopicPartition(topic, number) for number in range(settings.partitions)]
        consumer.assign(places)
        await consumer.seek_to_beginning()
        found: dict[str, Trigger] = {}
        while len(found) < len(streams):
            for messages in (await consumer.getmany(timeout_ms=1_000)).values():
                for message in messages:
                    trigger = _decode(message.value)
                    if trigger.stream in streams:
                        found.setdefault(trigger.stream, trigger)
        return list(found.values())
    finally:
        await consumer.stop()


def main(measures: Mapping[str, float]) -> None:
    """Print figures."""
    print("  ".join(f"{name} {value:,.1f}" for name, value in measures.items()))


if __name__ == "__main__":
    end_in_order()
    main(at_once(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
    main(paced(1_000, 20))
    main(after_kill(20, 40))
