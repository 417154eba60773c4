"""A session with Cassandra on an event loop.

The driver has a thread of its own. Its results come over in one wake-up of the loop for as many as there are by then:
a wake-up for each halves what one process can do.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Sequence
from typing import Any, TypeAlias

from cassandra import (
    AuthenticationFailed,
    OperationTimedOut,
    RequestExecutionException,
    Unavailable,
    UnresolvableContactPoints,
)
from cassandra.cluster import Cluster, NoHostAvailable
from cassandra.connection import ConnectionException
from cassandra.protocol import IsBootstrappingErrorMessage, OverloadedErrorMessage, ServerError, TruncateError
from cassandra.query import BatchStatement, BatchType, BoundStatement, SimpleStatement

from taskscheduler.projections.ports import ViewsUnavailable
from taskscheduler.streams.cassandra.client_options import CassandraRefused, CassandraSettings, client_options

Rows: TypeAlias = list[tuple[Any, ...]]

AT_ONCE = 64
"""Requests on their way at the same time. More make no difference to the throughput and a queue for who comes next."""

PAGE = 5_000

AWAY_FOR = 0.5
"""Seconds, more or less, for which nobody asks again after Cassandra gave no answer to anybody."""

_AWAY = (
    NoHostAvailable,
    OperationTimedOut,
    RequestExecutionException,
    UnresolvableContactPoints,
    ConnectionException,
    OSError,
)
_OVERLOADED = (ServerError, OverloadedErrorMessage, IsBootstrappingErrorMessage, TruncateError)


class Prepared:
    """A statement that Cassandra knows already. Values are bound as they go over the wire."""

    __slots__ = ("id", "statement")

    def __init__(self, statement: Any) -> None:
        self.statement = statement
        self.id: bytes = statement.query_id


Bound: TypeAlias = tuple[Prepared, Sequence[bytes | None]]


class Session:
    """Connects when it is first needed, and again whenever Cassandra was away. Belongs to one event loop.

    Everything that talks to Cassandra raises ViewsUnavailable when there was no answer in time; while Cassandra is
    known to be away (`away` says why), at once. What is written here is safe to write again.
    """

    def __init__(self, settings: CassandraSettings) -> None:
        self.settings = settings
        self.keyspace = settings.keyspace
        self._options = client_options(settings)
        self._cluster: Any = None
        self._session: Any = None
        self._connecting: asyncio.Future[None] | None = None
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._prepared: dict[str, Prepared] = {}
        self._preparing: dict[str, asyncio.Future[Prepared]] = {}
        self._wakeups: _Wakeups | None = None
        self._answered = time.monotonic()
        self._away_until = 0.0
        self.away: str | None = None
        self._closed = False

    async def connect(self) -> None:
        """Connect, unless that is done. Raises ViewsUnavailable and CassandraRefused."""
        if self._session is not None:
            return
        if self._connecting is None:
            self._check()
            self._connecting = asyncio.ensure_future(self._connect())
            self._connecting.add_done_callback(self._connected)
        await asyncio.shield(self._connecting)

    async def _connect(self) -> None:
        started = time.monotonic()
        try:
            await asyncio.to_thread(self._open)
        except ViewsUnavailable as error:
            raise self._missed(started, error) from None

    def _connected(self, future: asyncio.Future[None]) -> None:
        self._connecting = None
        if not future.cancelled():
            future.exception()

    def _open(self) -> None:
        cluster = Cluster(**self._options)
        try:
            session = cluster.connect()
        except Exception as error:
            cluster.shutdown()
            if _denied(error):
                raise CassandraRefused(
                    f"Cassandra at {self._where()} does not let in the user {self.settings.username!r}"
                ) from None
            if isinstance(error, _AWAY):
                raise self._unavailable(error) from None
            raise
        # Preparing a statement has no limit of its own, and the driver lets nobody set this one.
        session._default_timeout = self.settings.request_timeout / 1000
        if self._closed:
            cluster.shutdown()
            return
        self._cluster, self._session = cluster, session

    async def close(self) -> None:
        """End all connections. Idempotent."""
        self._closed = True
        cluster, self._cluster, self._session = self._cluster, None, None
        if cluster is not None:
            await asyncio.to_thread(cluster.shutdown)

    async def prepare(self, cql: str) -> Prepared:
        """The statement, prepared once however many ask for it at the same time."""
        known = self._prepared.get(cql)
        if known is not None:
            return known
        future = self._preparing.get(cql)
        if future is None:
            future = self._preparing[cql] = asyncio.ensure_future(self._prepare(cql))
            future.add_done_callback(lambda _: self._preparing.pop(cql, None))
        return await asyncio.shield(future)

    async def _prepare(self, cql: str) -> Prepared:
        await self.connect()
        self._check()
        started = time.monotonic()
        try:
            statement = await asyncio.to_thread(self._driver().prepare, cql)
        except _AWAY as error:
            raise self._missed(started, self._unavailable(error)) from None
        statement.is_idempotent = True
        prepared = self._prepared[cql] = Prepared(statement)
        return prepared

    async def run(self, cql: str, values: Sequence[object] = (), *, timeout: float | None = None) -> Rows:
        """A statement that is seldom needed; `%s` stands for a value. `timeout` is in seconds."""
        await self.connect()
        return await self._execute(SimpleStatement(cql, is_idempotent=True), tuple(values) or None, timeout)

    async def read(self, cql: str, values: Sequence[bytes | None]) -> Rows:
        """All rows, page by page."""
        prepared = self._prepared.get(cql) or await self.prepare(cql)
        statement = BoundStatement(prepared.statement, fetch_size=PAGE)
        statement.values = list(values)
        return await self._execute(statement)

    async def write(self, statements: Sequence[Bound], routing_key: bytes) -> None:
        """All of them in one request, to a replica of the key; not atomic beyond one partition."""
        if len(statements) == 1:
            prepared, values = statements[0]
            single = BoundStatement(prepared.statement)
            single.values = list(values)
            await self._execute(single)
            return
        batch = BatchStatement(BatchType.UNLOGGED)
        # Values are encoded already; `add` would look each of them over once more, at the cost of all the rest.
        batch._statements_and_parameters = [(True, prepared.id, values) for prepared, values in statements]
        batch.keyspace, batch.routing_key = self.keyspace, routing_key
        batch.is_idempotent = True
        await self._execute(batch)

    def replica(self, routing_key: bytes) -> object:
        """Who keeps a partition, as far as that matters: rows with the same answer may share a request."""
        metadata = self._driver().cluster.metadata
        if len(metadata.all_hosts()) <= 1:
            return None
        replicas = metadata.get_replicas(self.keyspace, routing_key)
        return replicas[0].host_id if replicas else None

    async def _execute(self, statement: Any, values: Any = None, timeout: float | None = None) -> Rows:
        self._check()
        if self._wakeups is None:
            self._wakeups = _Wakeups(asyncio.get_running_loop())
        more = {} if timeout is None else {"timeout": timeout}
        async with self._at_once:
            self._check()  # while this waited for its turn others may have found out
            started = time.monotonic()
            try:
                rows = await self._wakeups.collect(self._driver().execute_async(statement, values, **more))
            except _AWAY as error:
                raise self._missed(started, self._unavailable(error)) from None
            except _OVERLOADED as error:
                raise ViewsUnavailable(f"Cassandra at {self._where()} failed: {type(error).__name__}") from None
        self._answered = time.monotonic()
        self.away = None
        return rows

    def _driver(self) -> Any:
        if self._session is None:
            raise ViewsUnavailable("the session with Cassandra is closed")
        return self._session

    def _check(self) -> None:
        if self._closed:
            raise ViewsUnavailable("the session with Cassandra is closed")
        if self.away is not None and time.monotonic() < self._away_until:
            raise ViewsUnavailable(self.away)

    def _missed(self, started: float, error: ViewsUnavailable) -> ViewsUnavailable:
        """One that got no answer, though others did, was too slow; if nobody did, Cassandra is away."""
        if self._answered <= started:
            self.away = str(error)
            self._away_until = time.monotonic() + AWAY_FOR * (0.5 + random.random())
        return error

    def _unavailable(self, error: BaseException) -> ViewsUnavailable:
        errors = error.errors.values() if isinstance(error, NoHostAvailable) else (error,)
        if (few := next((one for one in errors if isinstance(one, Unavailable)), None)) is not None:
            return ViewsUnavailable(
                f"Cassandra at {self._where()} has {few.alive_replicas} of the {few.required_replicas} copies up that "
                f"{self.settings.consistency} needs"
            )
        # The driver's own texts name statements and values.
        return ViewsUnavailable(f"Cassandra at {self._where()} does not answer: {type(error).__name__}")

    def _where(self) -> str:
        return ", ".join(self.settings.contact_points)


class _Wakeups:
    """Brings results from the driver's thread to the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._finished: list[tuple[asyncio.Future[Rows], Rows, BaseException | None]] = []

    def collect(self, response: Any) -> asyncio.Future[Rows]:
        """Resolves to the rows of all pages."""
        future: asyncio.Future[Rows] = self._loop.create_future()
        rows: Rows = []

        def page(more: Any) -> None:
            if more:
                rows.extend(more)
            if response.has_more_pages:
                response.start_fetching_next_page()
            else:
                self._finish(future, rows, None)

        response.add_callbacks(page, lambda error: self._finish(future, [], error))
        return future

    def _finish(self, future: asyncio.Future[Rows], rows: Rows, error: BaseException | None) -> None:
        with self._lock:
            self._finished.append((future, rows, error))
            first = len(self._finished) == 1
        if first:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            finished, self._finished = self._finished, []
        for future, rows, error in finished:
            if future.done():
                continue
            if error is None:
                future.set_result(rows)
            else:
                future.set_exception(error)


def _denied(error: BaseException) -> bool:
    if isinstance(error, NoHostAvailable):
        return any(isinstance(one, AuthenticationFailed) for one in error.errors.values())
    return isinstance(error, AuthenticationFailed)
