"""`taskscheduler cluster` without engines: what is missing is told, and what there is is shown."""

from __future__ import annotations

import fcntl
import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from taskscheduler.api.cli.main import run
from taskscheduler.api.local_cluster import cluster, jars, java, plan, probes
from taskscheduler.api.local_cluster.errors import ClusterError
from taskscheduler.api.local_cluster.handle import Handle
from taskscheduler.api.local_cluster.plan import Plan
from taskscheduler.api.local_cluster.process import Process, free_ports

SERVE = """
import http.server, sys
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
Cli = Callable[..., tuple[int, str, str]]


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def command(*arguments: str) -> tuple[int, str, str]:
        code = run(["cluster", *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return command


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing on its PATH but what a test puts there, and nothing fetched yet."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv(jars.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(cluster, "missing_packages", list)
    return tmp_path


def test_no_java(bare: Path, cli: Cli) -> None:
    code, out, err = cli("up", "--folder", str(bare / "c"))
    assert (code, out) == (1, "")
    assert err == "taskscheduler: there is no java on the PATH: install Java 17 (Debian: openjdk-17-jre-headless)\n"
    assert not (bare / "c").exists()


def test_no_maven(bare: Path, cli: Cli) -> None:
    script(bare / "bin" / "java", "echo 'openjdk version \"17.0.15\"' >&2")
    code, _, err = cli("up", "--folder", str(bare / "c"))
    assert code == 1
    assert err.splitlines()[-1] == (
        "taskscheduler: there is no mvn on the PATH to fetch jars with: install Maven (Debian: maven)"
    )


def test_no_packages(bare: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    script(bare / "bin" / "java", "echo 'openjdk version \"17.0.15\"' >&2")
    monkeypatch.setattr(cluster, "missing_packages", lambda: ["apache-flink"])
    _, _, err = cli("fetch")
    assert err == "taskscheduler: apache-flink: not installed; pip install 'taskscheduler[cluster]'\n"


@pytest.mark.parametrize("version", ["11.0.2", "1.8.0_292", "25"])
def test_a_java_that_does_not_fit(bare: Path, version: str) -> None:
    java_home = bare / "jdk"
    script(java_home / "bin" / "java", f"echo 'openjdk version \"{version}\"' >&2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_HOME", str(java_home))
        with pytest.raises(ClusterError, match="together need 17 to 23: set JAVA_HOME to one of these"):
            java.find()


def test_what_maven_says_when_it_fails(bare: Path) -> None:
    script(bare / "bin" / "mvn", "echo 'no route to host'; exit 1")
    with pytest.raises(ClusterError, match=r"could not fetch the jars of kafka .*\nno route to host"):
        jars.fetch(jars.KAFKA)
    assert not jars.KAFKA.folder().exists()


def test_jars_are_fetched_once(bare: Path) -> None:
    maven = script(
        bare / "bin" / "mvn",
        "for word; do case $word in -DoutputDirectory=*) folder=${word#*=};; esac; done; "
        "/bin/mkdir -p $folder && : > $folder/a.jar",
    )
    assert [jar.name for jar in jars.fetch(jars.KAFKA)] == ["a.jar"]
    maven.unlink()
    assert [jar.name for jar in jars.fetch(jars.KAFKA)] == ["a.jar"]
    # Other versions are fetched anew.
    with pytest.raises(ClusterError, match="there is no mvn"):
        jars.fetch(jars.Bundle("kafka", ("org.apache.kafka:kafka_2.13:0.1",)))


def test_without_a_cluster_there_is_nothing_to_stop_or_show(tmp_path: Path, cli: Cli) -> None:
    folder = str(tmp_path / "none")
    assert cli("down", "--folder", folder) == (0, "", "")
    code, out, _ = cli("status", "--folder", folder)
    assert (code, json.loads(out)) == (1, {"processes": []})
    assert not (tmp_path / "none").exists()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of two web servers."""

    def processes(plan: Plan) -> list[Process]:
        def process(name: str) -> Process:
            port = plan.ports[name]
            return Process(
                name=name,
                role="example",
                folder=plan.folder / name,
                ports={name: port},
                command=lambda marker: [sys.executable, f"-X{marker}", "-c", SERVE, str(port)],
                healthy=lambda: probes.answers(f"http://127.0.0.1:{port}/"),
            )

        return [process("kafka"), process("api-1")]

    monkeypatch.setattr(plan.Plan, "engines", lambda plan: processes(plan)[:1])
    monkeypatch.setattr(plan.Plan, "nodes", lambda plan: processes(plan)[1:])
    monkeypatch.setattr(cluster, "check_machine", lambda say: None)
    monkeypatch.setattr("taskscheduler.api.local_cluster.preparation.STEPS", ())


@pytest.mark.usefixtures("small")
def test_up_status_down(tmp_path: Path, cli: Cli) -> None:
    folder, (kafka, api) = tmp_path / "c", free_ports(2)
    up = ("up", "--folder", str(folder), "--port", f"kafka={kafka}", "--port", f"api-1={api}")
    try:
        code, out, err = cli(*up)
        assert (code, err) == (0, "starting kafka\nstarting api-1\n")
        first, second = json.loads(out)["processes"]
        assert first["pid"] != second["pid"]
        assert first == {
            "name": "kafka",
            "role": "example",
            "pid": first["pid"],
            "ports": {"kafka": kafka},
            "healthy": True,
            "log": str(folder / "kafka" / "output.log"),
        }
        assert cli(*up) == (0, out, "")
        assert cli("status", "--folder", str(folder)) == (0, out, "")
        code, out, _ = cli("status", "--folder", str(folder), "-o", "table")
        assert [line.split()[0] for line in out.splitlines()] == ["name", "kafka", "api-1"]

        # One that is gone is seen and comes back; the others go on.
        Handle(folder=folder / "api-1").kill()
        code, out, _ = cli("status", "--folder", str(folder))
        gone = json.loads(out)["processes"][1]
        assert (code, gone["pid"], gone["healthy"]) == (1, None, False)
        code, out, err = cli("up", "--folder", str(folder))
        assert (code, err) == (0, "starting api-1\n")
        assert json.loads(out)["processes"][0]["pid"] == first["pid"]

        code, _, err = cli("up", "--folder", str(folder), "--port", "kafka=29999")
        assert (code, err.endswith("runs with other ports or settings: bring it down first\n")) == (1, True)
    finally:
        code, _, err = cli("down", "--folder", str(folder))
    assert (code, err) == (0, "stopping api-1\nstopping kafka\n")
    assert json.loads((folder / "cluster.json").read_text())["ports"]["kafka"] == kafka
    assert cli("down", "--folder", str(folder), "--wipe") == (0, "", "")
    assert not folder.exists()


@pytest.mark.parametrize(
    ("jobs", "runs"),
    [
        ([], False),
        ([{"state": "RUNNING", "tasks": {"total": 3, "running": 3}}], True),
        ([{"state": "RUNNING", "tasks": {"total": 3, "running": 2}}], False),
        ([{"state": "FAILED", "tasks": {"total": 3, "running": 0}}], False),
    ],
)
def test_a_job_manager_is_well_while_a_job_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: list[object], runs: bool
) -> None:
    manager = plan.planned(tmp_path / "c", {}, {}).flink().job_manager()
    monkeypatch.setattr(Process, "pid", lambda self: 1)
    monkeypatch.setattr(probes, "get_json", lambda url: {"jobs": jobs})
    assert manager.healthy()
    assert cluster._status(manager).healthy is runs


@pytest.mark.usefixtures("small")
def test_two_commands_at_once_do_not_mix(tmp_path: Path, cli: Cli) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        code, _, err = cli("up", "--folder", str(tmp_path))
    assert code == 1
    assert "is being started or stopped by another command" in err


@pytest.mark.usefixtures("small")
def test_a_setting_that_cannot_be_used_is_refused_before_anything_is_done(tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "c"
    code, out, err = cli("up", "--folder", str(folder), "--set", "late_afer=5s")
    assert (code, out, err) == (2, "", "taskscheduler: late_afer: no such setting; did you mean late_after?\n")
    code, _, err = cli("up", "--folder", str(folder), "--set", "http.only_allowed=true")
    assert (code, err.startswith("taskscheduler: http.allow: name what")) == (2, True)
    assert not folder.exists()


@pytest.mark.usefixtures("small")
def test_ports_are_looked_at_before_anything_starts(tmp_path: Path, cli: Cli) -> None:
    folder, (kafka, api) = tmp_path / "c", free_ports(2)
    with socket.create_server(("127.0.0.1", api)):
        code, out, err = cli("up", "--folder", str(folder), "--port", f"kafka={kafka}", "--port", f"api-1={api}")
    assert (code, out) == (1, "")
    assert err == (
        f"taskscheduler: ports are taken by other processes: api-1 ({api}); choose others, such as --port api-1=20000\n"
    )
    assert not (folder / "kafka").exists()


def test_a_folder_that_cannot_be_one(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "check_machine", lambda say: None)
    code, _, err = cli("up", "--folder", "/proc/none")
    assert code == 1
    assert err == "taskscheduler: /proc/none cannot be the folder of a cluster: No such file or directory\n"


@pytest.mark.usefixtures("small")
def test_it_is_found_by_every_path_to_its_folder(tmp_path: Path, cli: Cli) -> None:
    folder, (kafka, api) = tmp_path / "c", free_ports(2)
    (tmp_path / "link").symlink_to(folder)
    try:
        _, out, _ = cli("up", "--folder", str(folder), "--port", f"kafka={kafka}", "--port", f"api-1={api}")
        assert cli("status", "--folder", str(tmp_path / "link")) == (0, out, "")
    finally:
        code, _, err = cli("down", "--folder", str(tmp_path / "link"))
        Handle(folder=folder / "kafka").kill()
        Handle(folder=folder / "api-1").kill()
    assert (code, err) == (0, "stopping api-1\nstopping kafka\n")


@pytest.mark.parametrize("port", ["kafka", "kafka=x", "kafka=-1"])
def test_a_port_that_is_none(tmp_path: Path, cli: Cli, port: str) -> None:
    code, _, err = cli("up", "--folder", str(tmp_path), "--port", port)
    assert code == 2
    assert "--port" in err
