"""Cassandra is paused, killed and started again while records are projected and read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from taskscheduler.projections.ports import ViewsUnavailable
from taskscheduler.projections.queries import Queries
from taskscheduler.streams.cassandra.in_force import ViewsInForce
from taskscheduler.streams.cassandra.schema import migrate
from taskscheduler.streams.cassandra.session import Session
from taskscheduler.streams.cassandra.to_write import ViewsToWrite
from taskscheduler.streams.cassandra.views import CassandraViews
from taskscheduler.streams.projecting import WAITING, Projecting
from tests.projections.history import EVERY_MINUTE, MINUTE, History
from tests.streams.cassandra_kit import settings
from tests.support.engines import Server
from tests.support.split_log import SplitLog

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

PARTITIONS = 2


class Stage:
    """A log that grows, a projector and a reader with connections of their own."""

    def __init__(self, address: str, path: Path) -> None:
        given = settings(address, request_timeout=1_000, connect_timeout=1_000)
        self.sessions = [Session(given), Session(given)]
        self.log, self.history = SplitLog(PARTITIONS), History()
        writes = ViewsToWrite(self.sessions[0], "the log", PARTITIONS)
        self.projector = Projecting(self.log, writes, path, clock=lambda: self.history.now)  # type: ignore[arg-type]
        self.reader = ViewsInForce(self.sessions[1], "the log")
        self.queries = Queries(self.reader)
        self.ids: list[str] = []

    def work(self, rounds: int = 1) -> None:
        for _ in range(rounds):
            if len(self.ids) < 40:
                self.ids.append(f"task-{len(self.ids)}")
                self.history.create(self.ids[-1], schedule=EVERY_MINUTE, tags={"team": "ops"})
            self.history.advance(MINUTE)
            for number, task_id in enumerate(self.ids[-5:]):
                (self.history.fail if number == 0 else self.history.succeed)(task_id)
        self.log.take(self.history)

    async def settled(self) -> None:
        while True:
            try:
                await self.reader.reached(self.log.token, timeout=60)
                return
            except ViewsUnavailable:
                await asyncio.sleep(0.1)

    async def check(self) -> None:
        views = CassandraViews(self.sessions[1], await migrate(self.sessions[1], "the log", PARTITIONS))
        assert await views.contents() == self.log.projected().contents()


@pytest.fixture
async def stage(own_cassandra: Server, tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(own_cassandra.address, tmp_path)
    await stage.projector.assign(range(PARTITIONS))
    stage.work()
    await stage.settled()
    yield stage
    await stage.projector.stop()
    for session in stage.sessions:
        await session.close()


async def test_paused_it_is_given_up_in_time_and_caught_up_with(stage: Stage, own_cassandra: Server) -> None:
    own_cassandra.process.pause()
    try:
        started = time.monotonic()
        with pytest.raises(ViewsUnavailable):
            await stage.queries.task("task-0")
        assert time.monotonic() - started < 5
        stage.work(rounds=20)
        while "views" not in stage.projector.failures:
            await asyncio.sleep(0.05)
        assert any(lag.records > 0 for lag in stage.projector.lag.values())
        waited = []
        for _ in range(30):
            started = time.monotonic()
            with pytest.raises(ViewsUnavailable):
                await stage.queries.task("task-0")
            waited.append(time.monotonic() - started)
        # One asks whether it is back; the others are told what is known.
        assert sorted(waited)[len(waited) // 2] < 0.05
    finally:
        own_cassandra.process.resume()
    await stage.settled()
    while stage.projector.failures:
        await asyncio.sleep(0.05)
    await stage.check()


async def test_killed_in_the_middle_of_writing_it_comes_back_whole(stage: Stage, own_cassandra: Server) -> None:
    for _ in range(2):
        before = stage.projector.written
        stage.work(rounds=30)
        while stage.projector.written == before:
            await asyncio.sleep(0)
        own_cassandra.process.kill()
        stage.work(rounds=3)
        while "views" not in stage.projector.failures:
            await asyncio.sleep(0.05)
        await asyncio.to_thread(own_cassandra.process.start)
        await stage.settled()
        await stage.check()


async def test_with_a_full_disk_it_is_behind_and_caught_up_with_when_there_is_room(
    stage: Stage, own_cassandra: Server
) -> None:
    session = stage.sessions[1]
    filler = f"{session.keyspace}.filler"
    await session.run(f"CREATE TABLE {filler} (id int PRIMARY KEY, data text)", timeout=60)
    own_cassandra.limit_files(1024 * 1024)
    with suppress(ViewsUnavailable):
        for number in count():
            await session.run(f"INSERT INTO {filler} (id, data) VALUES ({number}, '{'x' * 100_000}')", timeout=2)
    while "views" not in stage.projector.failures:
        stage.work()
        await asyncio.sleep(0.05)
    before = sum(stage.projector.positions.values())
    stage.work(rounds=3)
    assert before < sum(stage.log.ends.values()), "the log goes on"
    await asyncio.to_thread(own_cassandra.process.kill)
    await asyncio.to_thread(own_cassandra.process.start)
    await stage.settled()
    await stage.check()


async def test_while_it_is_away_what_waits_in_memory_is_bounded(stage: Stage, own_cassandra: Server) -> None:
    own_cassandra.process.pause()
    try:
        while "views" not in stage.projector.failures:
            stage.work(rounds=1)
            await asyncio.sleep(0.05)
        stage.work(rounds=WAITING // 10)
        assert sum(stage.log.ends.values()) > WAITING + 1_000
        folded = -1
        while folded != (folded := sum(stage.projector.positions.values())):
            await asyncio.sleep(1.5)
        assert folded < sum(stage.log.ends.values())
    finally:
        own_cassandra.process.resume()
    await stage.settled()
    await stage.check()
