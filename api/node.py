"""What the routes need from the node that they serve."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Protocol

from taskscheduler.api.health import HealthRegistry
from taskscheduler.api.metrics import Metrics
from taskscheduler.commands.handler import CommandHandler, Unavailable
from taskscheduler.domain.errors import DomainError
from taskscheduler.domain.events import Error
from taskscheduler.domain.messages import Key
from taskscheduler.domain.values import Instant, Json, Millis
from taskscheduler.projections.queries import Queries
from taskscheduler.streams.dispatch.queue import Beat, Given, Report
from taskscheduler.streams.hub import LiveEvent
from taskscheduler.streams.stepping import Stepping


class StartRefused(Exception):
    """A process that cannot start: one sentence that says why and what to do."""


class Work(Protocol):
    """The worker protocol; see QueueService."""

    async def claim(
        self,
        queue: str,
        *,
        worker: str,
        kinds: Sequence[str] | None = None,
        max: int = 1,
        wait: Millis = 0,
        lease: Millis = 30_000,
        request_id: str | None = None,
    ) -> list[Given]: ...
    async def heartbeat(self, token: str, progress: Json | None = None, key: Key | None = None) -> Beat: ...
    async def complete(self, token: str, result: Json | None = None, key: Key | None = None) -> None: ...
    async def fail(
        self,
        token: str,
        error: Error,
        retryable: bool = True,
        retry_after: Millis | None = None,
        key: Key | None = None,
    ) -> None: ...
    async def release(self, token: str, key: Key | None = None) -> None: ...
    async def report(self, reports: Sequence[Report]) -> list[DomainError | Unavailable | None]: ...


class Live(Protocol):
    """Live events; see Hub."""

    def place(self, text: str) -> list[int] | None: ...
    def subscribe(
        self, after: list[int] | None = None, task_id: str | None = None, types: Collection[str] | None = None
    ) -> AsyncIterator[LiveEvent]: ...


class Node(Protocol):
    """A running scheduler."""

    @property
    def clock(self) -> Callable[[], Instant]: ...
    @property
    def handler(self) -> CommandHandler: ...
    @property
    def stepping(self) -> Stepping: ...
    @property
    def queries(self) -> Queries: ...
    @property
    def queue(self) -> Work: ...
    def users_of(self, calendar: str, limit: int) -> list[str]:
        """The ids of up to `limit` tasks that use a calendar, as far as the log is folded here."""
        ...

    def token(self) -> str:
        """Up to where a reader must be to see everything that was acknowledged here."""
        ...

    async def caught_up_to(self, token: str) -> None:
        """Returns when queries see all that the token covers. Raises Problem: for a text that is no
        token, and after a bounded wait."""
        ...

    @property
    def hub(self) -> Live: ...
    @property
    def health(self) -> HealthRegistry: ...
    @property
    def metrics(self) -> Metrics: ...


class Running(Protocol):
    """A process of a scheduler. `serving` is None where it takes no requests but those of probes."""

    @property
    def serving(self) -> Node | None: ...
    @property
    def health(self) -> HealthRegistry: ...
    @property
    def metrics(self) -> Metrics: ...
    async def stop(self, grace: float) -> None:
        """Take no new work, let what runs end within `grace` seconds. Idempotent."""
        ...
