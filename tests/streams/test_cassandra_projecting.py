"""The projector: what it writes to Cassandra, and how it goes on from anywhere."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from taskscheduler.api.settings import Cassandra
from taskscheduler.domain.state import Task
from taskscheduler.domain.values import MINUTE
from taskscheduler.projections.changes import Moved, Reindex
from taskscheduler.projections.projector import TABLES
from taskscheduler.projections.queries import Queries
from taskscheduler.streams.cassandra.in_force import ViewsInForce
from taskscheduler.streams.cassandra.pending import GONE, Pending
from taskscheduler.streams.cassandra.positions import Positions, ViewsBehind
from taskscheduler.streams.cassandra.to_write import ViewsToWrite
from taskscheduler.streams.projecting import Projecting
from tests.projections.history import EVERY_MINUTE, NOW, History
from tests.streams.cassandra_kit import PARTITIONS, OpenedCassandra, settings
from tests.support.split_log import SplitLog

pytestmark = pytest.mark.cluster

EVERY = range(PARTITIONS)


@pytest.fixture(scope="module")
def given(cassandra: str) -> Cassandra:
    return settings(cassandra)


@pytest.fixture
async def opened(given: Cassandra) -> AsyncIterator[OpenedCassandra]:
    store = await OpenedCassandra.open(given)
    await store.empty()
    yield store
    await store.session.close()


class Stage:
    """A log that grows, projectors on it, and a reader."""

    def __init__(self, opened: OpenedCassandra, path: Path) -> None:
        self.opened = opened
        self.path = path
        self.log = SplitLog(PARTITIONS)
        self.history = History()
        self.reader = ViewsInForce(opened.session, "the log")
        self.queries = Queries(self.reader)
        self.projectors: list[Projecting] = []

    def projector(self, name: str = "one") -> Projecting:
        views = ViewsToWrite(self.opened.session, "the log", PARTITIONS)
        made = Projecting(self.log, views, self.path / name, clock=lambda: self.history.now)  # type: ignore[arg-type]
        self.projectors.append(made)
        return made

    def work(self, tasks: int = 7, fires: int = 2) -> None:
        """Some tasks that fire and succeed or fail, and one that is deleted."""
        ids = [f"task-{len(self.history.entries)}-{number}" for number in range(tasks)]
        for task_id in ids:
            self.history.create(task_id, schedule=EVERY_MINUTE, tags={"team": "ops"})
        for _ in range(fires):
            self.history.advance(MINUTE)
            for number, task_id in enumerate(ids):
                (self.history.fail if number % 3 == 0 else self.history.succeed)(task_id)
        self.log.take(self.history)

    async def settled(self) -> None:
        """Everything on the log can be read."""
        await self.reader.reached(self.log.token, timeout=30)

    async def contents(self) -> list[tuple[str, tuple[object, ...], bytes]]:
        return await self.opened.contents()


@pytest.fixture
async def stage(opened: OpenedCassandra, tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(opened, tmp_path)
    yield stage
    for projector in stage.projectors:
        await projector.stop()


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


async def test_what_is_on_the_log_comes_to_be_read(stage: Stage) -> None:
    projector = stage.projector()
    await projector.assign(EVERY)
    stage.work()
    await stage.settled()
    assert await stage.contents() == stage.log.projected().contents()
    stage.work()
    await stage.settled()
    assert await stage.contents() == stage.log.projected().contents()
    await until(lambda: all(lag.records == 0 for lag in projector.lag.values()))
    assert projector.failures == {}


async def test_it_goes_on_where_it_was(stage: Stage) -> None:
    stage.work()
    first = stage.projector()
    await first.assign(EVERY)
    await stage.settled()
    await first.stop()
    stage.work()
    second = stage.projector()
    await second.assign(EVERY)
    await stage.settled()
    await second.stop()
    assert await stage.contents() == stage.log.projected().contents()


async def test_without_its_state_it_folds_silently_up_to_what_is_written(stage: Stage) -> None:
    stage.work()
    first = stage.projector()
    await first.assign(EVERY)
    await stage.settled()
    await first.stop()
    shutil.rmtree(stage.path)
    second = stage.projector()
    await second.assign(EVERY)
    await until(lambda: second.positions == stage.log.ends)
    assert second.written == 0
    stage.work(tasks=3)
    await stage.settled()
    assert await stage.contents() == stage.log.projected().contents()


async def test_partitions_move_between_instances(stage: Stage) -> None:
    one, two = stage.projector("one"), stage.projector("two")
    await asyncio.gather(one.assign([0, 1]), two.assign([2]))
    stage.work()
    await stage.settled()
    for round in range(4):
        await one.assign([0] if round % 2 else [1, 2])
        await two.assign([1, 2] if round % 2 else [0])
        stage.work(tasks=3)
        await stage.settled()
        assert await stage.contents() == stage.log.projected().contents()


async def test_two_that_project_the_same_partition_change_nothing(stage: Stage) -> None:
    one, two = stage.projector("one"), stage.projector("two")
    await asyncio.gather(one.assign(EVERY), two.assign(EVERY))
    for _ in range(5):
        stage.work(tasks=3)
        await asyncio.sleep(0)
    await stage.settled()
    await until(lambda: one.positions == two.positions == stage.log.ends)
    await asyncio.gather(one.stop(), two.stop())
    assert await stage.contents() == stage.log.projected().contents()


async def test_what_nobody_can_read_is_passed_over(stage: Stage) -> None:
    projector = stage.projector()
    await projector.assign(EVERY)
    stage.log.skip(0)
    stage.work()
    stage.log.skip(1)
    await stage.settled()
    assert await stage.contents() == stage.log.projected().contents()


async def test_a_log_that_is_away_is_read_again_when_it_is_back(stage: Stage) -> None:
    projector = stage.projector()
    stage.log.down = True
    await projector.assign(EVERY)
    await until(lambda: "partition 0" in projector.failures)
    assert "LogUnavailable" in projector.failures["partition 0"]
    stage.log.down = False
    stage.work()
    await stage.settled()
    await until(lambda: projector.failures == {})
    assert await stage.contents() == stage.log.projected().contents()


async def test_a_reader_waits_for_its_token(stage: Stage) -> None:
    stage.history.create("a", schedule=NOW)
    stage.log.take(stage.history)
    with pytest.raises(ViewsBehind, match="not yet at 1"):
        await stage.reader.reached(stage.log.token, timeout=0.05)
    waiting = [asyncio.create_task(stage.reader.reached(stage.log.token)) for _ in range(50)]
    await stage.projector().assign(EVERY)
    await asyncio.gather(*waiting)
    assert await stage.queries.task("a") is not None
    for bad in ("", "x", "1", "0:x", "-1:2", "0:1,"):
        with pytest.raises(ValueError, match="consistency token"):
            await stage.reader.reached(bad)


async def test_positions_never_go_back(stage: Stage) -> None:
    positions = Positions(stage.opened.session, stage.opened.generation.number)
    await positions.save({0: 5, 1: 7})
    await positions.save({0: 3, 1: 8})
    assert await positions.read() == {0: 5, 1: 8}


def test_rows_that_moved_on_are_taken_away_where_somebody_may_have_written_them_before_he_died() -> None:
    table = next(table for table in TABLES if table.name == "tasks_by_created")

    def index(before: Task, after: Task) -> list[Moved]:
        return [Moved(table, ["all"], (before.version, "a"), ["all"], (after.version, "a"))]

    pending = Pending()
    for version in (1, 2):
        change = Reindex(index, Task("a", version - 1), Task("a", version))
        pending.add([change], 0, version, in_doubt=True)
    places = {("all", 0, "a"): (GONE, 0, 1), ("all", 1, "a"): (GONE, 0, 2), ("all", 2, "a"): (None, 0, 2)}
    assert pending.rows[table] == places
