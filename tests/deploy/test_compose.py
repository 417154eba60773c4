"""compose.yaml and what it mounts: valid, complete, and in step with the rest of the repository.

No Docker runs here. The schema is that of the Compose specification (github.com/compose-spec/compose-spec), as the
package check-jsonschema carries it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from taskscheduler.api.local_cluster import flink, jars
from taskscheduler.api.local_cluster.plan import DEFAULT_PORTS, NODES
from taskscheduler.api.metrics import GAUGES, Metrics
from taskscheduler.api.settings_load import load

REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE = REPOSITORY / "compose.yaml"
PARTS = "kafka cassandra jobmanager taskmanager api-1 api-2 dispatch projector prometheus grafana".split()
ONCE = {"claim-secret", "job"}
"""Services that end when their work is done."""


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load(COMPOSE.read_text())


@pytest.fixture(scope="module")
def services(compose: Any) -> Any:
    return compose["services"]


def validate(file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True)


def test_it_keeps_to_the_compose_specification(tmp_path: Path) -> None:
    done = validate(COMPOSE)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text().replace("service_healthy", "service_happy"))
    assert validate(wrong).returncode == 1


def test_every_part_is_there_and_tells_how_it_is(services: Any) -> None:
    assert set(PARTS) <= set(services)
    assert "HEALTHCHECK --interval" in target("scheduler")
    for name, service in services.items():
        built_in = service.get("build", {}).get("target") == "scheduler"
        assert name in ONCE or built_in or "test" in service["healthcheck"], name
        assert name in ONCE or service["restart"] == "unless-stopped", name


def test_everything_named_exists(compose: Any, services: Any) -> None:
    for name, service in services.items():
        for config in service.get("configs", ()):
            assert (REPOSITORY / compose["configs"][config["source"]]["file"]).is_file(), name
        for volume in service.get("volumes", ()):
            assert volume.split(":")[0] in compose["volumes"], name
        for other, condition in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in ONCE else "service_healthy"
            assert condition["condition"] == wanted, name
            assert other in services, name
        if "build" in service:
            assert target(service["build"]["target"])


def test_what_starts_first(services: Any) -> None:
    def before(name: str) -> set[str]:
        direct = set(services[name].get("depends_on", {}))
        return direct.union(*(before(other) for other in direct))

    for name in NODES:
        assert {"kafka", "cassandra", "claim-secret"} <= before(name)
    assert {"jobmanager", "kafka", "zookeeper"} <= before("taskmanager")
    assert {"kafka", "jobmanager", "taskmanager"} <= before("job")
    assert {"api-1", "api-2"} <= before("api")


def test_what_holds_data_has_a_volume_of_its_own(services: Any) -> None:
    kept = "kafka cassandra zookeeper jobmanager taskmanager prometheus grafana".split()
    assert all(services[name]["volumes"] for name in [*kept, *NODES])
    # Its image keeps the two apart, and a volume without a name would not outlive `docker compose down`.
    assert {volume.split(":")[1] for volume in services["zookeeper"]["volumes"]} == {"/data", "/datalog"}
    own = [services[name]["volumes"][0].split(":")[0] for name in NODES]
    assert sorted(own) == sorted(NODES)


def test_only_this_machine_reaches_it(services: Any) -> None:
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_our_processes_get_settings_that_work(services: Any, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x" * 40)
    image = dict(re.findall(r"^ +(?:ENV )?(TASKSCHEDULER_\w+)=(\S+)", target("scheduler"), re.MULTILINE))
    for name, roles in NODES.items():
        environ = {**image, **services[name]["environment"]}
        assert environ["TASKSCHEDULER_CLAIMS__SECRET_FILE"] == "/run/claims/secret"
        settings = load(
            environ={**environ, "TASKSCHEDULER_CLAIMS__SECRET_FILE": str(secret)}, directory=tmp_path
        ).settings
        assert settings.profile == "cluster"
        assert ",".join(settings.roles) == roles
        assert settings.host == "0.0.0.0"
        assert settings.flink.url == "http://jobmanager:8081"
        assert f":{settings.port}" in (REPOSITORY / "docs/deploy/prometheus.yml").read_text()


def test_versions_are_those_of_the_cluster_on_a_laptop(services: Any) -> None:
    kafka, cassandra = jars.KAFKA.artifacts[0], jars.CASSANDRA.artifacts[0]
    assert services["kafka"]["image"].split(":")[1] == kafka.split(":")[2]
    assert services["cassandra"]["image"].split(":")[1] == cassandra.split(":")[2]
    assert all(":" in service["image"] for service in services.values())


def test_flink_is_configured_as_on_a_laptop(tmp_path: Path) -> None:
    theirs = yaml.safe_load((REPOSITORY / "docs/deploy/flink.yaml").read_text())
    session = flink.Session(folder=tmp_path, ports=DEFAULT_PORTS)
    ours = yaml.safe_load(session.configuration())
    same = re.compile(
        r"heartbeat\.|cluster\.|zookeeper\.sasl|high-availability\.(type|cluster-id|zookeeper\.client)|metrics\."
    )
    for key, value in ours.items():
        if same.match(key):
            assert theirs[key] == value, key
    assert set(ours["env.java.opts.all"].split()) <= set(theirs["env.java.opts.all"].split())
    # Whatever else is said there is about addresses, places and sizes.
    extra = set(theirs) - set(ours)
    assert extra <= {"jobmanager.memory.process.size", "taskmanager.memory.process.size"} | {
        "taskmanager.memory.managed.fraction",
        "metrics.reporter.prometheus.port",
    }


def test_prometheus_asks_every_process(services: Any) -> None:
    scraped = yaml.safe_load((REPOSITORY / "docs/deploy/prometheus.yml").read_text())["scrape_configs"]
    targets = {one.split(":")[0] for job in scraped for config in job["static_configs"] for one in config["targets"]}
    assert targets == {*NODES, "jobmanager", "taskmanager"}
    assert targets <= set(services)


def test_the_dashboard_shows_metrics_that_there_are() -> None:
    board = json.loads((REPOSITORY / "docs/deploy/grafana/dashboard.json").read_text())
    shown = set()
    for panel in board["panels"]:
        for query in panel["targets"]:
            shown |= set(re.findall(r"\b(?:taskscheduler|http)_\w+", query["expr"]))
    assert shown - metrics_there_are() == set()
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_prometheus_is_given_the_rules_for_alerts(services: Any) -> None:
    (named,) = yaml.safe_load((REPOSITORY / "docs/deploy/prometheus.yml").read_text())["rule_files"]
    assert f"/etc/prometheus/{named}" in [config["target"] for config in services["prometheus"]["configs"]]
    for group in yaml.safe_load((REPOSITORY / "docs/deploy/alerts.yml").read_text())["groups"]:
        names = [rule["alert"] for rule in group["rules"]]
        assert len(set(names)) == len(names)
        for rule in group["rules"]:
            assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
            assert rule["labels"]["severity"] in ("warning", "critical")
            assert rule["annotations"]["summary"]
            used = set(re.findall(r"\b(?:taskscheduler|http)_\w+", rule["expr"]))
            assert used
            assert used - metrics_there_are() == set(), rule["alert"]
            counters = [name for name in used if name.endswith(("_total", "_bucket"))]
            assert all(re.search(rf"(increase|rate)\({name}", rule["expr"]) for name in counters), rule["alert"]
            assert rule["expr"].count("(") == rule["expr"].count(")"), rule["alert"]


def metrics_there_are() -> set[str]:
    metrics = Metrics()
    for name in GAUGES:
        metrics.watch(name, float)
    known = {sample.name for family in metrics.registry.collect() for sample in family.samples}
    ends = ("", "_total", "_bucket", "_count", "_sum")
    return known | {f"{meter.name}{end}" for meter in metrics.meters for end in ends}


def target(name: str) -> str:
    """The part of the Dockerfile that makes an image."""
    match = re.search(rf"^FROM \S+ AS {name}$.*?(?=^FROM |\Z)", (REPOSITORY / "Dockerfile").read_text(), re.M | re.S)
    assert match is not None, name
    return match[0]
