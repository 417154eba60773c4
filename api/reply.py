"""What a route answers: bytes that are sent as they stand."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TypeAlias

import msgspec
from litestar.types import Receive, Scope, Send

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]

JSON = b"application/json"

MOST_READ_ON = 64 * 1024 * 1024
READ_ON_SECONDS = 5.0

encode = msgspec.json.encode


class Reply:
    """A finished response; an ASGI application of its own, so that nothing lies between a route and the wire."""

    __slots__ = ("body", "headers", "media_type", "status")

    def __init__(self, status: int, body: bytes = b"", *, media_type: bytes = JSON, headers: Headers = ()) -> None:
        self.status = status
        self.body = body
        self.media_type = media_type
        self.headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._begin(send)
        await send({"type": "http.response.body", "body": self.body, "more_body": False})

    async def _begin(self, send: Send) -> None:
        headers = [*self.headers]
        if self.status != 204:
            headers += [(b"content-type", self.media_type), (b"content-length", b"%d" % len(self.body))]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})


class Interruption(Reply):
    """A reply to a client that is still sending its body.

    Many listen only once they have sent all; a connection that closes before breaks under them, reply and all. So
    what they send is read on for a while, and dropped.
    """

    __slots__ = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._begin(send)
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READ_ON_SECONDS):
                await _read_on(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _read_on(receive: Receive) -> None:
    left = MOST_READ_ON
    while left > 0:
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
        left -= len(message.get("body", b""))


def json_reply(status: int, content: object, *, headers: Headers = ()) -> Reply:
    """The content as JSON."""
    return Reply(status, encode(content), headers=headers)
