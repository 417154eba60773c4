"""Live events, as server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from taskscheduler.api import operations as op
from taskscheduler.api import render
from taskscheduler.api.node import Node
from taskscheduler.api.problems import FieldError
from taskscheduler.api.reply import encode
from taskscheduler.api.routes.common import Request
from taskscheduler.api.schemas.query import Query, parameter
from taskscheduler.api.schemas.shapes import ID, text
from taskscheduler.streams.hub import LiveEvent

KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment is sent, so that proxies keep the connection and losses are noticed."""

MOST_TYPES = 50
_HELLO = b"retry: 2000\n: connected\n\n"
_COMMENT = b":\n\n"


def handlers(node: Node, keep_alive: float = KEEP_ALIVE) -> list[HTTPRouteHandler]:
    """The route of live events."""

    @get(
        "/api/events",
        opt=op.documented(
            op.Operation(
                "liveEvents",
                "events",
                "Follow what happens, live",
                {200: op.Response("Events, each with JSON as data.", {"type": "string"}, (), "text/event-stream")},
                description="Each event has its type as `event`, and as `id` a place on the log: send it as "
                "`Last-Event-ID` to go on from there. Events of one decision that were not all received come again. "
                "`data` is a LiveEvent; `gap` is true when events before it were missed.",
                parameters=(
                    parameter("task_id", ID, "Only of this task."),
                    parameter(
                        "type",
                        {"type": "array", "maxItems": MOST_TYPES, "items": text(1, 100)},
                        "Only of these types, such as `run.queued.v1`.",
                        style="form",
                        explode=True,
                    ),
                    op.header(
                        "Last-Event-ID",
                        "Go on after this one.",
                        {"type": "string", "pattern": r"^[0-9]{1,18}(\.[0-9]{1,18})*$"},
                    ),
                ),
                problems=("invalid",),
            )
        ),
    )
    async def live_events(request: Request) -> Stream:
        query = Query(request.scope["query_string"])
        task_id, types = query.id("task_id"), query.all("type")
        if len(types) > MOST_TYPES:
            query.error("type", f"must be at most {MOST_TYPES}")
        query.end()
        last = request.headers.get("last-event-id") or None
        after = None if last is None else node.hub.place(last)
        if last is not None and after is None:
            query.errors.found.append(FieldError("/headers/last-event-id", "must be the id of an event"))
        query.errors.check()
        events = node.hub.subscribe(after, task_id, set(types) or None)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return Stream(frames(events, keep_alive), media_type="text/event-stream", headers=headers)

    return [live_events]


async def frames(events: AsyncIterator[LiveEvent], keep_alive: float) -> AsyncGenerator[bytes, None]:
    """The stream: a greeting, the events, and a comment after each `keep_alive` seconds of silence."""
    yield _HELLO
    coming: asyncio.Future[LiveEvent] = asyncio.ensure_future(anext(events))
    try:
        while True:
            await asyncio.wait({coming}, timeout=keep_alive)
            if not coming.done():
                yield _COMMENT
                continue
            try:
                live = coming.result()
            except StopAsyncIteration:
                return
            yield _frame(live)
            coming = asyncio.ensure_future(anext(events))
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


def _frame(live: LiveEvent) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (live.id.encode(), live.type.encode(), encode(render.live_event(live)))
