"""How Cassandra is reached, and what is said when it cannot be."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from taskscheduler.api.settings import Cassandra
from taskscheduler.projections.ports import ViewsUnavailable
from tests.support.engines import free_ports

client_options = pytest.importorskip("taskscheduler.streams.cassandra.client_options", exc_type=ImportError)
session_module = pytest.importorskip("taskscheduler.streams.cassandra.session", exc_type=ImportError)
CassandraRefused = client_options.CassandraRefused
Session = session_module.Session

HERE = Path(__file__)


def given(**more: object) -> Cassandra:
    return Cassandra(**{"contact_points": ("127.0.0.1:9",), **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"contact_points": ()}, "cassandra.contact_points"),
        ({"contact_points": ("a:b",)}, "cassandra.contact_points"),
        ({"contact_points": ("a:0",)}, "cassandra.contact_points"),
        ({"contact_points": (":9042",)}, "cassandra.contact_points"),
        ({"username": "ada"}, "cassandra.password"),
        ({"password": "hush"}, "cassandra.username"),
        ({"tls": True, "ca_file": Path("/nowhere")}, "cassandra.ca_file"),
        ({"tls": True, "ca_file": HERE}, "cassandra.ca_file"),
        ({"tls": True, "key_file": HERE}, "cassandra.cert_file"),
        ({"tls": True, "cert_file": HERE, "key_file": HERE, "key_password": "hush"}, "cassandra.key_password"),
    ],
)
def test_settings_that_cannot_be_used_are_named(settings: dict[str, object], named: str) -> None:
    with pytest.raises(CassandraRefused, match=named.replace(".", r"\.")) as refused:
        Session(given(**settings))
    assert "hush" not in str(refused.value)


def test_addresses_of_nodes() -> None:
    points = ("node", "node:1", "10.0.0.1:2", "[::1]:3", "::1")
    options = client_options.client_options(given(contact_points=points))
    assert options["contact_points"] == [
        ("node", 9042),
        ("node", 1),
        ("10.0.0.1", 2),
        ("::1", 3),
        ("::1", 9042),
    ]


def test_what_is_set_reaches_the_driver() -> None:
    options = client_options.client_options(
        given(local_datacenter="dc7", consistency="ALL", request_timeout=1_500, connect_timeout=700, tls=True)
    )
    [profile] = options["execution_profiles"].values()
    assert (profile.consistency_level, profile.request_timeout, options["connect_timeout"]) == (5, 1.5, 0.7)
    assert profile.load_balancing_policy._child_policy.local_dc == "dc7"
    assert options["ssl_context"].check_hostname
    assert not client_options.client_options(given(tls=True, verify_hostname=False))["ssl_context"].check_hostname


async def test_a_node_that_is_not_there_is_asked_once_in_a_while() -> None:
    [port] = free_ports(1)
    session = Session(given(contact_points=(f"127.0.0.1:{port}",), username="ada", password="hush"))
    with pytest.raises(ViewsUnavailable, match=f"127.0.0.1:{port} does not answer") as first:
        await session.run("SELECT now() FROM system.local")
    assert "hush" not in str(first.value)
    started = time.perf_counter()
    for _ in range(100):
        with pytest.raises(ViewsUnavailable):
            await session.read("SELECT now() FROM system.local", ())
    assert time.perf_counter() - started < 0.2
    assert session.away is not None
    await session.close()
    with pytest.raises(ViewsUnavailable, match="closed"):
        await session.run("SELECT now() FROM system.local")


def test_paths_are_shown_but_no_secrets(tmp_path: Path) -> None:
    with pytest.raises(CassandraRefused) as refused:
        Session(given(tls=True, ca_file=tmp_path / "missing.pem", password="hush", username="ada"))
    assert "missing.pem" in str(refused.value)
    assert "hush" not in str(refused.value)
