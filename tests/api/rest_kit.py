"""An API to talk to, over a real node or one that must not be reached; every reply is held to the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import jsonschema_rs
from litestar import Litestar

from taskscheduler.api.app import create_app
from taskscheduler.api.bootstrap import EmbeddedNode, embedded
from taskscheduler.api.health import HealthRegistry
from taskscheduler.api.metrics import Metrics
from taskscheduler.api.openapi import document
from taskscheduler.api.settings import Settings
from taskscheduler.domain.state import Task

START = 1_893_456_000_000
"""2030-01-01T00:00:00Z."""


class Clock:
    """Stands still until it is moved; milliseconds."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


class Contract:
    """What OpenAPI promises of replies."""

    def __init__(self, app: Litestar) -> None:
        self.document = document(app)
        self._validators: dict[str, Any] = {}
        self._paths = [
            (re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), operations)
            for path, operations in sorted(self.document["paths"].items(), key=lambda item: "{" in item[0])
        ]

    def check(self, response: httpx.Response) -> None:
        """Fails when the status, a header or the body is not what the document says."""
        path = response.request.url.raw_path.decode().split("?")[0]
        method = response.request.method.lower()
        media_type = response.headers.get("content-type", "")
        if response.status_code >= 400 and "actuator" not in path:
            assert media_type == "application/problem+json", response.text
            self._valid({"$ref": "#/components/schemas/Problem"}, response.json())
            assert response.json()["status"] == response.status_code
        found = next((operations for pattern, operations in self._paths if pattern.fullmatch(path)), None)
        if found is None or method not in found:
            assert response.status_code in (404, 405), f"{method} {path} is not documented"
            return
        described = found[method]["responses"].get(str(response.status_code))
        assert described is not None, f"{method} {path}: {response.status_code} is not documented: {response.text}"
        if "$ref" in described:
            described = self.document["components"]["responses"][described["$ref"].rsplit("/", 1)[-1]]
        for name in ("ETag", "Location", "Link", "Consistency-Token", "Idempotent-Replayed", "Retry-After"):
            assert name not in response.headers or name in described.get("headers", {}), f"{name} is not documented"
        if "content" in described and not media_type.startswith("text/"):
            self._valid(described["content"][media_type]["schema"], response.json())

    def _valid(self, schema: dict[str, Any], value: Any) -> None:
        validator = self._validators.get(repr(schema))
        if validator is None:
            whole = {**schema, "components": self.document["components"]}
            validator = self._validators[repr(schema)] = jsonschema_rs.validator_for(whole, validate_formats=True)
        validator.validate(value)


@lru_cache
def contract_of(app: Litestar) -> Contract:
    """The contract of an application."""
    return Contract(app)


@asynccontextmanager
async def client_of(app: Litestar) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application that holds every reply to the contract."""
    contract = contract_of(app)

    async def check(response: httpx.Response) -> None:
        if "event-stream" not in response.headers.get("content-type", ""):
            await response.aread()
            contract.check(response)

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type]
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", event_hooks={"response": [check]}
    ) as client:
        yield client


@asynccontextmanager
async def real_node(directory: Path, clock: Clock) -> AsyncIterator[tuple[EmbeddedNode, Litestar]]:
    """A whole embedded node on a new data directory, and its application."""
    settings = Settings(data_dir=directory / "data")
    async with embedded(settings, clock=clock) as node:
        yield node, create_app(node, settings)


class MustNotBeCalled:
    """Stands for what a refused request must not reach."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a refused request reached {name}")


class NothingKnown(MustNotBeCalled):
    """A command handler that knows no task and must not be given a command."""

    def state(self, task_id: str) -> Any:
        return Task(task_id)


def refusing_app() -> Litestar:
    """An application over a node that must never be reached."""
    node: Any = SimpleNamespace(
        clock=Clock(),
        handler=NothingKnown(),
        queries=MustNotBeCalled(),
        queue=MustNotBeCalled(),
        hub=MustNotBeCalled(),
        health=HealthRegistry(),
        metrics=Metrics(),
    )
    return create_app(node, Settings())


def nested(levels: int) -> Any:
    """JSON of so many levels."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value
