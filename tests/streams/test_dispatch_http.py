"""The http target against a server on this machine."""

from __future__ import annotations

import asyncio
import socket
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from taskscheduler.api.settings import Http
from taskscheduler.domain.events import Error
from taskscheduler.streams.dispatch.capture import BODY_LIMIT
from taskscheduler.streams.dispatch.dispatcher import Outcome
from taskscheduler.streams.dispatch.http import LONGEST_RETRY_AFTER, retry_after
from tests.streams.http_kit import NOW, Names, Server, attempt, call, caller, kind, serving


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as made:
        yield made


async def test_the_request_says_which_attempt_it_is(server: Server) -> None:
    outcome = await call(server.url, payload='{"a": 1}', headers={"X-Mine": "1", "task-id": "forged"})
    assert outcome == Outcome(result='{"status":200,"body":"fine"}')
    [(method, path, headers, body)] = server.requests
    assert (method, path, body) == ("POST", "/hook?x=1", '{"a": 1}')
    assert headers["X-Mine"] == "1"
    assert headers["Content-Type"] == "application/json"
    assert {name: headers[name] for name in ("Task-Id", "Run-Id", "Attempt", "Scheduled-For")} == {
        "Task-Id": "task-1",
        "Run-Id": "run-1",
        "Attempt": "2",
        "Scheduled-For": "2026-01-04T23:59:59.123Z",
    }
    assert "task-id" not in headers
    assert "Cookie" not in headers


@pytest.mark.parametrize(
    ("target", "payload", "body", "content_type"),
    [
        ({"body": '"plain text"'}, None, "plain text", "text/plain; charset=utf-8"),
        ({"body": '{"b": [1]}'}, '{"a": 1}', '{"b": [1]}', "application/json"),
        ({"body": '"<a/>"', "headers": {"content-type": "text/xml"}}, None, "<a/>", "text/xml"),
        ({"method": "PUT"}, "[1]", "[1]", "application/json"),
        ({"method": "GET"}, "[1]", "", "application/json"),
        ({}, None, "", "application/json"),
    ],
)
async def test_bodies(server: Server, target: Any, payload: str | None, body: str, content_type: str) -> None:
    await call(server.url, payload=payload, **target)
    [(method, _, headers, sent)] = server.requests
    assert method == target.get("method", "POST")
    assert (sent, headers["Content-Type"]) == (body, content_type)


@pytest.mark.parametrize(
    ("expect", "status", "fine"),
    [
        (("200-299",), 200, True),
        (("200-299",), 299, True),
        (("200-299",), 300, False),
        (("200-299",), 404, False),
        (("200-299", 304), 304, True),
        ((418,), 418, True),
        ((418,), 200, False),
        (("500",), 500, True),
    ],
)
async def test_expected_statuses(server: Server, expect: tuple[int | str, ...], status: int, fine: bool) -> None:
    server.respond(status=status)
    outcome = await call(server.url, expect=expect)
    assert (outcome.error is None) == fine
    if not fine:
        assert outcome == Outcome(error=Error(f"http_{status}", f"the response has status {status}"))


async def test_a_failure_shows_the_beginning_of_the_response(server: Server) -> None:
    server.respond(status=500, text="broken " + "x" * 1000)
    outcome = await call(server.url)
    assert outcome.error is not None
    assert outcome.error.message.startswith("the response has status 500: broken xxx")
    assert len(outcome.error.message) < 300


async def test_long_responses_are_cut(server: Server) -> None:
    server.respond(text="y" * (BODY_LIMIT * 3))
    outcome = await call(server.url)
    assert outcome.result is not None
    assert msgspec.json.decode(outcome.result)["body"] == "y" * BODY_LIMIT


async def test_an_endless_response_is_cut_too(server: Server) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            try:
                await response.write(b"z" * 1024)
            except ConnectionError:
                return response

    server.answer = endless
    outcome = await call(server.url)
    assert outcome.result is not None
    assert len(msgspec.json.decode(outcome.result)["body"]) == BODY_LIMIT


@pytest.mark.parametrize("charset", ["utf-8", "latin-1", "nonsense", "hex", "idna", "undefined", "utf-16"])
async def test_any_charset_gives_some_text(server: Server, charset: str) -> None:
    server.respond(body="für".encode(), headers={"Content-Type": f"text/plain; charset={charset}"})
    outcome = await call(server.url)
    assert outcome.result is not None
    if charset in ("utf-8", "nonsense", "hex"):
        assert msgspec.json.decode(outcome.result)["body"] == "für"


async def test_what_is_cut_says_so(server: Server) -> None:
    for size in (BODY_LIMIT, BODY_LIMIT + 1):
        server.respond(text="y" * size)
        outcome = await call(server.url)
        assert outcome.result is not None
        assert msgspec.json.decode(outcome.result).get("truncated", False) == (size > BODY_LIMIT)


@pytest.mark.parametrize(
    "body", [bytes(range(256)) * 200, b"\0" * BODY_LIMIT, b"\xff" * BODY_LIMIT, b"\x1b[2J\x1b]0;owned\x07\x9b1m"]
)
async def test_bytes_that_are_no_text(server: Server, body: bytes) -> None:
    """They are kept as text that can be shown on a terminal and fits into an event."""
    for charset in ("utf-8", "latin-1"):
        server.respond(body=body, headers={"Content-Type": f"application/octet-stream; charset={charset}"})
        outcome = await call(server.url)
        assert outcome.result is not None
        assert len(outcome.result.encode()) < 64 * 1024
        text = msgspec.json.decode(outcome.result)["body"]
        assert all(char in "\t\n\r" or not (ord(char) < 32 or 127 <= ord(char) < 160) for char in text)


def packed(size: int, wbits: int) -> bytes:
    packer = zlib.compressobj(9, wbits=wbits)
    return packer.compress(b"a" * size) + packer.flush()


@pytest.mark.parametrize(("coding", "wbits"), [("gzip", 31), ("deflate", 15), ("x-gzip", 31)])
async def test_a_response_that_is_packed_although_nobody_asked(server: Server, coding: str, wbits: int) -> None:
    server.respond(body=packed(1_000, wbits), headers={"Content-Encoding": coding})
    outcome = await call(server.url)
    assert outcome.result is not None
    assert msgspec.json.decode(outcome.result)["body"] == "a" * 1_000
    assert server.requests[0][2]["Accept-Encoding"] == "identity"


async def test_a_response_that_grows_when_it_is_unpacked(server: Server) -> None:
    """256 MiB in 256 KiB: no more is unpacked than is kept."""
    server.respond(body=packed(256 * 1024 * 1024, 31), headers={"Content-Encoding": "gzip"})
    tracemalloc.start()
    outcome = await call(server.url)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert outcome.result is not None
    assert msgspec.json.decode(outcome.result) == {"status": 200, "body": "a" * BODY_LIMIT, "truncated": True}
    assert peak < 8 * 1024 * 1024


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "nonsense"])
async def test_a_coding_that_it_is_not(server: Server, coding: str) -> None:
    server.respond(body=b"plain", headers={"Content-Encoding": coding})
    outcome = await call(server.url)
    assert outcome.result is not None
    assert msgspec.json.decode(outcome.result)["body"] == ("" if coding == "gzip" else "plain")


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 100_000,
        b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * 1_000_000 + b"\r\n",
        b"HTTP/1.1 200 " + b"b" * 1_000_000 + b"\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10 + b"HTTP/1.1 200\r\nContent-Length: 1, 2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
        b"HTTP/1.1 200 OK\r\nbroken\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1_000 + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
    ],
)
async def test_heads_that_no_honest_server_sends(head: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head + b"\r\nxy")
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    assert kind(await call(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")) == "connection_failed"
    server.close()
    await server.wait_closed()


async def test_a_response_may_be_announced() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 16 + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with caller() as made:
        for _ in range(2):
            assert (await made.call(attempt(url, method="GET"))).error is None
    server.close()
    await server.wait_closed()


async def test_passwords_of_the_environment_are_not_sent(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    await call(server.url)
    assert "Authorization" not in server.requests[0][2]


async def test_headers_of_the_connection_are_not_a_task_s_to_set(server: Server) -> None:
    """The door refuses them; should one come through, it is left out."""
    names = ("Host", "content-length", "Transfer-Encoding", "Connection", "Proxy-Authorization", "Run-Id")
    await call(server.url, payload="{}", headers=dict.fromkeys(names, "7") | {"X-Mine": "1"})
    [(_, _, sent, body)] = server.requests
    assert (sent["X-Mine"], sent["Content-Length"], sent["Host"], sent["Run-Id"], body) == (
        *("1", "2", f"127.0.0.1:{server.port}", "run-1", "{}"),
    )
    assert not {"Transfer-Encoding", "Proxy-Authorization"} & set(sent)


async def test_no_line_can_be_smuggled_into_the_head(server: Server) -> None:
    for headers in ({"X-A": "1\r\nX-B: 2"}, {"X-A\r\nX-B": "2"}, {"X-A": "1\nX-B: 2"}):
        assert kind(await call(server.url, headers=headers)) == "connection_failed"
    assert server.requests == []


async def test_redirects_are_not_followed(server: Server) -> None:
    server.respond(status=302, headers={"Location": "/elsewhere"})
    assert kind(await call(server.url)) == "http_302"
    assert len(server.requests) == 1


async def test_cookies_are_not_kept(server: Server) -> None:
    server.respond(headers={"Set-Cookie": "a=b"})
    async with caller(resolver=Names(["127.0.0.1"])) as made:
        for _ in range(2):
            await made.call(attempt(f"http://names.example:{server.port}/"))
    assert len(server.requests) == 2
    assert all("Cookie" not in headers for _, _, headers, _ in server.requests)


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("7", 7_000),
        (" 0 ", 0),
        ("99999999999999999999", LONGEST_RETRY_AFTER),
        ("Mon, 05 Jan 2026 00:00:10 GMT", 9_877),
        ("Mon, 05 Jan 2026 00:00:10 -0000", 9_877),
        ("Sun, 04 Jan 2026 00:00:00 GMT", 0),
        ("Mon, 05 Jan 2099 00:00:10 GMT", LONGEST_RETRY_AFTER),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after(header: str | None, wait: int | None) -> None:
    assert retry_after(header, NOW) == wait


async def test_the_server_may_ask_to_wait(server: Server) -> None:
    server.respond(status=503, headers={"Retry-After": "30"})
    assert (await call(server.url)).retry_after == 30_000


async def test_no_response_in_time(server: Server) -> None:
    stopped = asyncio.Event()

    async def silent(_: web.Request) -> web.Response:
        await stopped.wait()
        return web.Response()

    server.answer = silent
    assert kind(await call(server.url, left=100)) == "timed_out"
    stopped.set()


async def test_a_response_that_stalls_in_its_body(server: Server) -> None:
    stopped = asyncio.Event()

    async def stalls(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"a")
        await stopped.wait()
        return response

    server.answer = stalls
    assert kind(await call(server.url, left=200)) == "timed_out"
    stopped.set()


async def test_nobody_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert kind(await call(f"http://127.0.0.1:{port}/")) == "connection_failed"


async def test_what_is_no_http_at_all() -> None:
    async def rude(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"nonsense\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(rude, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert kind(await call(f"http://127.0.0.1:{port}/")) == "connection_failed"
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("url", ["http://[::1", "nonsense", "http://", "ftp://127.0.0.1/", "http://127.0.0.1:99999/"])
async def test_a_url_that_is_none_is_a_failure(url: str) -> None:
    assert kind(await call(url)) in ("connection_failed", "forbidden_address")


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/", "http://localhost:{}/", "http://2130706433:{}/"])
async def test_this_machine_is_forbidden_unless_allowed(server: Server, url: str) -> None:
    found = await call(url.format(server.port), settings={"reach": Http()})
    assert kind(found) == "forbidden_address"
    assert server.requests == []


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"]]
)
async def test_a_name_for_a_forbidden_address_is_not_called(server: Server, addresses: list[str]) -> None:
    settings = {"reach": Http(), "resolver": Names(addresses)}
    found = await call(f"http://names.example:{server.port}/", settings=settings)
    assert kind(found) == "forbidden_address"
    assert found.error is not None
    assert "names.example resolves to" in found.error.message
    assert server.requests == []


async def test_a_resolver_that_changes_its_answer_gets_nowhere(server: Server) -> None:
    """What is connected to is what was checked: a name is resolved once for an attempt, and never from a cache."""
    resolver = Names(["127.0.0.1"], ["10.0.0.1"])
    async with caller(resolver=resolver) as made:
        url = f"http://names.example:{server.port}/"
        assert (await made.call(attempt(url))).error is None
        assert resolver.asked == 1
        # The connection is still open, and yet not used.
        assert kind(await made.call(attempt(url))) == "forbidden_address"
        assert resolver.asked == 2
    assert len(server.requests) == 1
