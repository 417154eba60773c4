"""Secrets by name: a task names what it needs, and the value is looked up when an attempt is made, never stored.

A secret named `crm-token` is the file `crm-token` in a directory, else the environment variable
`TASKSCHEDULER_SECRET_CRM_TOKEN`. Beside it may stand which hosts it may be sent to: `crm-token.hosts`, or
`TASKSCHEDULER_SECRET_CRM_TOKEN__HOSTS`.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path

from taskscheduler.domain.ids import is_id
from taskscheduler.streams.dispatch.addresses import plain

PREFIX = "TASKSCHEDULER_SECRET_"
LARGEST = 64 * 1024
"""Bytes of a secret."""

_HOSTS = ".hosts"


class SecretUnusable(Exception):
    """The text names the secret and says what to do; it never holds a value."""


class Secrets:
    """Reads afresh each time, so that a secret that is replaced is in force with the next attempt."""

    def __init__(self, directory: Path | None, environ: Mapping[str, str]) -> None:
        self._directory = directory
        self._environ = environ

    def text(self, name: str, host: str) -> str:
        """The value, to be sent to `host`. Raises SecretUnusable."""
        self._check(name, host)
        found = self._read(name)
        value = self._environ.get(variable(name)) if found is None else found
        if value is None:
            raise self._missing(name)
        if not (value := value.removesuffix("\n").removesuffix("\r")):
            raise SecretUnusable(f"the secret {name!r} is empty")
        return value

    def line(self, name: str, host: str) -> str:
        """The value, when it can stand in a header. Raises SecretUnusable."""
        value = self.text(name, host)
        if not value.isascii() or not value.isprintable():
            raise SecretUnusable(f"the secret {name!r} must be one line of printable ASCII characters to be sent")
        return value

    def file(self, name: str, host: str) -> Path:
        """The file that holds it, for what takes files only. Raises SecretUnusable."""
        self._check(name, host)
        if self._read(name) is None:
            if variable(name) in self._environ:
                raise SecretUnusable(f"the secret {name!r} has to be a file in secrets.directory, as certificates are")
            raise self._missing(name)
        assert self._directory is not None
        return self._directory / name

    def _check(self, name: str, host: str) -> None:
        if not is_id(name):
            raise SecretUnusable("a secret is named by letters, digits, dots, dashes and underscores")
        hosts = self._read(name + _HOSTS)
        if hosts is None:
            hosts = self._environ.get(variable(name) + "__HOSTS")
        if hosts is None:
            return
        for allowed in map(plain, re.split(r"[\s,]+", hosts.strip())):
            if host == allowed or (allowed.startswith("*.") and host.endswith(allowed[1:])):
                return
        raise SecretUnusable(f"the secret {name!r} may not be sent to {host}: its list of hosts does not name it")

    def _read(self, name: str) -> str | None:
        if self._directory is None:
            return None
        path = self._directory / name
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise SecretUnusable(f"the secret {name!r} is not a file")  # a pipe would hold up everything
            with path.open("rb") as file:
                data = file.read(LARGEST + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SecretUnusable(f"the secret {name!r} cannot be read: {error.strerror}") from None
        if len(data) > LARGEST:
            raise SecretUnusable(f"the secret {name!r} is larger than {LARGEST} bytes")
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise SecretUnusable(f"the secret {name!r} is not UTF-8 text") from None

    def _missing(self, name: str) -> SecretUnusable:
        file = "" if self._directory is None else f"the file {name} in secrets.directory, or "
        return SecretUnusable(f"there is no secret {name!r}: set {file}the environment variable {variable(name)}")


def variable(name: str) -> str:
    """The environment variable of a secret."""
    return PREFIX + re.sub(r"[^A-Za-z0-9]", "_", name).upper()
