"""What the tests of http targets share: a server that answers as told, and calls to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from taskscheduler.api.settings import Http
from taskscheduler.domain.definition import Definition, HttpTarget
from taskscheduler.domain.schedule import OneTime
from taskscheduler.domain.state import Attempt, Run
from taskscheduler.streams.dispatch.dispatcher import Attempted, Outcome
from taskscheduler.streams.dispatch.egress import Egress
from taskscheduler.streams.dispatch.http import HttpCaller
from taskscheduler.streams.dispatch.secrets import Secrets

NOW = 1_767_571_200_123
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers as told and remembers what came."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], str]] = []
        self.answer: Answer = self.fine
        self.port = 0

    async def fine(self, _: web.Request) -> web.Response:
        return web.Response(text="fine")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs, dict(request.headers), await request.text()))
        return await self.answer(request)

    def respond(self, **response: Any) -> None:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(**response)

        self.answer = answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?x=1"


@asynccontextmanager
async def serving(**site: Any) -> AsyncIterator[Server]:
    made = Server()
    runner = web.ServerRunner(web.Server(made.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, **site).start()
    made.port = runner.addresses[0][1]
    try:
        yield made
    finally:
        await runner.cleanup()


@asynccontextmanager
async def caller(
    *, secrets: Path | None = None, environ: Mapping[str, str] | None = None, reach: Http | None = None, **options: Any
) -> AsyncIterator[HttpCaller]:
    """One that may call this machine, unless `reach` says what it may."""
    defaults: dict[str, Any] = {"clock": lambda: NOW, "at_once": 10, "connect_timeout": 5.0}
    egress = Egress(Http(allow_loopback=True) if reach is None else reach)
    made = HttpCaller(egress, Secrets(secrets, environ or {}), **{**defaults, **options})
    try:
        yield made
    finally:
        await made.close()


def attempt(url: str, *, payload: str | None = None, left: int = 60_000, **target: Any) -> Attempted:
    definition = Definition(name="t", schedule=OneTime(at=0), target=HttpTarget(url, **target), payload=payload)
    tries = tuple(Attempt(number, "w", NOW, "t", 1, NOW, NOW) for number in (1, 2))
    run = Run("run-1", "schedule", NOW - 1_000, "running", attempts=tries)
    return Attempted("task-1", run, definition, "t", NOW + 30_000, NOW + left)


async def call(url: str, *, settings: dict[str, Any] | None = None, **more: Any) -> Outcome:
    async with caller(**(settings or {})) as made:
        return await made.call(attempt(url, **more))


def kind(outcome: Outcome) -> str:
    assert outcome.error is not None, outcome.result
    return outcome.error.type


class Names:
    """A resolver that gives one list of addresses after another."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def addresses(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]

    def close(self) -> None:
        pass
