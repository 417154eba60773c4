"""The HTTP application over a node."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from litestar import Litestar, Request
from litestar.exceptions import MethodNotAllowedException
from litestar.types import Message, Receive, Send

from taskscheduler.api.node import Node, Running
from taskscheduler.api.openapi import handlers as openapi_handlers
from taskscheduler.api.problems import answer, instance_of, problem_of
from taskscheduler.api.routes import (
    actuator,
    batch,
    bulk,
    calendars,
    claims,
    dead_letters,
    events,
    fire_times,
    graph,
    ledger,
    limits,
    runs,
    schedules,
    tasks,
    workers,
)
from taskscheduler.api.schemas.task import RESERVED
from taskscheduler.api.settings import Settings
from taskscheduler.api.target_rules import TargetRules
from taskscheduler.api.tracing import begin_trace
from taskscheduler.domain.errors import TaskNotFound

Observe = Callable[[str, str, int, float], None]
"""Told of every request: method, path template, status, seconds."""

NO_ROUTE = "unmatched"
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

_log = logging.getLogger(__name__)


def create_app(node: Node, settings: Settings, *, observe: Observe | None = None) -> Litestar:
    """The application; `observe` is told of every request."""

    rules = TargetRules(settings)
    return _App(
        [
            *tasks.handlers(node, rules),
            *fire_times.handlers(node),
            *batch.handlers(node, rules),
            *runs.handlers(node),
            *dead_letters.handlers(node),
            *ledger.handlers(node),
            *schedules.handlers(node),
            *calendars.handlers(node),
            *limits.handlers(node),
            *claims.handlers(node),
            *workers.handlers(node),
            *events.handlers(node),
            *graph.handlers(node),
            *bulk.handlers(node),
            *openapi_handlers(),
            actuator.router(node.health, node.metrics),
        ],
        node,
        observe,
    )


def create_probes(running: Running, observe: Observe | None = None) -> Litestar:
    """The application of a process that takes no requests but those of probes and scrapers."""
    return _App([actuator.router(running.health, running.metrics)], None, observe)


def _answer(request: Request[Any, Any, Any], error: Exception) -> Any:
    """A path that stands where ids do hides the task of that name. Nobody can make one, so there is none."""
    if isinstance(error, MethodNotAllowedException) and request.method in ("GET", "PATCH", "DELETE"):
        place, _, name = request.scope["path"].rpartition("/")
        if place == "/api/tasks" and name in RESERVED:
            error = TaskNotFound(f"there is no task {name!r}")
    return answer(request, error)


class _App(Litestar):
    """Litestar, with nothing between the server and the router but the clock of the metrics and a last resort."""

    def __init__(self, route_handlers: list[Any], node: Node | None, observe: Observe | None) -> None:
        super().__init__(
            route_handlers=route_handlers,
            exception_handlers={Exception: _answer},
            openapi_config=None,
            logging_config=None,
            debug=False,
        )
        self._node = node
        self._observe = observe

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        await self._serve(scope, receive, send)

    async def _serve(self, scope: Any, receive: Receive, send: Send) -> None:
        started, status, method = time.perf_counter(), 0, scope["method"]
        begin_trace(header(scope, b"traceparent"))
        if method == "HEAD":
            scope, send = {**scope, "method": "GET"}, _head_only(send)

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if status == MethodNotAllowedException.status_code:
                    message["headers"] = [_and_head(*field) for field in message["headers"]]
            await send(message)

        try:
            token = header(scope, b"consistency-token") if scope["method"] == "GET" else None
            if token is not None and self._node is not None:
                await self._node.caught_up_to(token)
            await super().__call__(scope, receive, watched)
        except Exception as error:
            if status:
                _log.error("a response broke off", exc_info=error)
            else:
                await problem_of(error).reply(instance_of(scope))(scope, receive, watched)
        finally:
            if self._observe is not None:
                template = scope.get("path_template") or NO_ROUTE
                known = method if method in _METHODS else "OTHER"
                self._observe(known, template, status or 499, time.perf_counter() - started)


def _head_only(send: Send) -> Send:
    """What answers HEAD as if it were GET (RFC 9110 section 9.3.2): the response is over where its body would begin."""

    async def until_body(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return until_body


def _and_head(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """A response header; `Allow` names HEAD wherever it names GET."""
    return name, value + b", HEAD" if name == b"allow" and b"GET" in value else value


def header(scope: Any, name: bytes) -> str | None:
    """The first header of that name, in lower case."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)
