"""http targets behind a proxy: it gets the names, and passwords for itself alone."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

import pytest

from taskscheduler.api.settings import Http
from taskscheduler.streams.dispatch.http import Proxy
from tests.streams.http_kit import Names, attempt, caller, kind

BASIC = "Basic " + base64.b64encode(b"me:pw").decode()


class FakeProxy:
    """Remembers the head of each request; answers 502 to CONNECT, and 200 to others."""

    def __init__(self) -> None:
        self.heads: list[list[str]] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.heads.append(head)
        status = "502 Refused" if head[0].startswith("CONNECT") else "200 OK"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[FakeProxy]:
    made = FakeProxy()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    await server.wait_closed()


async def test_a_plain_request_goes_through_it(proxy: FakeProxy) -> None:
    """The proxy may stand in a private network; the name of the target is for it to resolve."""
    resolver = Names(["127.0.0.1"])
    url = f"http://proxy.internal:{proxy.port}"
    async with caller(reach=Http(proxy=url), resolver=resolver, proxy=Proxy(url, "me", "pw")) as made:
        outcome = await made.call(attempt("http://hooks.example:8080/a?b=1", payload="{}"))
    assert outcome.error is None
    [head] = proxy.heads
    assert head[0] == "POST http://hooks.example:8080/a?b=1 HTTP/1.1"
    assert "Host: hooks.example:8080" in head
    assert f"Proxy-Authorization: {BASIC}" in head
    assert resolver.asked == 1


async def test_tls_goes_through_a_tunnel(proxy: FakeProxy) -> None:
    url = f"http://proxy.internal:{proxy.port}"
    async with caller(reach=Http(proxy=url), resolver=Names(["127.0.0.1"]), proxy=Proxy(url, "me", "pw")) as made:
        outcome = await made.call(attempt("https://hooks.example/a", headers={"X-Mine": "1"}))
    assert kind(outcome) == "connection_failed"
    [head] = proxy.heads
    assert head[0] == "CONNECT hooks.example:443 HTTP/1.1"
    assert f"Proxy-Authorization: {BASIC}" in head
    assert not any(line.startswith(("X-Mine", "Task-Id")) for line in head)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/",
        "http://[::ffff:10.0.0.1]/",
        "http://0x7f.1/",
        "http://localhost/",
        "http://169.254.169.254/",
        "http://metadata/",
        "http://hooks.example:22/",
    ],
)
async def test_what_can_be_told_without_a_look_up_is_refused_all_the_same(proxy: FakeProxy, url: str) -> None:
    at = f"http://proxy.internal:{proxy.port}"
    async with caller(reach=Http(proxy=at), resolver=Names(["127.0.0.1"]), proxy=Proxy(at)) as made:
        assert kind(await made.call(attempt(url))) == "forbidden_address"
    assert proxy.heads == []


async def test_a_proxy_that_is_not_there() -> None:
    async with caller(reach=Http(), resolver=Names(["127.0.0.1"]), proxy=Proxy("http://proxy.internal:1")) as made:
        assert kind(await made.call(attempt("http://hooks.example/"))) == "connection_failed"
