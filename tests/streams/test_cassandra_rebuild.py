"""New generations beside the one in force, and migrations by many at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from taskscheduler.projections.ports import ViewsUnavailable
from taskscheduler.projections.queries import Queries
from taskscheduler.streams.cassandra import generation as generations
from taskscheduler.streams.cassandra.client_options import CassandraRefused
from taskscheduler.streams.cassandra.in_force import ViewsInForce
from taskscheduler.streams.cassandra.rebuild import Progress, rebuild
from taskscheduler.streams.cassandra.schema import MIGRATIONS, Schema, migrate
from taskscheduler.streams.cassandra.session import Session
from taskscheduler.streams.cassandra.to_write import ViewsToWrite
from taskscheduler.streams.cassandra.views import CassandraViews
from taskscheduler.streams.projecting import Projecting
from tests.projections.history import EVERY_MINUTE, MINUTE, History
from tests.streams.cassandra_kit import settings
from tests.support.split_log import SplitLog

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

LOG = "the log"
PARTITIONS = 2


@pytest.fixture
async def session(cassandra: str) -> AsyncIterator[Session]:
    session = Session(settings(cassandra))
    yield session
    await session.run(f"DROP KEYSPACE IF EXISTS {session.keyspace}", timeout=60)
    await session.close()


def grown(log: SplitLog, history: History, tasks: int = 5) -> None:
    ids = [f"task-{len(history.entries)}-{number}" for number in range(tasks)]
    for task_id in ids:
        history.create(task_id, schedule=EVERY_MINUTE, tags={"team": "ops"})
    history.advance(MINUTE)
    for task_id in ids:
        history.succeed(task_id)
    log.take(history)


async def test_any_number_migrate_at_once_and_it_happens_once(session: Session) -> None:
    others = [Session(session.settings) for _ in range(5)]
    try:
        found = await asyncio.gather(*[migrate(one, LOG, PARTITIONS) for one in (session, *others)])
    finally:
        await asyncio.gather(*[other.close() for other in others])
    assert {generation.number for generation in found} == {1}
    rows = await session.run(f"SELECT number, state FROM {session.keyspace}.generations")
    assert rows == [(1, "made")]
    versions = await session.run(f"SELECT version FROM {session.keyspace}.migrations")
    assert versions == [(version,) for version, _ in MIGRATIONS]
    assert await session.run(f"SELECT * FROM {session.keyspace}.locks") == []
    assert await migrate(session, LOG, PARTITIONS) == found[0]


async def test_one_that_stopped_half_way_is_finished_by_the_next(session: Session) -> None:
    schema = Schema(session)
    await schema._bootstrap()
    await session.run(MIGRATIONS[0][1][0].format(keyspace=session.keyspace))
    async with schema.lock():
        waiting = asyncio.create_task(Schema(session).migrate(LOG, PARTITIONS))
        await asyncio.sleep(0)
        assert not waiting.done()
    assert (await waiting).number == 1


async def test_a_keyspace_with_more_copies_than_nodes_is_not_made(session: Session) -> None:
    short = Session(settings(session.settings.contact_points[0], session.keyspace, replication=3))
    try:
        for _ in range(2):
            with pytest.raises(CassandraRefused, match=r"cassandra\.replication: is 3, and .* has 1 node to keep"):
                await migrate(short, LOG, PARTITIONS)
        # One that is there already may lack nodes for a while.
        copies = "{'class': 'SimpleStrategy', 'replication_factor': 3}"
        await session.run(f"CREATE KEYSPACE {session.keyspace} WITH replication = {copies}")
        with pytest.raises(ViewsUnavailable, match="has 1 of the 2 copies up that LOCAL_QUORUM needs"):
            await migrate(short, LOG, PARTITIONS)
    finally:
        await short.close()


async def test_a_keyspace_belongs_to_one_log(session: Session) -> None:
    await migrate(session, LOG, PARTITIONS)
    for log_id, partitions in (("another", PARTITIONS), (LOG, PARTITIONS + 1)):
        with pytest.raises(CassandraRefused, match=r"cassandra\.keyspace"):
            await migrate(session, log_id, partitions)
    with pytest.raises(ViewsUnavailable, match="of another log"):
        await Queries(ViewsInForce(session, "another")).task("a")
    await session.run(
        f"INSERT INTO {session.keyspace}.migrations (store, version) VALUES ('views', {MIGRATIONS[-1][0] + 1})"
    )
    with pytest.raises(CassandraRefused, match="newer release"):
        await migrate(session, LOG, PARTITIONS)


async def test_readers_may_come_before_anything_is_made(session: Session) -> None:
    queries = Queries(ViewsInForce(session, LOG))
    with pytest.raises(ViewsUnavailable, match="no read models"):
        await queries.task("a")
    await migrate(session, LOG, PARTITIONS)
    assert await queries.task("a") is None


async def test_a_rebuild_gives_the_same_rows_while_all_goes_on(session: Session, tmp_path: Path) -> None:
    log, history = SplitLog(PARTITIONS), History()
    grown(log, history)
    reader = ViewsInForce(session, LOG)
    projector = Projecting(log, ViewsToWrite(session, LOG, PARTITIONS), tmp_path / "live", clock=lambda: history.now)  # type: ignore[arg-type]
    await projector.assign(range(PARTITIONS))
    try:
        await reader_ready(reader)
        await reader.reached(log.token, timeout=30)
        seen: list[Progress] = []

        def more(progress: Progress) -> None:
            seen.append(progress)
            grown(log, history)

        first = await CassandraViews(session, await in_force(session)).contents()
        assert first
        made = await rebuild(
            session,
            log,
            LOG,
            PARTITIONS,
            tmp_path / "scratch",
            clock=lambda: history.now,
            progress=more,  # type: ignore[arg-type]
        )
        assert seen[-1].folded > 0
        assert made.number == 2
        grown(log, history)
        await reader.reached(log.token, timeout=30)
        assert projector.failures == {}
        assert (await Queries(reader).status_counts())["scheduled"] == len(history.tasks)
        assert await CassandraViews(session, made).contents() == log.projected().contents()
        tables = await session.run(
            "SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s", (session.keyspace,)
        )
        assert not any(name.endswith("_1") for (name,) in tables)
        assert not (tmp_path / "scratch").exists()
    finally:
        await projector.stop()


async def test_one_that_was_cut_short_goes_on_or_begins_anew(session: Session, tmp_path: Path) -> None:
    log, history = SplitLog(PARTITIONS), History()
    grown(log, history)
    await migrate(session, LOG, PARTITIONS)
    scratch = tmp_path / "scratch"

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    async def run(folder: Path, **more: object) -> int:
        made = await rebuild(session, log, LOG, PARTITIONS, folder, clock=lambda: 0, handover=0.0, **more)  # type: ignore[arg-type]
        return made.number

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            await run(scratch, progress=stop)
        assert (await in_force(session)).number == 1
        assert [one.number for one in await Schema(session).others()] == [2]
    assert await run(scratch) == 2
    with pytest.raises(KeyboardInterrupt):
        await run(tmp_path / "other", progress=stop)
    assert await run(scratch) == 4
    assert await CassandraViews(session, await in_force(session)).contents() == log.projected().contents()
    assert await Schema(session).others() == []


async def test_rows_of_other_rules_are_made_anew_by_the_projectors(session: Session, tmp_path: Path) -> None:
    log, history = SplitLog(PARTITIONS), History()
    grown(log, history)
    reader = ViewsInForce(session, LOG)

    def projector(name: str) -> Projecting:
        return Projecting(log, ViewsToWrite(session, LOG, PARTITIONS), tmp_path / name, clock=lambda: 0)  # type: ignore[arg-type]

    before = projector("one")
    await before.assign(range(PARTITIONS))
    await reader_ready(reader)
    await reader.reached(log.token, timeout=30)
    await before.stop()
    await session.run(
        f"UPDATE {session.keyspace}.generations SET projection_version = 0 WHERE store = 'views' AND number = 1"
    )
    one, two = projector("one"), projector("two")
    await asyncio.gather(one.assign([0]), two.assign([1]))
    try:
        while (await in_force(session)).number == 1:
            await asyncio.sleep(0.05)
        grown(log, history)
        await reader.reached(log.token, timeout=30)
        assert not (await in_force(session)).stale
        assert await CassandraViews(session, await in_force(session)).contents() == log.projected().contents()
    finally:
        await asyncio.gather(one.stop(), two.stop())


async def in_force(session: Session) -> generations.Generation:
    found = await Schema(session).in_force()
    assert found is not None
    return found


async def reader_ready(reader: ViewsInForce) -> None:
    while True:
        try:
            await Queries(reader).task("a")
            return
        except ViewsUnavailable:
            await asyncio.sleep(0.05)
