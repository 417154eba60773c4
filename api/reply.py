"""What a route answers: bytes that are sent as they stand."""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from litestar.types import Receive, Scope, Send

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]

JSON = b"application/json"

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
        headers = [*self.headers]
        if self.status != 204:
            headers += [(b"content-type", self.media_type), (b"content-length", b"%d" % len(self.body))]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


def json_reply(status: int, content: object, *, headers: Headers = ()) -> Reply:
    """The content as JSON."""
    return Reply(status, encode(content), headers=headers)
