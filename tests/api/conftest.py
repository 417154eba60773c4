"""Lets the tests of this folder import the helpers beside them; servers for those that need one."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cli_stub import Run, StubServer, stub_server

if TYPE_CHECKING:
    import httpx
    from rest_kit import Clock

    from taskscheduler.api.bootstrap import EmbeddedNode


@pytest.fixture(scope="module")
def shared_stub() -> Iterator[StubServer]:
    with stub_server() as stub:
        yield stub


@pytest.fixture
def stub(shared_stub: StubServer, monkeypatch: pytest.MonkeyPatch) -> StubServer:
    """The server that the command line talks to."""
    shared_stub.replies.clear()
    shared_stub.requests.clear()
    monkeypatch.setenv("TASKSCHEDULER_URL", shared_stub.url)
    return shared_stub


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line in this process, in an empty directory, with the log left alone."""
    from taskscheduler.api.cli.main import run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("taskscheduler.api.logs.configure", lambda *_: None)

    def command(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return command


@pytest.fixture
def clock() -> Clock:
    """Stands still until it is moved."""
    from rest_kit import Clock

    return Clock()


@pytest.fixture
async def served(tmp_path: Path, clock: Clock) -> AsyncIterator[tuple[EmbeddedNode, Any]]:
    """A whole embedded node and its application."""
    from rest_kit import real_node

    async with real_node(tmp_path, clock) as both:
        yield both


@pytest.fixture
def node(served: tuple[EmbeddedNode, Any]) -> EmbeddedNode:
    """The node behind `api`."""
    return served[0]


@pytest.fixture
async def api(served: tuple[EmbeddedNode, Any]) -> AsyncIterator[httpx.AsyncClient]:
    """A client that holds every reply to the OpenAPI document."""
    from rest_kit import client_of

    async with client_of(served[1]) as client:
        yield client


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server process with a data directory of its own."""
    import asyncio

    from tests.e2e.serving import Serving

    server = Serving(tmp_path_factory.mktemp("served") / "data")
    try:
        asyncio.run(server.start())
        yield server.url
    finally:
        server.end()


@pytest.fixture
def real(server_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The real server is the one that the command line talks to; its URL."""
    monkeypatch.setenv("TASKSCHEDULER_URL", server_url)
    return server_url
