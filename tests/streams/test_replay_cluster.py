"""`replay` with a real Kafka, Cassandra and Flink: what is harmed there is named, and a log goes there and back."""

from __future__ import annotations

import asyncio
import json
import shutil
import urllib.request
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from taskscheduler.api.local_cluster.preparation import settings_of
from taskscheduler.api.settings import Settings
from taskscheduler.commands.ports import LogUnavailable
from taskscheduler.domain.entities import id_of, stream_of
from taskscheduler.streams.replay import importing
from tests.projections.history import EVERY_MINUTE, History
from tests.streams.kafka_kit import now
from tests.streams.replay_command import flags_of, replay
from tests.streams.replay_kit import a_history, fold, lay_down, log_rows, put, rows_in
from tests.support.engines import Cluster, Flink

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

PARTITIONS = 3


class Scheduler(msgspec.Struct, frozen=True):
    """A scheduler of its own on the engines of the shared cluster, with an embedded one that its log comes from."""

    cluster: Cluster
    settings: Settings
    history: History
    embedded: Path
    imports: list[tuple[int, Any, str]]

    @property
    def flags(self) -> list[str]:
        """How the command line finds it."""
        return flags_of(self.settings)


@pytest.fixture(scope="module")
def there(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scheduler]:
    """Its log has come from the embedded one, by an import that was broken off once."""
    folder = tmp_path_factory.mktemp("replay")
    shared, name = settings_of(cluster.plan), f"r{uuid.uuid4().hex[:12]}"
    settings = msgspec.structs.replace(
        shared,
        data_dir=folder / "node",
        kafka=msgspec.structs.replace(shared.kafka, topic_prefix=name, partitions=PARTITIONS),
        cassandra=msgspec.structs.replace(shared.cassandra, keyspace=name),
    )
    history = a_history()
    for number in range(10):
        history.create(f"task-{number}", name=f"nightly report {number}", schedule=EVERY_MINUTE, tags={"team": "ops"})
    lay_down(history, folder / "data")
    asyncio.run(fold(folder / "data"))
    scheduler = Scheduler(cluster, settings, history, folder / "data", [])
    assert replay("export", str(folder / "log.gz"), "--data-dir", str(folder / "data"))[0] == 0

    def import_(*more: str) -> None:
        scheduler.imports.append(replay("import", str(folder / "log.gz"), *scheduler.flags, *more))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importing, "BATCH", 10)
        import_()
        with pytest.MonkeyPatch.context() as once:
            once.setattr("taskscheduler.streams.replay.kafka_target.KafkaTarget.put", _dies_after(2))
            import_("--execute")
        import_()
        import_("--execute")
        import_("--execute")
    yield scheduler
    asyncio.run(_drop(settings))


def _dies_after(puts: int) -> Callable[..., Awaitable[None]]:
    from taskscheduler.streams.replay.kafka_target import KafkaTarget

    put, done = KafkaTarget.put, 0

    async def dying(self: KafkaTarget, records: Sequence[Any]) -> None:
        nonlocal done
        await put(self, records)
        done += 1
        if done == puts:
            raise LogUnavailable("the cable was pulled")

    return dying


async def _drop(settings: Settings) -> None:
    async with _session(settings) as session:
        await session.run(f"DROP KEYSPACE IF EXISTS {settings.cassandra.keyspace}", timeout=60)


@asynccontextmanager
async def _session(settings: Settings) -> AsyncIterator[Any]:
    from taskscheduler.streams.cassandra.session import Session

    session = Session(settings.cassandra)
    try:
        yield session
    finally:
        await session.close()


def test_an_import_that_was_broken_off_goes_on(there: Scheduler) -> None:
    count = len(there.history.entries)
    plan, broken, again, done, once_more = there.imports
    assert (plan[0], plan[1]["appended"], plan[1]["there"], plan[1]["done"]) == (0, count, 0, False)
    assert (broken[0], broken[1]) == (5, None)
    assert "the cable was pulled" in broken[2]
    assert (again[1]["there"], again[1]["appended"]) == (20, count - 20)
    assert (done[0], done[1]["appended"], done[1]["records"]) == (0, count - 20, count)
    assert (once_more[0], once_more[1]["appended"]) == (0, 0)


def test_a_log_comes_back_as_it_went(there: Scheduler, tmp_path: Path) -> None:
    code, told, said = replay("export", str(tmp_path / "back.gz"), *there.flags)
    assert code == 0, said
    assert sorted(told["positions"]) == [str(partition) for partition in range(PARTITIONS)]
    assert replay("import", str(tmp_path / "back.gz"), "--data-dir", str(tmp_path / "back"), "--execute")[0] == 0
    assert _by_stream(tmp_path / "back") == _by_stream(there.embedded)


def _by_stream(data_dir: Path) -> dict[str, list[tuple[int, int, bytes]]]:
    found: dict[str, list[tuple[int, int, bytes]]] = {}
    for row in log_rows(data_dir):
        found.setdefault(row.stream, []).append((row.version, row.appended_at, row.state))
    return found


@pytest.fixture(scope="module")
def made(there: Scheduler) -> Iterator[str]:
    """States, read models and timers were made of the log, but for one task whose first record the job never read."""
    asyncio.run(_fold(there.settings))
    with pytest.MonkeyPatch.context() as patch:
        from taskscheduler.streams.cassandra import rebuild

        patch.setattr("taskscheduler.api.logs.configure", lambda *_: None)
        # No projector has to find out about another generation.
        patch.setitem(rebuild.rebuild.__kwdefaults__, "handover", 0.0)
        code, plan, said = replay("rebuild", *there.flags)
        assert (code, plan["in_force"], plan["done"]) == (0, None, False), said
        code, done, said = replay("rebuild", *there.flags, "--execute")
        assert (code, done["done"], done["records"]) == (0, True, len(there.history.entries)), said
        from taskscheduler.streams.flink import control

        patch.setattr(control, "begin_with_the_log", _but_the_first)
        from tests.streams.flink_kit import Timers

        timers = Timers(Flink(there.cluster.plan.flink()), there.settings.kafka)
        asyncio.run(timers.submit())
    lacking = asyncio.run(_first_of(there.settings))
    try:
        asyncio.run(_read(there))
        yield lacking
    finally:
        asyncio.run(timers.cancel())


async def _fold(settings: Settings) -> None:
    from taskscheduler.api.cluster.commands import Commands
    from taskscheduler.api.metrics import Metrics
    from taskscheduler.streams.kafka.event_log import KafkaEventLog

    log = await KafkaEventLog.open(settings.kafka, clock=now)
    commands = Commands(log, settings, Metrics(), clock=now, seed=lambda: 1)
    await commands.replicas.catch_up()
    commands.close()
    await log.close()


async def _but_the_first(settings: Any, topic: str, partitions: int, group_id: str) -> None:
    from aiokafka import AIOKafkaConsumer, TopicPartition

    places = [TopicPartition(topic, partition) for partition in range(partitions)]
    servers = list(settings.bootstrap_servers)
    async with AIOKafkaConsumer(bootstrap_servers=servers, group_id=group_id, enable_auto_commit=False) as consumer:
        consumer.assign(places)
        await consumer.commit({place: 2 * (place.partition == 0) for place in places})


async def _first_of(settings: Settings) -> str:
    """The task of the first record of partition 0."""
    from taskscheduler.streams.replay.folding import opened

    async with opened(settings.kafka) as source:
        async for [first, *_] in source.entries(0, 0, 1):
            assert first.record is not None
            return id_of(first.record.stream)
    raise AssertionError("partition 0 is empty")


async def _read(there: Scheduler) -> None:
    """Returns when the job has read the whole log."""
    from taskscheduler.streams.flink.digests import digests

    last = {stream_of(task): state.version for task, state in {**there.history.tasks, **there.history.others}.items()}
    behind = len(last)
    while behind > 1:
        found = await digests(there.settings.kafka, list(last), 60)
        behind = sum(found[stream].version < version for stream, version in last.items())


def test_verify_names_the_task_whose_timer_is_not_as_the_log_says(
    there: Scheduler, made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskscheduler.streams.replay.verify_timers.PAUSE", 0.05)
    code, report, said = replay("verify", *there.flags, "--processes", "1")
    assert code == 1, said
    assert [(one["side"], one["result"], one["tasks"]) for one in report["compared"]] == [
        (f"state in {there.settings.data_dir}", "same", 19),
        ("read models", "same", 18),
        ("timers in Flink", "differs", 19),
    ], report
    assert report["different"] == [{"task": made, "side": "timers in Flink", "parts": ["version"], "steps": []}]


def test_verify_names_what_was_harmed_in_cassandra(there: Scheduler, made: str) -> None:
    keyspace = there.settings.cassandra.keyspace

    async def harm() -> None:
        async with _session(there.settings) as session:
            [(row,)] = await session.run(f"SELECT row FROM {keyspace}.tasks_2 WHERE id = 'task-1'")
            changed = row.replace("nightly", "daily")
            await session.run(f"UPDATE {keyspace}.tasks_2 SET row = %s WHERE id = 'task-1'", (changed,))
            [key, *_] = await session.run(f"SELECT task_id, bucket, version FROM {keyspace}.events_2")
            where = "task_id = %s AND bucket = %s"
            await session.run(f"DELETE FROM {keyspace}.events_2 WHERE {where} AND version = %s", key)
            names = await session.run(f"SELECT gram, shard, id FROM {keyspace}.tasks_by_name_grams_2")
            gram = next(name for name in names if name[2] == "task-3")
            await session.run(
                f"DELETE FROM {keyspace}.tasks_by_name_grams_2 WHERE gram = %s AND shard = %s AND id = %s", gram
            )
            buckets = await session.run(f"SELECT task_id, bucket FROM {keyspace}.runs_buckets_2")
            bucket = next(name for name in buckets if name[0] == "often")
            await session.run(f"DELETE FROM {keyspace}.runs_buckets_2 WHERE {where}", bucket)
            return key[0]

    harmed = asyncio.run(harm())
    code, report, said = replay("verify", *there.flags, "--processes", "1", "--only", "views")
    assert code == 1, said
    wanted = {"task-1": ["tasks"], "task-3": ["tasks_by_name_grams"], "often": ["buckets"]}
    wanted[harmed] = sorted([*wanted.get(harmed, []), "events"])
    assert {one["task"]: sorted(one["parts"]) for one in report["different"]} == wanted


def test_verify_tells_which_states_are_not_there(there: Scheduler, made: str, tmp_path: Path) -> None:
    [folder] = there.settings.data_dir.glob("*/commands-*")
    other = tmp_path / folder.relative_to(there.settings.data_dir)
    shutil.copytree(folder, other)
    shutil.rmtree(other / "1")
    others = [f"--replica={tmp_path}", f"--replica={tmp_path / 'none'}"]
    code, report, said = replay("verify", *there.flags, *others, "--processes", "1", "--only", "state")
    assert code == 6, (report, said)
    assert {one["side"]: one["result"] for one in report["compared"]} == {
        f"state in {there.settings.data_dir}": "same",
        f"state in {tmp_path}": "same",
        f"state of partition 1 in {tmp_path}": "absent",
        f"state in {tmp_path / 'none'}": "absent",
    }


def test_verify_names_what_was_harmed_in_a_state(there: Scheduler, made: str) -> None:
    from taskscheduler.api.cluster import commands
    from taskscheduler.streams.kafka.partitioning import partition_of
    from taskscheduler.streams.rocksdb.outbox_table import step_of

    [folder] = there.settings.data_dir.glob("*/commands-*")
    put(folder / str(partition_of("task/task-2", PARTITIONS)), "state", [(b"task-2", None)], commands.FAMILIES)
    sender = folder / str(partition_of("task/first", PARTITIONS))
    (gone, _), *_ = rows_in(sender, "outbox", commands.FAMILIES)
    put(sender, "outbox", [(gone, None)], commands.FAMILIES)
    code, report, said = replay("verify", *there.flags, "--processes", "1", "--only", "state")
    assert code == 1, said
    _, to, number = step_of(gone)
    assert [(one["task"], one["parts"], one["steps"]) for one in report["different"]] == [
        ("first", ["outbox"], [{"to": to, "number": number, "found": "missing"}]),
        ("task-2", ["state"], []),
    ]


def test_verify_finds_a_whole_cluster_in_good_order_while_it_works(cluster: Cluster) -> None:
    ids = [f"v{uuid.uuid4().hex}" for _ in range(5)]
    for number, task_id in enumerate(ids):
        body = {"id": task_id, "name": f"verified {number}", "schedule": {"every": "1s"}, "target": {"type": "noop"}}
        token = _post(f"{cluster.urls[number % 2]}/api/tasks", body)
        # Read models that hold nothing yet would not be there to compare.
        request = urllib.request.Request(f"{cluster.urls[0]}/api/tasks?limit=1", headers={"Consistency-Token": token})
        urllib.request.urlopen(request, timeout=30).close()
    try:
        _verify(cluster)
    finally:
        for task_id in ids:
            _post(f"{cluster.urls[0]}/api/tasks/{task_id}/cancel", {})


def _post(url: str, body: Any) -> str:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        assert reply.status in (200, 201)
        return str(reply.headers["Consistency-Token"])


def _verify(cluster: Cluster) -> None:
    plan = cluster.plan
    first, *others = [str(plan.folder / name / "data") for name in ("api-1", "api-2", "dispatch")]
    replicas = ["--data-dir", first, *(f"--replica={other}" for other in others)]
    flags = [f"--set={path}={value}" for path, value in plan.flags().items()]
    code, report, said = replay("verify", *flags, *replicas, "--processes", "1")
    assert code == 0, (report, said)
    assert [one["result"] for one in report["compared"]] == ["same"] * 5
    assert report["records"] > 0
