"""The http target against a server on this machine."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from taskscheduler.domain.definition import Definition, HttpTarget
from taskscheduler.domain.events import Error
from taskscheduler.domain.schedule import OneTime
from taskscheduler.domain.state import Attempt, Run
from taskscheduler.streams.dispatch.dispatcher import Attempted, Outcome
from taskscheduler.streams.dispatch.http import BODY_LIMIT, LONGEST_RETRY_AFTER, HttpCaller, retry_after

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


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    runner = web.ServerRunner(web.Server(made.handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


@asynccontextmanager
async def caller(**settings: Any) -> AsyncIterator[HttpCaller]:
    defaults: dict[str, Any] = {
        "clock": lambda: NOW,
        "allow_loopback": True,
        "allow_private": False,
        "at_once": 10,
        "connect_timeout": 5.0,
    }
    made = HttpCaller(**{**defaults, **settings})
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


async def test_redirects_are_not_followed(server: Server) -> None:
    server.respond(status=302, headers={"Location": "/elsewhere"})
    assert kind(await call(server.url)) == "http_302"
    assert len(server.requests) == 1


async def test_cookies_are_not_kept(server: Server) -> None:
    server.respond(headers={"Set-Cookie": "a=b"})
    async with caller() as made:
        for _ in range(2):
            await made.call(attempt(server.url))
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


class Resolver(AbstractResolver):
    """Gives one list of addresses after another."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/", "http://localhost:{}/", "http://2130706433:{}/"])
async def test_this_machine_is_forbidden_unless_allowed(server: Server, url: str) -> None:
    found = await call(url.format(server.port), settings={"allow_loopback": False})
    assert kind(found) == "forbidden_address"
    assert server.requests == []


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"]]
)
async def test_a_name_for_a_forbidden_address_is_not_called(server: Server, addresses: list[str]) -> None:
    settings = {"allow_loopback": False, "resolver": Resolver(addresses)}
    found = await call(f"http://names.example:{server.port}/", settings=settings)
    assert kind(found) == "forbidden_address"
    assert found.error is not None
    assert "names.example resolves to" in found.error.message
    assert server.requests == []


async def test_a_resolver_that_changes_its_answer_gets_nowhere(server: Server) -> None:
    """What is connected to is what was checked: a name is resolved once for a connection, and never from a cache."""
    resolver = Resolver(["127.0.0.1"], ["10.0.0.1"])
    async with caller(resolver=resolver) as made:
        url = f"http://names.example:{server.port}/"
        assert (await made.call(attempt(url))).error is None
        assert resolver.asked == 1
        server.respond(headers={"Connection": "close"})
        assert (await made.call(attempt(url))).error is None
        assert kind(await made.call(attempt(url))) == "forbidden_address"
        assert resolver.asked == 2
    assert len(server.requests) == 2
