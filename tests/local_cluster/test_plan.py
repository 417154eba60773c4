"""Which processes there are, on which ports, and what each is told."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from taskscheduler.api.local_cluster.errors import ClusterError
from taskscheduler.api.local_cluster.plan import DEFAULT_PORTS, Plan, known, planned
from taskscheduler.api.local_cluster.preparation import settings_of
from taskscheduler.api.settings_load import load


def settings(arguments: list[str]) -> dict[str, str]:
    return dict(one.removeprefix("--set=").split("=", 1) for one in arguments if one.startswith("--set="))


def test_every_port_belongs_to_one_process(tmp_path: Path) -> None:
    processes = planned(tmp_path, {}, {}).processes()
    ports = [name for process in processes for name in process.ports]
    assert sorted(ports) == sorted(DEFAULT_PORTS)
    assert len({process.name for process in processes}) == len({process.folder for process in processes}) == 9
    assert all(process.folder.is_relative_to(tmp_path) for process in processes)


def test_default_ports_are_none_that_connections_are_given() -> None:
    assert max(DEFAULT_PORTS.values()) < 32_768


def test_what_was_chosen_is_kept(tmp_path: Path) -> None:
    assert known(tmp_path) is None
    planned(tmp_path, {"kafka": 21_000}, {"late_after": "5s"}).save()
    planned(tmp_path, {"api-1": 21_001}, {}).save()
    kept = known(tmp_path)
    assert kept == planned(tmp_path, {}, {})
    assert kept.ports == {**DEFAULT_PORTS, "kafka": 21_000, "api-1": 21_001}
    assert kept.settings == {"late_after": "5s"}


def test_a_kept_setting_is_taken_back(tmp_path: Path) -> None:
    planned(tmp_path, {}, {"late_after": "5s", "kafka.partitions": "8"}).save()
    assert planned(tmp_path, {}, {"late_after": ""}).settings == {"kafka.partitions": "8"}


def test_who_sets_it_up_and_who_runs_read_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taskscheduler.toml").write_text("[kafka]\npartitions = 12\n")
    monkeypatch.chdir(tmp_path)
    # Nodes run in folders of their own.
    assert settings_of(planned(tmp_path / "c", {}, {})).kafka.partitions == 4


@pytest.mark.parametrize(
    ("ports", "message"),
    [
        ({"kafkaa": 21_000}, "no process has a port named 'kafkaa'; there are api-1, "),
        ({"kafka": 70_000}, "kafka: 70000 is no port"),
        ({"kafka": 0}, "kafka: 0 is no port"),
        ({"kafka": 8080}, "api-1 and kafka cannot both have port 8080"),
    ],
)
def test_ports_that_cannot_be_used(tmp_path: Path, ports: dict[str, int], message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        planned(tmp_path, ports, {})


def test_a_damaged_plan_is_named(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text("{")
    with pytest.raises(ClusterError, match=r"cluster\.json cannot be read: "):
        known(tmp_path)


def test_our_own_processes_can_use_what_they_are_told(tmp_path: Path) -> None:
    plan = planned(tmp_path, {"kafka": 21_000, "cassandra": 21_001}, {"late_after": "5s"})
    plan.save()
    roles = []
    for process in plan.nodes():
        loaded = load(settings(list(process.command(process.marker))), environ=process.env).settings
        roles.append(loaded.roles)
        assert loaded.profile == "cluster"
        assert loaded.port == plan.ports[process.name]
        assert loaded.host == "127.0.0.1"
        assert loaded.data_dir.is_relative_to(process.folder)
        assert loaded.kafka.bootstrap_servers == ("127.0.0.1:21000",)
        assert loaded.cassandra.contact_points == ("127.0.0.1:21001",)
        assert loaded.late_after == 5_000
    assert roles == [("api",), ("api",), ("triggers", "dispatch"), ("projections",)]


def test_instances_share_a_secret_that_nobody_else_can_read(tmp_path: Path) -> None:
    plan = planned(tmp_path, {}, {})
    plan.save()
    before = (tmp_path / "claim-secret").read_text()
    plan.save()
    seen = {load(plan.flags(), environ=process.env, check=False).settings.claims.secret for process in plan.nodes()}
    assert seen == {before}
    assert stat.S_IMODE((tmp_path / "claim-secret").stat().st_mode) == 0o600
    assert all(before not in argument for process in plan.nodes() for argument in process.command(process.marker))


def test_a_plan_tells_without_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert all(process.pid() is None for process in Plan(folder=tmp_path, ports=DEFAULT_PORTS).processes())
