import contextlib
from pathlib import Path
from typing import Any

import pytest

from taskscheduler.api.settings import FIELDS, Settings, SettingsError, reference
from taskscheduler.api.settings_load import Loaded, load

ROOT = Path(__file__).parents[2]


def loaded(environ: dict[str, str] | None = None, directory: Path = Path("/nowhere"), **given: Any) -> Loaded:
    return load(given.pop("flags", None), environ=environ or {}, directory=directory, **given)


def refusal(environ: dict[str, str] | None = None, **given: Any) -> str:
    with pytest.raises(SettingsError) as raised:
        loaded(environ, **given)
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_without_anything_the_defaults_hold() -> None:
    given = loaded()
    assert given.settings == Settings()
    assert set(given.origins.values()) == {"default"}
    assert set(given.origins) == set(FIELDS)


def test_flags_win_over_environment_over_file_over_default(tmp_path: Path) -> None:
    (tmp_path / "taskscheduler.toml").write_text(
        "port = 1\nhost = '::1'\n[http]\nconcurrency = 3\n[log]\nlevel = 'debug'\n"
    )
    given = loaded(
        {"TASKSCHEDULER_PORT": "2", "TASKSCHEDULER_HTTP__CONCURRENCY": "4", "PATH": "/bin"},
        tmp_path,
        flags={"port": 3, "host": None},
    )
    assert given.settings.port == 3
    assert given.settings.http.concurrency == 4
    assert given.settings.log.level == "debug"
    assert given.settings.host == "::1"
    assert given.origins["port"] == "flag"
    assert given.origins["http.concurrency"] == "TASKSCHEDULER_HTTP__CONCURRENCY"
    assert given.origins["log.level"] == str(tmp_path / "taskscheduler.toml")
    assert given.origins["late_after"] == "default"


def test_values_are_read_by_kind() -> None:
    settings = loaded(
        {
            "TASKSCHEDULER_DATA_DIR": "/var/lib/taskscheduler",
            "TASKSCHEDULER_HTTP__ALLOW_LOOPBACK": "True",
            "TASKSCHEDULER_LATE_AFTER": "1m30s",
            "TASKSCHEDULER_RETENTION__RUNS": "P7D",
            "TASKSCHEDULER_SHUTDOWN__GRACE": "0",
            "TASKSCHEDULER_KAFKA__BOOTSTRAP_SERVERS": "a:9092, [::1]:9093",
        }
    ).settings
    assert settings.data_dir == Path("/var/lib/taskscheduler")
    assert settings.http.allow_loopback is True
    assert settings.late_after == 90_000
    assert settings.retention.runs == 7 * 86_400_000
    assert settings.shutdown.grace == 0
    assert settings.kafka.bootstrap_servers == ("a:9092", "[::1]:9093")


CLUSTER = {
    "TASKSCHEDULER_PROFILE": "cluster",
    "TASKSCHEDULER_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:9092",
    "TASKSCHEDULER_CASSANDRA__CONTACT_POINTS": "127.0.0.1",
    "TASKSCHEDULER_CLAIMS__SECRET": "0123456789abcdef0123456789abcdef",
}


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in CLUSTER.items() if not key.endswith(name)}


@pytest.mark.parametrize("path", FIELDS)
def test_every_setting_can_be_set(path: str) -> None:
    """To something that is meant to be wrong for most: it is taken, or refused with a reason."""
    with contextlib.suppress(SettingsError):
        loaded(flags={path: "http://proxy.example:3128"})


def test_a_proxy_has_a_scheme_and_no_password() -> None:
    assert loaded({"TASKSCHEDULER_HTTP__PROXY": "http://proxy:3128"}).settings.http.proxy == "http://proxy:3128"
    for url in ("proxy:3128", "http://ada:pw@proxy:3128", "socks5://proxy"):
        assert "http.proxy" in refusal({"TASKSCHEDULER_HTTP__PROXY": url})


def test_a_process_of_a_cluster_takes_some_roles_and_what_they_need() -> None:
    assert load(environ={**CLUSTER, "TASKSCHEDULER_ROLES": "triggers, dispatch"}).settings.roles == (
        "triggers",
        "dispatch",
    )
    assert load(environ={**without("SECRET"), "TASKSCHEDULER_ROLES": "projections"}).settings.claims.secret is None
    assert (
        load(environ={**without("POINTS"), "TASKSCHEDULER_ROLES": "triggers"}).settings.cassandra.contact_points == ()
    )


@pytest.mark.parametrize(("missing", "setting"), [("SECRET", "claims.secret"), ("POINTS", "cassandra.contact_points")])
def test_the_role_api_is_refused_without_what_it_needs(missing: str, setting: str) -> None:
    assert setting in refusal(without(missing))


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"TASKSCHEDULER_PROT": "1"}, ["TASKSCHEDULER_PROT", "did you mean TASKSCHEDULER_PORT"]),
        ({"TASKSCHEDULER_ELEPHANT": "1"}, ["TASKSCHEDULER_ELEPHANT", "docs/configuration.md"]),
        ({"TASKSCHEDULER_PORT": "99999"}, ["port", "99999", "65535", "TASKSCHEDULER_PORT"]),
        ({"TASKSCHEDULER_PORT": "http"}, ["port", "whole number"]),
        ({"TASKSCHEDULER_PORT": ""}, ["port"]),
        ({"TASKSCHEDULER_HOST": ""}, ["host", "empty"]),
        ({"TASKSCHEDULER_DATA_DIR": ""}, ["data_dir", "path"]),
        ({"TASKSCHEDULER_LATE_AFTER": "-1s"}, ["late_after", "1m30s"]),
        ({"TASKSCHEDULER_RETENTION__RUNS": "0"}, ["retention.runs"]),
        ({"TASKSCHEDULER_LOG__FORMAT": "xml"}, ["log.format", "xml"]),
        ({"TASKSCHEDULER_HTTP__ALLOW_PRIVATE": "maybe"}, ["http.allow_private", "true or false"]),
        ({"TASKSCHEDULER_HTTP__CONCURRENCY": "0"}, ["http.concurrency", "1"]),
        ({"TASKSCHEDULER_KAFKA__BOOTSTRAP_SERVERS": "a:b"}, ["kafka.bootstrap_servers", "a:b"]),
        ({"TASKSCHEDULER_CASSANDRA__KEYSPACE": "no-such; drop"}, ["cassandra.keyspace"]),
        ({"TASKSCHEDULER_PROFILE": "cluster"}, ["kafka.bootstrap_servers", "127.0.0.1:9092"]),
        ({**CLUSTER, "TASKSCHEDULER_CASSANDRA__CONTACT_POINTS": ""}, ["cassandra.contact_points", "no address"]),
        ({**CLUSTER, "TASKSCHEDULER_CLAIMS__SECRET": "short"}, ["claims.secret", "32"]),
        ({**CLUSTER, "TASKSCHEDULER_ROLES": "api,cook"}, ["roles", "cook"]),
        ({**CLUSTER, "TASKSCHEDULER_ROLES": ","}, ["roles"]),
        ({"TASKSCHEDULER_ROLES": "api"}, ["roles", "embedded", "cluster"]),
        ({"TASKSCHEDULER_HOST": "0.0.0.0"}, ["host", "127.0.0.1", "allow_unauthenticated"]),
        ({"TASKSCHEDULER_HOST": "example.org"}, ["host", "allow_unauthenticated"]),
        (
            {"TASKSCHEDULER_CASSANDRA__PASSWORD_FILE": "/no/such"},
            ["TASKSCHEDULER_CASSANDRA__PASSWORD_FILE", "No such file"],
        ),
    ],
)
def test_what_cannot_be_used_is_named_with_the_way_out(environ: dict[str, str], words: list[str]) -> None:
    message = refusal(environ)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot = 1", ["prot", "did you mean port"]),
        ("[http]\nwarp = 1", ["http.warp"]),
        ("[nonsense]", ["nonsense"]),
        ("[port]\na = 1", ["port"]),
        ("http = 3", ["http"]),
        ("port = '1", ["taskscheduler.toml"]),
        ("port = 1.5", ["port", "float"]),
        ("host = 7", ["host", "str"]),
        ("port = true", ["port"]),
        ("[http]\nallow_private = 1", ["http.allow_private"]),
        ("[kafka]\nbootstrap_servers = [1]", ["kafka.bootstrap_servers"]),
    ],
)
def test_the_file_is_checked_alike(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "taskscheduler.toml").write_text(text)
    message = refusal(directory=tmp_path)
    for word in words:
        assert word in message


def test_a_named_file_must_exist_and_may_come_from_the_environment(tmp_path: Path) -> None:
    assert "absent.toml" in refusal(config=tmp_path / "absent.toml")
    file = tmp_path / "other.toml"
    file.write_text("port = 5")
    assert loaded({"TASKSCHEDULER_CONFIG": str(file)}).settings.port == 5


def test_an_unknown_flag_is_refused() -> None:
    assert "http.concurrency" in refusal(flags={"http.concurency": "1"})


def test_secrets_come_from_files_and_are_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    name = "TASKSCHEDULER_KAFKA__PASSWORD_FILE"
    given = loaded({name: str(file)})
    assert given.settings.kafka.password == "hunter2"
    assert given.origins["kafka.password"] == name
    assert "hunter2" not in FIELDS["kafka.password"].show("hunter2")
    assert "PASSWORD" in refusal({name: str(file), "TASKSCHEDULER_KAFKA__PASSWORD": "other"})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_permission(host: str) -> None:
    assert loaded({"TASKSCHEDULER_HOST": host}).settings.host == host


def test_another_address_needs_permission() -> None:
    environ = {"TASKSCHEDULER_HOST": "0.0.0.0", "TASKSCHEDULER_ALLOW_UNAUTHENTICATED": "true"}
    assert loaded(environ).settings.host == "0.0.0.0"


def test_other_names_under_the_prefix_are_left_alone() -> None:
    assert loaded({"TASKSCHEDULER_URL": "http://a", "TASKSCHEDULER_TEST_CLUSTER": "required"}).settings == Settings()


def test_the_reference_in_the_docs_is_the_one_of_the_code() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert reference() in text, "put the output of `python -m taskscheduler.api.settings` into docs/configuration.md"
