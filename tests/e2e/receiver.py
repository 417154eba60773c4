"""An HTTP server that http targets call, on a port of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiohttp import web

from tests.e2e.instances import PATIENCE


class Call(NamedTuple):
    """A request as it came. `at` is seconds on the clock of the event loop."""

    method: str
    headers: dict[str, str]
    body: Any
    at: float


class Receiver:
    """Remembers the calls of each path, and answers with 200 or with what `answers` says for the next ones."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: dict[str, list[Call]] = {}
        self.answers: dict[str, list[tuple[int, dict[str, str]]]] = {}
        self._came = asyncio.Condition()

    async def called(self, path: str, times: int) -> list[Call]:
        """The calls of a path, once there are so many."""
        async with asyncio.timeout(PATIENCE), self._came:
            await self._came.wait_for(lambda: len(self.calls.get(path, ())) >= times)
        return self.calls[path]

    async def receive(self, request: web.Request) -> web.Response:
        """The handler of every path."""
        text = await request.text()
        call = Call(request.method, dict(request.headers), text, asyncio.get_running_loop().time())
        async with self._came:
            self.calls.setdefault(request.path, []).append(call)
            self._came.notify_all()
        left = self.answers.get(request.path)
        status, headers = left.pop(0) if left else (200, {})
        return web.json_response({"seen": len(self.calls[request.path])}, status=status, headers=headers)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver that listens."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.receive)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield receiver
    finally:
        await runner.cleanup()
