from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from taskscheduler.api.health import Component, HealthRegistry, disk_space, down, up
from taskscheduler.api.metrics import Metrics
from taskscheduler.api.problems import answer
from taskscheduler.api.routes.actuator import router

SPRING = "application/vnd.spring-boot.actuator.v3+json"


class Server:
    """The actuator of a server whose parts are as the test says."""

    def __init__(self, directory: Path) -> None:
        self.log = up(position=3)
        self.dispatch = up()
        self.metrics = Metrics()
        self.health = HealthRegistry()
        self.health.register("log", lambda: self.log)
        self.health.register("dispatch", lambda: self.dispatch, needed=False)
        self.health.register("diskSpace", disk_space(directory))
        self.health.accept()
        self.app = Litestar(
            [router(self.health, self.metrics)], exception_handlers={Exception: answer}, openapi_config=None
        )
        self.client: TestClient[Litestar] = TestClient(self.app, base_url="http://scheduler.example:8080")

    def get(self, path: str = "", status: int = 200, accept: str = "*/*") -> Any:
        reply = self.client.get("/actuator" + path, headers={"Accept": accept})
        assert reply.status_code == status, reply.text
        expected = "application/problem+json" if status == 404 else SPRING
        if accept == "*/*":
            assert reply.headers["content-type"] == expected
        return reply.json()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    with server.client:
        yield server


def test_the_root_links_to_the_endpoints(server: Server) -> None:
    links = server.get()["_links"]
    base = "http://scheduler.example:8080/actuator"
    assert links["self"] == {"href": base, "templated": False}
    assert links["health"] == {"href": base + "/health", "templated": False}
    assert links["health-path"] == {"href": base + "/health/{*path}", "templated": True}
    assert links["metrics-requiredMetricName"] == {"href": base + "/metrics/{requiredMetricName}", "templated": True}
    assert set(links) >= {"info", "metrics", "prometheus"}


def test_health_tells_each_part(server: Server, tmp_path: Path) -> None:
    health = server.get("/health")
    assert health["status"] == "UP"
    assert health["groups"] == ["liveness", "readiness"]
    components = health["components"]
    assert components["log"] == {"status": "UP", "details": {"position": 3}}
    assert components["dispatch"] == {"status": "UP"}
    assert components["livenessState"] == components["readinessState"] == {"status": "UP"}
    disk = components["diskSpace"]
    assert disk["status"] == "UP"
    assert set(disk["details"]) == {"total", "free", "threshold", "path", "exists"}
    assert disk["details"]["path"] == str(tmp_path)
    assert disk["details"]["exists"] is True
    assert server.get("/health/log") == {"status": "UP", "details": {"position": 3}}
    assert server.get("/health/readinessState") == {"status": "UP"}


def test_the_type_is_json_when_the_client_asks_for_it(server: Server) -> None:
    for accept, expected in [
        ("application/json", "application/json"),
        ("application/json;q=0.9, text/html", "application/json"),
        (f"application/json, {SPRING}", SPRING),
        ("text/html,*/*;q=0.8", SPRING),
        ("", SPRING),
    ]:
        reply = server.client.get("/actuator/health", headers={"Accept": accept})
        assert reply.headers["content-type"] == expected


def test_a_part_that_is_down_makes_health_and_readiness_503(server: Server) -> None:
    server.log = down(error="the disk is full")
    assert server.get("/health", status=503)["status"] == "DOWN"
    assert server.get("/health/log", status=503) == {"status": "DOWN", "details": {"error": "the disk is full"}}
    readiness = server.get("/health/readiness", status=503)
    assert readiness["status"] == "OUT_OF_SERVICE"
    assert set(readiness["components"]) == {"log", "readinessState"}
    assert server.get("/health/liveness") == {"status": "UP"}


def test_a_part_that_is_not_needed_leaves_the_server_ready(server: Server) -> None:
    server.dispatch = Component("DOWN")
    assert server.get("/health", status=503)["status"] == "DOWN"
    assert server.get("/health/readiness") == {"status": "UP"}


def test_readiness_goes_while_the_server_starts_or_stops_and_liveness_stays(server: Server) -> None:
    assert not HealthRegistry().ready
    assert server.health.ready
    server.health.refuse("stopping")
    assert server.get("/health/readiness", status=503)["components"] == {
        "readinessState": {"status": "OUT_OF_SERVICE", "details": {"reason": "stopping"}}
    }
    assert server.get("/health", status=503)["status"] == "OUT_OF_SERVICE"
    assert server.get("/health/liveness") == {"status": "UP"}


def test_a_check_that_fails_is_a_part_that_is_down(server: Server) -> None:
    def broken() -> Component:
        raise RuntimeError("boom")

    server.health.register("broken", broken)
    assert server.get("/health/broken", status=503) == {"status": "DOWN", "details": {"error": "RuntimeError: boom"}}


def test_too_little_disk_space_is_down_and_a_missing_directory_is_told(tmp_path: Path) -> None:
    assert disk_space(tmp_path, 1 << 60)().status == "DOWN"
    details = disk_space(tmp_path / "a" / "b")().details
    assert isinstance(details, dict)
    assert details["exists"] is False
    assert details["free"] > 0


def test_info_names_build_system_and_process(server: Server) -> None:
    info = server.get("/info")
    assert info["build"]["artifact"] == "taskscheduler"
    assert set(info["os"]) == {"name", "version", "arch"}
    assert set(info["process"]) == {"pid", "parentPid", "owner", "cpus"}


def test_every_name_that_is_listed_can_be_read(server: Server) -> None:
    names = server.get("/metrics")["names"]
    assert "taskscheduler.commands" in names
    assert len(names) == len(set(names))
    for name in names:
        detail = server.get(f"/metrics/{name}")
        assert detail["name"] == name
        assert detail["description"]
        assert {one["statistic"] for one in detail["measurements"]} <= {"VALUE", "COUNT", "TOTAL", "TOTAL_TIME", "MAX"}


def test_a_counter_is_summed_and_narrowed_down_by_tags(server: Server) -> None:
    for result in ("accepted", "accepted", "refused"):
        server.metrics.observe_command("create", result)
    server.metrics.observe_command("cancel", "accepted")
    detail = server.get("/metrics/taskscheduler.commands")
    assert detail["measurements"] == [{"statistic": "COUNT", "value": 4.0}]
    assert detail["availableTags"] == [
        {"tag": "result", "values": ["accepted", "refused"]},
        {"tag": "type", "values": ["cancel", "create"]},
    ]
    assert "baseUnit" not in detail
    narrowed = server.get("/metrics/taskscheduler.commands?tag=type:create&tag=result:accepted")
    assert narrowed["measurements"] == [{"statistic": "COUNT", "value": 2.0}]
    assert narrowed["availableTags"] == []


def test_a_timer_has_count_total_and_maximum(server: Server) -> None:
    server.metrics.observe_http("GET", "/api/tasks", 200, 0.25)
    server.metrics.observe_http("GET", "/api/tasks", 200, 0.5)
    server.metrics.observe_http("POST", "/api/tasks", 201, 2.0)
    detail = server.get("/metrics/http.server.requests?tag=method:GET")
    assert detail["baseUnit"] == "seconds"
    assert detail["measurements"] == [
        {"statistic": "COUNT", "value": 2.0},
        {"statistic": "TOTAL_TIME", "value": 0.75},
        {"statistic": "MAX", "value": 0.5},
    ]
    assert {tag["tag"] for tag in detail["availableTags"]} == {"uri", "status", "outcome"}


@pytest.mark.parametrize(
    "path",
    [
        "/metrics/jvm.memory.max",
        "/metrics/taskscheduler.commands?tag=type:elephant",
        "/metrics/taskscheduler.commands?tag=type",
        "/health/elephant",
        "/elephant",
    ],
)
def test_what_does_not_exist_is_a_404_problem(server: Server, path: str) -> None:
    assert server.get(path, status=404)["status"] == 404


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/openmetrics-text; version=1.0.0"),
    ],
)
def test_prometheus_gets_its_format(server: Server, accept: str, expected: str) -> None:
    reply = server.client.get("/actuator/prometheus", headers={"Accept": accept})
    assert reply.headers["content-type"].startswith(expected)
    assert "taskscheduler_fire_lateness_seconds_bucket" in reply.text
