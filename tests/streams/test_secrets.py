"""Secrets by name: where they are found, to whom they may go, and that no text ever holds one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taskscheduler.streams.dispatch.secrets import LARGEST, Secrets, SecretUnusable, variable

VALUE = "t0p-s3cret-value"


def test_a_file_comes_before_the_environment(tmp_path: Path) -> None:
    environ = {"TASKSCHEDULER_SECRET_CRM_TOKEN": "from the environment"}
    secrets = Secrets(tmp_path, environ)
    assert secrets.text("crm-token", "a.example") == "from the environment"
    (tmp_path / "crm-token").write_text(VALUE + "\n")
    assert secrets.text("crm-token", "a.example") == VALUE
    assert secrets.file("crm-token", "a.example") == tmp_path / "crm-token"
    assert Secrets(None, environ).text("crm-token", "a.example") == "from the environment"


def test_a_file_that_is_replaced_is_in_force_at_once(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path, {})
    for value in ("old", "new"):
        (tmp_path / "s").write_text(value)
        assert secrets.text("s", "a.example") == value


@pytest.mark.parametrize("name", ["crm-token", "crm.token", "crm_token", "CRM-token"])
def test_the_variable_of_a_secret(name: str) -> None:
    assert variable(name) == "TASKSCHEDULER_SECRET_CRM_TOKEN"


def test_one_that_is_missing_says_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(SecretUnusable) as raised:
        Secrets(tmp_path, {}).text("crm", "a.example")
    assert str(raised.value) == (
        "there is no secret 'crm': set the file crm in secrets.directory, or the environment variable "
        "TASKSCHEDULER_SECRET_CRM"
    )
    with pytest.raises(SecretUnusable, match=r"^there is no secret 'crm': set the environment variable"):
        Secrets(None, {}).file("crm", "a.example")


@pytest.mark.parametrize("name", ["../passwd", "..", ".hidden", "a/b", "/etc/passwd", "", "a\0", "a\n", "x" * 65])
def test_a_name_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    (tmp_path / ".hidden").write_text(VALUE)
    (tmp_path.parent / "passwd").write_text(VALUE)
    with pytest.raises(SecretUnusable, match=r"^a secret is named by"):
        Secrets(tmp_path, {}).text(name, "a.example")


def test_a_secret_goes_to_its_hosts_alone(tmp_path: Path) -> None:
    (tmp_path / "s").write_text(VALUE)
    (tmp_path / "s.hosts").write_text("api.example\n*.svc.example, Third.Example.\n")
    environ = {"TASKSCHEDULER_SECRET_E": VALUE, "TASKSCHEDULER_SECRET_E__HOSTS": "api.example"}
    secrets = Secrets(tmp_path, environ)
    for host in ("api.example", "a.svc.example", "third.example"):
        assert secrets.text("s", host) == VALUE
    assert secrets.text("e", "api.example") == VALUE
    for name, host in (("s", "svc.example"), ("s", "evil-api.example"), ("s", "10.0.0.1"), ("e", "evil.example")):
        with pytest.raises(SecretUnusable, match=rf"^the secret '{name}' may not be sent to {host}"):
            secrets.text(name, host)
    with pytest.raises(SecretUnusable, match="may not be sent to"):
        secrets.file("s", "evil.example")


def test_what_cannot_be_used_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "large").write_text("x" * (LARGEST + 1))
    (tmp_path / "binary").write_bytes(b"\xff\xfe" + VALUE.encode())
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "lines").write_text(f"{VALUE}\r\nX-Injected: 1")
    secrets = Secrets(tmp_path, {})
    said = {}
    for name in ("empty", "large", "binary", "folder", "pipe"):
        with pytest.raises(SecretUnusable) as raised:
            secrets.text(name, "a.example")
        said[name] = str(raised.value)
    with pytest.raises(SecretUnusable) as raised:
        secrets.line("lines", "a.example")
    said["lines"] = str(raised.value)
    assert said == {
        "empty": "the secret 'empty' is empty",
        "large": "the secret 'large' is larger than 65536 bytes",
        "binary": "the secret 'binary' is not UTF-8 text",
        "folder": "the secret 'folder' is not a file",
        "pipe": "the secret 'pipe' is not a file",
        "lines": "the secret 'lines' must be one line of printable ASCII characters to be sent",
    }
