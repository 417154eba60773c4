"""Schedulers to test as their users see them, in either profile."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec

import msgspec
import pytest

from tests.e2e.instances import Instances, connected
from tests.e2e.receiver import Receiver, receiving
from tests.e2e.serving import Serving


class Scheduler(msgspec.Struct, frozen=True):
    """A running scheduler: the base URLs of its instances."""

    urls: tuple[str, ...]


FLINK = pytest.mark.skipif(find_spec("taskscheduler.streams.flink") is None, reason="nothing gives triggers yet")


@pytest.fixture(scope="session", params=["embedded", pytest.param("cluster", marks=[pytest.mark.cluster, FLINK])])
def scheduler(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scheduler]:
    """One process that keeps everything in a directory, or a whole cluster with two instances of the API."""
    if request.param == "cluster":
        yield Scheduler(tuple(request.getfixturevalue("cluster").urls))
        return
    server = Serving(tmp_path_factory.mktemp("embedded") / "data")
    try:
        asyncio.run(server.start())
        yield Scheduler((server.url,))
    finally:
        server.end()


@pytest.fixture
async def users(scheduler: Scheduler) -> AsyncIterator[Instances]:
    """Users of all instances."""
    async with connected(scheduler.urls) as instances:
        yield instances


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """What http targets call."""
    async with receiving() as one:
        yield one


@pytest.fixture
def name() -> str:
    """Begins with a letter and is used nowhere else: for ids, queues and tags."""
    return f"n{os.urandom(5).hex()}"
