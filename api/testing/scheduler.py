"""A scheduler whose time stands still until a test moves it."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import shutil
import socket
import tempfile
from collections.abc import Awaitable, Callable, Generator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import structlog
import uvicorn

from taskscheduler.api.app import create_app
from taskscheduler.api.bootstrap import FAMILIES, EmbeddedNode, open_storage
from taskscheduler.api.http_server import HttpServer
from taskscheduler.api.protocol import Protocol
from taskscheduler.api.settings import Settings
from taskscheduler.client import AsyncClient, Worker
from taskscheduler.client.duration import Duration, seconds
from taskscheduler.domain.definition import HttpTarget, KafkaTarget
from taskscheduler.domain.events import Error
from taskscheduler.domain.values import Instant, Json
from taskscheduler.streams.dispatch.dispatcher import Attempted, Dispatcher, Outcome
from taskscheduler.streams.dispatch.kafka_events import value_of
from taskscheduler.streams.dispatch.payload import payload_of
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.testing.crew import Crew

START = "2030-01-01T00:00:00Z"
QUIET_TURNS = 6
"""So many turns of the loop without anything happening are the end of what there is to do."""

MEMORY = Path("/dev/shm")


class Request(msgspec.Struct, frozen=True):
    """What an http target would have been sent."""

    task_id: str
    run_id: str
    attempt: int
    method: str
    url: str
    headers: dict[str, str]
    body: Any


Answer = Callable[[Request], int]
"""Gives the status of the reply to a request; what it raises is a failure to connect."""


class Message(msgspec.Struct, frozen=True):
    """What a kafka target would have been sent."""

    task_id: str
    run_id: str
    attempt: int
    topic: str
    key: str | None
    value: Any


class Moved:
    """What `advance` gives: awaited, everything up to then has happened."""

    def __init__(self, run: Callable[[], Awaitable[object]]) -> None:
        self._run = run

    def __await__(self) -> Generator[Any, None, None]:
        yield from self._run().__await__()


class TestScheduler:
    """An embedded scheduler at `url`, on data of its own that is gone at the end; `async with` starts it.

    `advance` moves its time on; `run_until_idle` then lets everything happen that is due by then, each at its moment:
    timers, retries, timeouts, the handlers of workers that were added with `add`. Targets of type http are not called:
    `http` says with which status they answer (200), and `requests` holds what they were sent. `messages` holds what
    targets of type kafka were sent.
    """

    __test__ = False  # it is none of pytest's

    def __init__(self, start: datetime | str = START, *, http: Answer | None = None, seed: int = 1) -> None:
        self._now = self._target = _instant(start)
        self._http = http or (lambda request: 200)
        self._seeds = itertools.count(seed)
        self._sleeping: list[tuple[Instant, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._stack = contextlib.AsyncExitStack()
        self.requests: list[Request] = []
        self.messages: list[Message] = []

    async def __aenter__(self) -> Self:
        _quieten()
        async with contextlib.AsyncExitStack() as stack:
            settings = _settings(stack.enter_context(_folder()))
            database = Database(settings.data_dir, FAMILIES)
            self.node = node = EmbeddedNode(open_storage(database, lambda: self._now), settings, self._seed)
            node.dispatcher, node.producing = (
                Dispatcher(
                    target, node.claimables, node.handler, node.limiter, clock=lambda: self._now, seed=self._seed
                )
                for target in (_Http(self._answer), _Kafka(self.messages))
            )
            stack.push_async_callback(node.close)
            stack.push_async_callback(node.stop, 0.0)
            await node.start()
            self.crew = Crew(node)
            stack.push_async_callback(self.crew.close)
            self.url = await stack.enter_async_context(_serving(create_app(node, settings)))
            self.client = await stack.enter_async_context(AsyncClient(self.url))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def now(self) -> datetime:
        """What time it is."""
        return datetime.fromtimestamp(self._now / 1000, UTC)

    def add(self, *workers: Worker) -> None:
        """Let these workers take part: their handlers run here, whatever server they were made for."""
        for worker in workers:
            self.crew.add(worker)

    def advance(self, by: Duration) -> Moved:
        """Move time on. What is due by then happens with the next `run_until_idle`, or when this is awaited."""
        self._target += round(seconds(by) * 1000)
        return Moved(self.run_until_idle)

    def advance_to(self, when: datetime | str) -> Moved:
        """Move time on to an instant. Raises ValueError for one that is over."""
        instant = _instant(when)
        if instant < self._target:
            raise ValueError(f"{when} is over: it is {_shown(self._target)}")
        self._target = instant
        return Moved(self.run_until_idle)

    def outage(self, of: Duration) -> Moved:
        """Let time pass in which the scheduler does not run, as when its machine is off: what was due is then late."""
        self._target = self._now = max(self._target, self._now) + round(seconds(of) * 1000)
        return Moved(self.run_until_idle)

    async def run_until_idle(self) -> int:
        """Let everything happen that is due up to now; how many handlers of workers have ended meanwhile."""
        before = self.crew.handled
        await self._settle()
        while (due := self._next()) is not None and due <= self._target:
            self._now = max(self._now, due)
            while self._sleeping and self._sleeping[0][0] <= self._now:
                _, _, sleeper = heapq.heappop(self._sleeping)
                if not sleeper.done():
                    sleeper.set_result(None)
            await self.crew.beat(self._now)
            await self._settle()
        self._now = self._target
        await self._settle()
        return self.crew.handled - before

    async def sleep(self, duration: Duration) -> None:
        """For async handlers: take so long, by the time that the test moves. Raises RuntimeError in the test itself."""
        goes_on = self.crew.parked()
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        due = self._now + round(seconds(duration) * 1000)
        heapq.heappush(self._sleeping, (due, next(self._order), woken))
        try:
            await woken
        finally:
            goes_on()

    def _next(self) -> Instant | None:
        """The next moment at which something happens."""
        known = (self.node.timers.next_due(), self.node.claimables.next_look(), self.crew.next_beat())
        moments = [moment for moment in known if moment is not None]
        return min([*moments, *(due for due, _, woken in self._sleeping if not woken.done())], default=None)

    async def _settle(self) -> None:
        """Until nothing more happens at this moment."""
        node, quiet = self.node, 0
        node.timers.changed()
        node.claimables.look()
        while quiet < QUIET_TURNS:
            before = node.replica.position
            await asyncio.sleep(0)
            await node.handler.drain()
            worked = await self.crew.work()
            quiet = 0 if worked or node.replica.position != before or self._busy() else quiet + 1

    def _busy(self) -> bool:
        node = self.node
        if (
            node.noop.active
            or node.dispatcher.active
            or node.producing.active
            or node.stepping.waiting
            or node.operations.going
        ):
            return True
        return any(node.claimables.head(group, None) is not None for group in ("noop", "http", "kafka"))

    async def _answer(self, request: Request) -> int:
        self.requests.append(request)
        status = self._http(request)
        if type(status) is not int or not 100 <= status <= 599:
            raise ValueError(f"{status!r} is no answer: a status is a number from 100 to 599")
        return status

    def _seed(self) -> int:
        # Weyl's sequence: each seed is another one, in every run the same.
        return next(self._seeds) * 0x9E3779B97F4A7C15 % 2**64


class _Http:
    """The http target of a test. What it was to call is kept, and nothing is called."""

    group = "http"
    at_once = 100

    def __init__(self, answer: Callable[[Request], Awaitable[int]]) -> None:
        self._answer = answer

    async def call(self, attempt: Attempted) -> Outcome:
        """Ask the test for the status."""
        target = attempt.definition.target
        assert isinstance(target, HttpTarget)
        sent = None if target.method in ("GET", "HEAD") else payload_of(attempt)
        body = sent if target.body is None else target.body
        request = Request(
            task_id=attempt.task_id,
            run_id=attempt.run.id,
            attempt=attempt.number,
            method=target.method,
            url=target.url,
            headers=dict(target.headers),
            body=None if body is None else msgspec.json.decode(body),
        )
        try:
            status = await self._answer(request)
        except Exception as error:
            return Outcome(error=Error("connection_failed", str(error)))
        result: Json = msgspec.json.encode({"status": status, "body": None}).decode()
        if any(_expects(status, one) for one in target.expect):
            return Outcome(result)
        return Outcome(error=Error(f"http_{status}", f"the response had the status {status}"))


class _Kafka:
    """The kafka target of a test. What it was to send is kept, and nothing is sent."""

    group = "kafka"
    at_once = 100

    def __init__(self, messages: list[Message]) -> None:
        self._messages = messages

    async def call(self, attempt: Attempted) -> Outcome:
        """Keep the message."""
        target = attempt.definition.target
        assert isinstance(target, KafkaTarget)
        value = msgspec.json.decode(value_of(attempt))
        place = {"topic": target.topic, "partition": 0, "offset": len(self._messages)}
        self._messages.append(Message(attempt.task_id, attempt.run.id, attempt.number, target.topic, target.key, value))
        return Outcome(msgspec.json.encode(place).decode())


def _expects(status: int, one: int | str) -> bool:
    if isinstance(one, int):
        return status == one
    low, _, high = one.partition("-")
    return int(low) <= status <= int(high)


@contextlib.asynccontextmanager
async def _serving(app: Any) -> Any:
    """Serve on a port of its own; gives the URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, http=Protocol, ws="none", log_config=None, access_log=False, lifespan="off")
        config.timeout_graceful_shutdown = 1
        server = HttpServer(config)
        serving = asyncio.create_task(server.serve([listener]))
        try:
            await server.listening.wait()
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


def _settings(data_dir: Path) -> Settings:
    """Whatever host a target names is taken: none is called."""
    plain = Settings()
    return msgspec.structs.replace(
        plain,
        data_dir=data_dir,
        http=msgspec.structs.replace(plain.http, allow_loopback=True, allow_private=True),
        kafka_target=msgspec.structs.replace(plain.kafka_target, bootstrap_servers="127.0.0.1:9092"),
    )


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A data directory in memory where there is such a thing: a test has nothing to survive."""
    folder = tempfile.mkdtemp(prefix="taskscheduler-test-", dir=MEMORY if MEMORY.is_dir() else None)
    try:
        yield Path(folder) / "data"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _quieten() -> None:
    """What the scheduler logs goes to `logging`, where tests capture it, unless somebody wants it elsewhere."""
    if not structlog.is_configured():
        structlog.configure(
            processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
            logger_factory=structlog.stdlib.LoggerFactory(),
            wrapper_class=structlog.stdlib.BoundLogger,
        )


def _instant(when: datetime | str) -> Instant:
    at = datetime.fromisoformat(when) if isinstance(when, str) else when
    if at.tzinfo is None:
        raise ValueError(f"{when} has no offset: write it as {START}")
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _shown(instant: Instant) -> str:
    return datetime.fromtimestamp(instant / 1000, UTC).isoformat()
