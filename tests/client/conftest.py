"""A stub server, clients for it in both styles, and workers that are stopped when a test ends."""

import asyncio
import contextlib
import inspect
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskscheduler.client import AsyncClient, Client, Worker

sys.path.insert(0, str(Path(__file__).parent))

from client_stub import Stub
from fake_clock import FakeClock


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    async with Stub().serving() as serving:
        yield serving


@pytest.fixture
def base_url(stub: Stub) -> str:
    """The server that tests of behaviour talk to: the stub, or the one that TASKSCHEDULER_TEST_URL names."""
    return os.environ.get("TASKSCHEDULER_TEST_URL") or stub.url


class InThread:
    """A Client used from asyncio: every call runs in a thread."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            return await asyncio.to_thread(method, *arguments, **named)

        async def iterate(*arguments: Any, **named: Any) -> AsyncIterator[Any]:
            iterator: Iterator[Any] = method(*arguments, **named)
            end = object()
            while (item := await asyncio.to_thread(next, iterator, end)) is not end:
                yield item

        return iterate if inspect.isgeneratorfunction(method) else call


MakeClient = Callable[..., Any]


@pytest.fixture(params=["async", "sync"])
async def make_client(request: pytest.FixtureRequest) -> AsyncIterator[MakeClient]:
    """Make clients of one of the two kinds, used alike; `slept` collects the waits that they would have made."""
    async with contextlib.AsyncExitStack() as stack:

        def make(url: str, *, slept: list[float] | None = None, **named: Any) -> Any:
            waits = [] if slept is None else slept

            async def sleep(seconds: float) -> None:
                waits.append(seconds)

            if request.param == "async":
                client = AsyncClient(url, sleep=sleep, **named)
                stack.push_async_callback(client.close)
                return client
            twin = Client(url, sleep=waits.append, **named)
            stack.callback(twin.close)
            return InThread(twin)

        yield make


@pytest.fixture
def client(make_client: MakeClient, base_url: str) -> Any:
    return make_client(base_url)


Start = Callable[[Worker], Awaitable["asyncio.Task[None]"]]


@pytest.fixture
async def start() -> AsyncIterator[Callable[[Worker], "asyncio.Task[None]"]]:
    """Run workers in the background; those still running at the end are stopped at once."""
    running: list[tuple[Worker, asyncio.Task[None]]] = []

    def begin(worker: Worker) -> asyncio.Task[None]:
        task = asyncio.create_task(worker.run())
        running.append((worker, task))
        return task

    yield begin
    for worker, task in running:
        if not task.done():
            worker.stop()
            worker.stop()
            await asyncio.wait({task})


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def worker(stub: Stub, clock: FakeClock) -> Worker:
    """A worker for two runs at a time, whose waits are not shortened by chance."""
    return Worker(stub.url, "q", concurrency=2, lease="30s", grace="20s", name="w", clock=clock, chance=lambda: 0.0)
