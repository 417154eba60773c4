"""Live events over REST."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from taskscheduler.api.bootstrap import EmbeddedNode
from taskscheduler.api.routes.events import frames
from taskscheduler.streams.hub import LiveEvent

GOOD: dict[str, Any] = {"name": "x", "schedule": {"at": "2030-06-01T00:00:00Z"}, "target": {"type": "noop"}}
HELLO = b"retry: 2000\n: connected\n\n"


class Following:
    """A connection to /api/events: `chunks` are what came over it, None its end."""

    def __init__(self) -> None:
        self.chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.hung_up = asyncio.Event()
        self.head: dict[str, Any] = {}

    async def receive(self) -> dict[str, Any]:
        await self.hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.head = message
        elif message.get("body"):
            self.chunks.put_nowait(message["body"])
        if not message.get("more_body", True):
            self.chunks.put_nowait(None)

    async def event(self) -> dict[str, Any]:
        """The next event: its id, and its data."""
        chunk = await self.chunks.get()
        assert chunk is not None
        position, kind, data = chunk.decode().removesuffix("\n\n").split("\n")
        said = json.loads(data.removeprefix("data: "))
        assert said["type"] == kind.removeprefix("event: ")
        return {"id": position.removeprefix("id: "), **said}


@asynccontextmanager
async def follow(app: Any, query: str = "", last: str | None = None) -> AsyncIterator[Following]:
    following = Following()
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/events",
        "raw_path": b"/api/events",
        "query_string": query.encode(),
        "headers": [] if last is None else [(b"last-event-id", last.encode())],
    }
    serving = asyncio.create_task(app(scope, following.receive, following.send))
    assert await following.chunks.get() == HELLO
    assert following.head["status"] == 200
    assert dict(following.head["headers"])[b"content-type"].startswith(b"text/event-stream")
    yield following
    following.hung_up.set()
    await serving


async def write(api: httpx.AsyncClient, *ids: str) -> None:
    for task_id in ids:
        await api.post("/api/tasks", json={**GOOD, "id": task_id})
        await api.post(f"/api/tasks/{task_id}/pause", json={"note": "two\nlines"})


async def test_what_happens_is_told_live(served: tuple[EmbeddedNode, Any], api: httpx.AsyncClient) -> None:
    await write(api, "before")
    async with follow(served[1]) as following:
        await write(api, "a")
        first, second = await following.event(), await following.event()
    assert (first["id"], first["task_id"], first["type"]) == ("3", "a", "task.created.v1")
    assert second == {
        "id": "4",
        "task_id": "a",
        "type": "task.paused.v1",
        "version": 2,
        "time": "2030-01-01T00:00:00.000Z",
        "actor": "anonymous",
        "cause": None,
        "data": {"by": "anonymous", "note": "two\nlines"},
        "gap": False,
    }


async def test_a_follower_goes_on_after_its_last_event(
    served: tuple[EmbeddedNode, Any], api: httpx.AsyncClient
) -> None:
    await write(api, "a", "b")
    async with follow(served[1], last="2") as following:
        assert [(await following.event())["id"] for _ in range(2)] == ["3", "4"]


async def test_a_follower_cut_off_within_a_decision_misses_none_of_it(
    served: tuple[EmbeddedNode, Any], api: httpx.AsyncClient
) -> None:
    await write(api, "a")
    await api.delete("/api/tasks/a")
    async with follow(served[1], last="2") as following:
        whole = [await following.event() for _ in range(2)]
    assert [event["version"] for event in whole] == [3, 3]
    assert whole[0]["type"] != whole[1]["type"]
    async with follow(served[1], last=whole[0]["id"]) as following:
        assert [await following.event() for _ in range(2)] == whole
    async with follow(served[1], last=whole[1]["id"]) as following:
        await write(api, "b")
        assert (await following.event())["task_id"] == "b"


async def test_events_are_picked_by_task_and_by_type(served: tuple[EmbeddedNode, Any], api: httpx.AsyncClient) -> None:
    await write(api, "a", "b")
    async with follow(served[1], "task_id=b&type=task.paused.v1&type=task.resumed.v1", "0") as following:
        await api.post("/api/tasks/a/resume")
        await api.post("/api/tasks/b/resume")
        assert [(await following.event())["id"] for _ in range(2)] == ["4", "6"]


async def test_the_first_event_after_a_gap_says_so(served: tuple[EmbeddedNode, Any], api: httpx.AsyncClient) -> None:
    async with follow(served[1], last="999") as following:
        await write(api, "a")
        assert [(await following.event())["gap"] for _ in range(2)] == [True, False]


async def test_a_follower_is_let_go_at_once_when_the_server_stops(
    served: tuple[EmbeddedNode, Any], node: EmbeddedNode
) -> None:
    async with follow(served[1]) as following:
        node.hub.close()
        assert await following.chunks.get() is None


async def test_a_follower_that_hangs_up_is_forgotten(served: tuple[EmbeddedNode, Any], node: EmbeddedNode) -> None:
    async with follow(served[1]):
        while node.hub.listeners == 0:
            await asyncio.sleep(0)
    assert node.hub.listeners == 0


async def test_silence_is_filled_with_comments() -> None:
    async def silent() -> AsyncIterator[LiveEvent]:
        await asyncio.Event().wait()
        yield  # type: ignore[misc]

    sent = frames(silent(), 0.001)
    assert [await anext(sent) for _ in range(3)] == [HELLO, b":\n\n", b":\n\n"]
    await sent.aclose()


async def test_bad_subscriptions_are_refused(api: httpx.AsyncClient) -> None:
    types = "&".join(f"type=t{n}" for n in range(51))
    for query, pointer in [("task_id=a/b", "/task_id"), ("x=1", "/x"), (types, "/type")]:
        response = await api.get(f"/api/events?{query}")
        assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
    for last in ("x", "-1", "1" * 19):
        response = await api.get("/api/events", headers={"Last-Event-ID": last})
        assert [error["pointer"] for error in response.json()["errors"]] == ["/headers/last-event-id"]
