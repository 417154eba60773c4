"""The job on a real Flink session cluster, which the tests may ill-treat, and a real broker."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from taskscheduler.domain.values import MINUTE, SECOND
from taskscheduler.streams.flink import control
from taskscheduler.streams.flink.digests import digests
from taskscheduler.streams.flink.due import Watched, judged
from taskscheduler.streams.flink.messages import Digest
from taskscheduler.streams.flink.rest import FlinkRefused
from taskscheduler.streams.kafka.genesis import find_or_begin
from taskscheduler.streams.kafka.messages import Genesis
from taskscheduler.streams.kafka.partitioning import partition_of
from taskscheduler.streams.kafka.refusals import KafkaRefused
from tests.streams.flink_kit import (
    FIRST_REPEAT,
    PARTITIONS,
    PATIENCE,
    Timers,
    now,
    overlay,
    python_path,
    record,
    stream_name,
)
from tests.streams.kafka_kit import admin_of, put, settings_for
from tests.support.engines import Flink

PREFIX = "flink_taskmanager_job_task_operator"

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def log(kafka: str, own_flink: Flink) -> Timers:
    return Timers(own_flink, settings_for(kafka, partitions=PARTITIONS))


@pytest.fixture
async def timers(log: Timers) -> Timers:
    """The job runs."""
    if await log.job() is None:
        await log.submit()
    await log.becomes(lambda job: job.running)
    return log


async def test_what_is_due_is_told_in_the_partition_of_its_stream(timers: Timers) -> None:
    streams = [stream_name() for _ in range(20)]
    at = now()
    due = {stream: at + 500 + 10 * number for number, stream in enumerate(streams)}
    async with timers.listening(timers.topics.triggers) as said:
        await timers.append(*(record(stream, wakeup=due[stream]) for stream in streams))
        found = await said.of(*streams)
    for first, *_ in found:
        assert (first.version, first.due_at) == (1, due[first.stream])
        assert first.due_at <= first.fired_at <= now()
    for message in said.messages:
        assert message.partition == partition_of(msgspec.json.decode(message.value)["stream"], PARTITIONS)
    assert {message.partition for message in said.messages} == set(range(PARTITIONS))


async def _digests_at(timers: Timers, versions: dict[str, int]) -> dict[str, Digest]:
    """What the job keeps once it has read so far: a question may overtake the records before it."""
    while True:
        found = await digests(timers.kafka, list(versions), 30)
        if all(found[stream].version >= version for stream, version in versions.items()):
            return found


async def test_it_is_told_again_until_a_decision_moves_the_wakeup(timers: Timers) -> None:
    stream, later = stream_name(), stream_name()
    async with timers.listening(timers.topics.triggers) as said:
        await timers.append(record(stream, wakeup=(at := now())))
        [triggers] = await said.of(stream, at_least=3)
        apart = [after.fired_at - before.fired_at for before, after in itertools.pairwise(triggers)]
        assert FIRST_REPEAT <= apart[0] < 2 * FIRST_REPEAT <= apart[1]
        assert {(one.version, one.due_at) for one in triggers} == {(1, at)}

        # One that only raises the version is no answer; one that moves the wakeup is.
        await timers.append(record(stream, 1, wakeup=at))
        await said.until(lambda said: said.triggers(stream)[-1].version == 2)
        answered = now() + MINUTE
        await timers.append(record(stream, 2, wakeup=answered))
        [digest] = (await _digests_at(timers, {stream: 3})).values()
        assert (digest.version, digest.wakeup) == (3, answered)
        before = len(said.triggers(stream))
        await timers.append(record(later, wakeup=now() + 9 * FIRST_REPEAT))
        await said.of(later)
        assert len(said.triggers(stream)) == before


async def test_a_record_that_is_refused_moves_no_timer(timers: Timers) -> None:
    stream = stream_name()
    due = now() + 1_500
    async with timers.listening(timers.topics.triggers) as said:
        await timers.append(
            record(stream, wakeup=due),
            record(stream, 0, wakeup=due + MINUTE, record_id="conflict"),
            record(stream, 1, wakeup=None, valid_until=1, record_id="expired"),
        )
        [[trigger, *_]] = await said.of(stream)
    assert (trigger.version, trigger.due_at) == (1, due)


async def test_what_cannot_be_read_is_put_aside_and_the_job_goes_on(timers: Timers) -> None:
    stream = stream_name()
    home = partition_of(stream, PARTITIONS)
    elsewhere = (home + 1) % PARTITIONS
    misplaced = msgspec.json.encode(record(stream))
    values = [b"no json", b"\xff\xfe", None, b'{"stream":"task/x"}', misplaced, b'{"kind":"genesis.v1","log_id":"x"}']
    async with (
        timers.listening(timers.topics.unreadable) as said,
        timers.listening(timers.topics.triggers) as told,
    ):
        offsets = await put(timers.kafka, elsewhere, *values)
        await timers.append(record(stream, wakeup=now()))
        await told.of(stream)
        await said.until(lambda said: len(said.messages) >= len(values))
    found = {one["position"]: one for one in (json.loads(message.value) for message in said.messages)}
    assert sorted(found) == offsets
    assert {one["partition"] for one in found.values()} == {elsewhere}
    assert all(abs(one["appended_at"] - now()) < MINUTE for one in found.values())
    reasons = [found[offset]["reason"] for offset in offsets]
    words = ["malformed", "malformed", "no value", "record_id", "does not belong", "stream"]
    for reason, word in zip(reasons, words, strict=True):
        assert word in reason


async def test_its_digests_are_those_of_anyone_who_folds_the_log(timers: Timers) -> None:
    chance = random.Random(4)
    kept: dict[str, Watched] = {stream_name(): Watched() for _ in range(30)}
    written = []
    for number in range(600):
        stream = chance.choice(list(kept))
        version = kept[stream].version + chance.choice([0, 0, 0, -1, 1])
        wakeup = chance.choice([None, now() + chance.randrange(MINUTE, 9 * MINUTE)])
        made = record(stream, version, record_id=f"r{number}", wakeup=wakeup, valid_until=chance.choice([None, 1]))
        written.append(made)
        kept[stream], _ = judged(kept[stream], made, now(), now())
    await timers.append(*written)
    await timers.append(*(record(stream, state.version, record_id="last") for stream, state in kept.items()))
    wanted = {
        stream: judged(state, record(stream, state.version, record_id="last"), now(), now())[0]
        for stream, state in kept.items()
    }
    never = stream_name()
    found: dict[str, Any] = {}
    while any(found[stream].version < state.version for stream, state in wanted.items()) if found else True:
        found = await digests(timers.kafka, [*wanted, never], 30)
    for stream, state in wanted.items():
        digest = found[stream]
        assert (digest.version, digest.wakeup, digest.chain) == (state.version, state.wakeup, state.chain)
    assert (found[never].version, found[never].wakeup, found[never].chain) == (0, None, "")


async def test_prometheus_is_told_how_the_timers_are(timers: Timers) -> None:
    stream, waiting = stream_name(), stream_name()
    async with timers.listening(timers.topics.triggers) as said:
        await timers.append(record(waiting, wakeup=now() + 9 * MINUTE), record(stream, wakeup=now()), record(stream))
        await said.of(stream)
    pending = "__timer_state_processing_user_timers_rocksdb_estimate_num_keys"
    await _until(lambda: _total(timers.metrics("taskmanager-metrics"), pending) >= 2)
    job = await timers.becomes(lambda job: job.checkpoint is not None)
    found = timers.metrics("taskmanager-metrics")
    assert _total(found, "_taskscheduler_records") >= 3
    assert _total(found, "_taskscheduler_accepted") >= 2
    assert _total(found, "_taskscheduler_conflict") >= 1
    triggers = _total(found, "_taskscheduler_triggers")
    assert triggers >= 1
    buckets = {labels["le"]: value for labels, value in found[PREFIX + "_taskscheduler_le_lateness_millis_bucket"]}
    counted = [buckets[le] for le in sorted(buckets, key=float)]
    assert counted == sorted(counted)
    assert buckets["Inf"] >= triggers
    assert job.checkpoint is not None
    manager = {name: samples[0][1] for name, samples in timers.metrics("jobmanager-metrics").items()}
    assert manager["flink_jobmanager_job_lastCheckpointCompletedTimestamp"] >= job.checkpoint.completed_at - SECOND
    assert manager["flink_jobmanager_job_lastCheckpointFullSize"] > 0


async def test_a_second_job_for_the_same_log_is_refused(timers: Timers) -> None:
    with pytest.raises(FlinkRefused, match="runs already"):
        await timers.submit()


async def test_no_timer_is_lost_when_the_task_manager_is_killed(timers: Timers) -> None:
    job = await timers.becomes(lambda job: job.checkpoint is not None)
    streams = [stream_name() for _ in range(400)]
    begin = now() + 3_000
    async with timers.listening(timers.topics.triggers) as said:
        await timers.append(*(record(one, wakeup=begin + 20 * number) for number, one in enumerate(streams)))
        await said.of(streams[0])
        manager = timers.cluster.task_manager
        manager.kill()
        killed = now()
        manager.launch()
        await said.of(*streams, patience=120)
    back = min(one.fired_at for one in said.triggers() if one.fired_at > killed + SECOND)
    print(f"first trigger {(back - killed) / 1000:.1f} s after the kill")
    # Flink counts restarts in a metric, which it looks at every few seconds only.
    job = await timers.becomes(lambda job: job.running and job.restarts >= 1)
    assert job.failure


async def test_state_survives_a_savepoint_and_a_change_of_the_code(timers: Timers, tmp_path: Path) -> None:
    told, waiting, asked = stream_name(), stream_name(), stream_name()
    due = now() + 2 * MINUTE
    async with timers.listening(timers.topics.triggers) as said:
        await timers.append(
            record(told, wakeup=now()), record(waiting, wakeup=due), record(waiting, 1, wakeup=due, record_id="w")
        )
        await said.of(told)
    before = await _digests_at(timers, {told: 1, waiting: 2})
    stopped = _cli(timers, "stop")
    assert await timers.job() is None
    # While nobody reads, the wakeup of one moves to the near future.
    await timers.append(record(waiting, 2, wakeup=now() + 500, record_id="sooner"), record(asked, wakeup=now()))

    release = overlay(
        tmp_path,
        {
            "flink/due.py": [
                ("    waited: Millis = 0\n", "    waited: Millis = 0\n    since: Instant = 0\n"),
                ("LIVE: Millis = SECOND", "LIVE: Millis = SECOND + 1"),
            ],
            "flink/messages.py": [("    chain: str\n", "    chain: str\n    release: str = 'next'\n")],
        },
    )
    other = python_path(release, timers.cluster)
    try:
        # The TaskManager imported the former release and keeps it: the job must not run on that.
        with pytest.raises(FlinkRefused, match="restart it with the same release"):
            await timers.submit(stopped["savepoint"], **other)
        manager = timers.cluster.task_manager
        manager.stop()
        async with timers.listening(timers.topics.triggers) as said:
            msgspec.structs.replace(manager, env={**manager.env, **other}).start()
            await timers.becomes(lambda job: job.running)
            [[first, *_], _, _] = await said.of(waiting, asked, told, patience=120)
        assert first.version == 3
        after = await _digests_at(timers, {told: 1, waiting: 3})
        assert _kept(after[told]) == _kept(before[told])
        assert after[waiting].version == 3
        assert before[waiting].version == 2
    finally:
        await timers.cancel()
        timers.cluster.task_manager.stop()
        timers.cluster.task_manager.start()


async def test_a_log_that_no_longer_has_what_comes_next_is_fatal(log: Timers, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Timers(log.cluster, settings_for(log.kafka.bootstrap_servers[0], partitions=1))
    await here.submit()
    genesis = await find_or_begin(here.kafka, here.topics.decisions)
    saved = await control.savepoint(here.kafka, here.settings, stop=True)
    offsets = await put(here.kafka, 0, *[b"x"] * 10)
    async with admin_of(here.kafka) as admin:
        place = TopicPartition(here.topics.decisions, 0)
        await admin.delete_records({place: RecordsToDelete(before_offset=offsets[-1])})

    with pytest.raises(KafkaRefused, match="was deleted"):
        await here.submit(saved)

    async def unseen(*_: Any) -> Genesis:
        return genesis

    monkeypatch.setattr(control, "find_or_begin", unseen)
    try:
        with pytest.raises(FlinkRefused, match="OffsetOutOfRange"):
            await here.submit(saved)
    finally:
        await here.cancel()


async def test_a_job_of_another_log_is_refused(log: Timers, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Timers(log.cluster, settings_for(log.kafka.bootstrap_servers[0], partitions=1))

    async def other(*_: Any) -> Genesis:
        genesis = await find_or_begin(here.kafka, here.topics.decisions)
        return msgspec.structs.replace(genesis, log_id="other")

    monkeypatch.setattr(control, "find_or_begin", other)
    try:
        with pytest.raises(FlinkRefused, match=r"partition 0 begins with .*, not .*'other'"):
            await here.submit()
    finally:
        await here.cancel()


async def test_a_job_that_flink_would_run_in_processes_is_refused(log: Timers, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Timers(log.cluster, settings_for(log.kafka.bootstrap_servers[0], partitions=1))
    wanted = control.job_options

    def in_processes(*arguments: Any) -> Any:
        options = wanted(*arguments)
        return msgspec.structs.replace(options, flink={**options.flink, "python.execution-mode": "process"})

    monkeypatch.setattr(control, "job_options", in_processes)
    with pytest.raises(FlinkRefused, match="in its own threads"):
        await here.submit()
    assert await here.job() is None


def test_an_operator_outside_of_flinks_threads_does_not_start() -> None:
    from taskscheduler.streams.flink.due import Repeats
    from taskscheduler.streams.flink.functions import Due, NotThreadMode, ReadDecisions

    for function in (ReadDecisions("log", 1), Due(("0",), Repeats())):
        with pytest.raises(NotThreadMode):
            function.open(SimpleNamespace())


def _cli(timers: Timers, command: str, *arguments: str, code: int = 0) -> Any:
    """What a command of ours prints as JSON."""
    settings = {
        "kafka.bootstrap_servers": ",".join(timers.kafka.bootstrap_servers),
        "kafka.topic_prefix": timers.kafka.topic_prefix,
        "kafka.partitions": str(timers.kafka.partitions),
        "kafka.development": "true",
        "flink.url": timers.settings.url,
        "flink.home": str(timers.cluster.session.home),
    }
    given = [f"--set={path}={value}" for path, value in settings.items()]
    line = [sys.executable, "-m", "taskscheduler.api.cli", "flink", command, *arguments, "-o", "json", *given]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if done.stdout else done.stderr


def _kept(digest: Digest) -> tuple[int, int | None, str]:
    return digest.version, digest.wakeup, digest.chain


def _total(found: dict[str, list[tuple[dict[str, str], float]]], name: str) -> float:
    return sum(value for _, value in found.get(PREFIX + name, []))


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not is_so():
            await asyncio.sleep(0.2)
