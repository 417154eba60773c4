"""Health, probes, metrics and build information, in the shapes of Spring Boot's actuator."""

from __future__ import annotations

import getpass
import os
import platform
from typing import Annotated, Any

import msgspec
from litestar import Request, Router, get
from litestar.params import Parameter
from prometheus_client.exposition import choose_encoder

from taskscheduler.api import measurements
from taskscheduler.api.health import Component, Health, HealthRegistry
from taskscheduler.api.metrics import Metrics, release
from taskscheduler.api.problems import Problem
from taskscheduler.api.reply import Reply, encode

SPRING = "application/vnd.spring-boot.actuator.v3+json"
JSON = "application/json"
_UNWELL = ("DOWN", "OUT_OF_SERVICE")


class Link(msgspec.Struct, frozen=True):
    """Where an endpoint is."""

    href: str
    templated: bool


class Links(msgspec.Struct, frozen=True):
    """All endpoints of the actuator."""

    links: dict[str, Link] = msgspec.field(name="_links")


class Build(msgspec.Struct, frozen=True):
    """What was built."""

    artifact: str
    version: str


class Os(msgspec.Struct, frozen=True):
    """The operating system."""

    name: str
    version: str
    arch: str


class Process(msgspec.Struct, frozen=True, rename="camel"):
    """The process that answers."""

    pid: int
    parent_pid: int
    owner: str
    cpus: int


class Python(msgspec.Struct, frozen=True):
    """What runs it."""

    version: str
    implementation: str


class Info(msgspec.Struct, frozen=True):
    """What is running, and where."""

    build: Build
    os: Os
    process: Process
    python: Python


_ENDPOINTS = {
    "self": "",
    "health": "/health",
    "health-path": "/health/{*path}",
    "info": "/info",
    "metrics": "/metrics",
    "metrics-requiredMetricName": "/metrics/{requiredMetricName}",
    "prometheus": "/prometheus",
}


def router(health: HealthRegistry, metrics: Metrics) -> Router:
    """The routes under `/actuator`."""
    info = _info()

    @get("/", operation_id="actuator", sync_to_thread=False)
    def links(request: Request[Any, Any, Any]) -> Reply:
        """The endpoints of the actuator."""
        base = f"{request.url.scheme}://{request.url.netloc}/actuator"
        found = {name: Link(base + path, "{" in path) for name, path in _ENDPOINTS.items()}
        return _reply(request, Links(found))

    @get("/health", operation_id="health", sync_to_thread=False)
    def overall(request: Request[Any, Any, Any]) -> Reply:
        """How the server and its parts are; 503 when one of them is down."""
        return _health(request, health.health())

    @get("/health/liveness", operation_id="liveness", sync_to_thread=False)
    def liveness(request: Request[Any, Any, Any]) -> Reply:
        """Whether the process is alive."""
        return _health(request, health.liveness())

    @get("/health/readiness", operation_id="readiness", sync_to_thread=False)
    def readiness(request: Request[Any, Any, Any]) -> Reply:
        """Whether the server takes requests; 503 while it starts, stops or cannot work."""
        return _health(request, health.readiness())

    @get("/health/{component:str}", operation_id="health_component", sync_to_thread=False)
    def component(
        request: Request[Any, Any, Any], component: Annotated[str, Parameter(description="Such as `log`.")]
    ) -> Reply:
        """How one part of the server is."""
        found = health.component(component)
        if found is None:
            raise Problem("not-found", "there is no component of this name; /actuator/health lists them")
        return _health(request, found)

    @get("/info", operation_id="info", sync_to_thread=False)
    def information(request: Request[Any, Any, Any]) -> Reply:
        """What is running, and where."""
        return _reply(request, info)

    @get("/metrics", operation_id="metrics", sync_to_thread=False)
    def metric_names(request: Request[Any, Any, Any]) -> Reply:
        """The names of all metrics."""
        return _reply(request, measurements.names(metrics))

    @get("/metrics/{name:str}", operation_id="metric", sync_to_thread=False)
    def metric(
        request: Request[Any, Any, Any],
        name: Annotated[str, Parameter(description="Such as `taskscheduler.commands`.")],
        tag: Annotated[list[str] | None, Parameter(description="Narrows it down: `type:create`; repeatable.")] = None,
    ) -> Reply:
        """One metric, summed over everything that the tags leave."""
        found = measurements.detail(metrics, name, tag or [])
        if found is None:
            raise Problem("not-found", "there is no such metric under these tags; /actuator/metrics lists all names")
        return _reply(request, found)

    @get("/prometheus", operation_id="prometheus", sync_to_thread=False)
    def prometheus(request: Request[Any, Any, Any]) -> Reply:
        """All metrics for Prometheus, in its text format or as OpenMetrics."""
        encoder, media_type = choose_encoder(request.headers.get("accept", ""))
        return Reply(200, encoder(metrics.registry), media_type=media_type.encode())

    return Router(
        "/actuator",
        route_handlers=[
            links,
            overall,
            liveness,
            readiness,
            component,
            information,
            metric_names,
            metric,
            prometheus,
        ],
        tags=["actuator"],
    )


def _health(request: Request[Any, Any, Any], found: Health | Component) -> Reply:
    return _reply(request, found, 503 if found.status in _UNWELL else 200)


def _reply(request: Request[Any, Any, Any], content: msgspec.Struct, status: int = 200) -> Reply:
    accepted = {part.split(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")}
    media_type = JSON if JSON in accepted and SPRING not in accepted else SPRING
    return Reply(status, encode(content), media_type=media_type.encode())


def _info() -> Info:
    return Info(
        build=Build("taskscheduler", release()),
        os=Os(platform.system(), platform.release(), platform.machine()),
        process=Process(os.getpid(), os.getppid(), _owner(), os.cpu_count() or 1),
        python=Python(platform.python_version(), platform.python_implementation()),
    )


def _owner() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
