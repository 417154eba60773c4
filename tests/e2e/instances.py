"""The instances of a scheduler as their users see them: what was written through one is read through another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import httpx

from tests.api.rest_kit import Contract, refusing_app

PATIENCE = 60.0
"""Seconds after which what is waited for will not come any more."""

LOOK_EVERY = 0.05


@cache
def contract() -> Contract:
    """What OpenAPI promises of replies, the same for every profile."""
    return Contract(refusing_app())


async def _check(response: httpx.Response) -> None:
    if "event-stream" not in response.headers.get("content-type", ""):
        await response.aread()
        contract().check(response)


class Instances:
    """Writes go to the first instance and reads to the last, unless said otherwise; there may be just one.

    Every reply is held to the OpenAPI document. A read carries the tokens of all writes before it.
    """

    def __init__(self, clients: list[httpx.AsyncClient]) -> None:
        self.clients = clients
        self._seen: dict[str, int] = {}

    @property
    def token(self) -> str:
        """Up to where a reader must be to see every write that was made here."""
        return ",".join(f"{partition}:{position}" for partition, position in self._seen.items())

    async def send(self, method: str, path: str, body: Any = None, *, at: int = 0, **headers: str) -> httpx.Response:
        """A write, whatever comes of it; an underscore in the name of a header stands for a hyphen."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await self.clients[at].request(method, path, json=body, headers=named)
        for part in filter(None, response.headers.get("consistency-token", "").split(",")):
            partition, _, position = part.partition(":")
            self._seen[partition] = max(self._seen.get(partition, 0), int(position))
        return response

    async def write(self, method: str, path: str, body: Any = None, *, at: int = 0, **headers: str) -> Any:
        """A write that must succeed: its body."""
        response = await self.send(method, path, body, at=at, **headers)
        assert response.is_success, (method, path, response.status_code, response.text)
        return response.json() if response.content else None

    async def create(self, body: dict[str, Any], *, at: int = 0, **headers: str) -> dict[str, Any]:
        """A new task."""
        made: dict[str, Any] = await self.write("POST", "/api/tasks", body, at=at, **headers)
        return made

    async def ask(self, path: str, *, at: int = -1) -> httpx.Response:
        """A read, whatever comes of it."""
        return await self.clients[at].get(path, headers={"consistency-token": self.token} if self._seen else {})

    async def read(self, path: str, *, at: int = -1) -> Any:
        """A read that must succeed: its body."""
        response = await self.ask(path, at=at)
        assert response.status_code == 200, (path, response.status_code, response.text)
        return response.json()

    async def pages(self, path: str) -> list[Any]:
        """The items of a list, page by page."""
        items: list[Any] = []
        following: str | None = path
        while following is not None:
            response = await self.ask(following)
            assert response.status_code == 200, (following, response.text)
            items += response.json()["items"]
            link = response.links.get("next")
            assert (link is None) is (response.json()["next_cursor"] is None)
            following = None if link is None else link["url"]
        return items

    async def until(self, path: str, holds: Callable[[Any], bool], *, at: int = -1) -> Any:
        """What is read once it is as wanted. Fails when that takes too long."""
        deadline = time.monotonic() + PATIENCE
        while not holds(found := await self.read(path, at=at)):
            assert time.monotonic() < deadline, f"{path} did not become what was waited for: {found}"
            await asyncio.sleep(LOOK_EVERY)
        return found

    async def ended(self, task_id: str) -> dict[str, Any]:
        """The task, once nothing more will fire."""
        task: dict[str, Any] = await self.until(
            f"/api/tasks/{task_id}", lambda task: task["status"] in ("completed", "failed", "cancelled")
        )
        return task


@asynccontextmanager
async def connected(urls: tuple[str, ...]) -> AsyncIterator[Instances]:
    """Clients of instances, by their base URLs."""
    clients = [
        httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False, event_hooks={"response": [_check]})
        for url in urls
    ]
    try:
        yield Instances(clients)
    finally:
        for client in clients:
            await client.aclose()
