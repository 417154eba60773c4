"""Options that many commands share, and what they are turned into."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from taskscheduler.api.cli.errors import UsageError
from taskscheduler.api.cli.output import Format
from taskscheduler.api.durations import parse_duration

if TYPE_CHECKING:
    from taskscheduler.client import Client

DEFAULT_URL = "http://127.0.0.1:8080"


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """Where the server is, and how to print."""

    url: Annotated[str, Parameter(env_var="TASKSCHEDULER_URL", help="The server.")] = DEFAULT_URL
    output: Annotated[
        Format | None, Parameter(name=["--output", "-o"], help="Default: table on a terminal, else json.")
    ] = None
    call_timeout: Annotated[str, Parameter(help="How long to try to reach the server.")] = "10s"

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A client of the server. Raises UsageError for a URL or a duration that is none."""
        from taskscheduler.client import Client, Unreachable

        try:
            client = Client(self.url, timeout=parse_duration(self.call_timeout) / 1000)
        except ValueError as error:
            raise UsageError(str(error)) from error
        with client:
            try:
                yield client
            except Unreachable as error:
                raise Unreachable(0, f"no answer from {self.url} (is a server running there?)", error.detail) from error


COMMON = Common()

Limit = Annotated[int, Parameter(help="At most so many.", validator=Number(gte=1, lte=1_000_000_000))]


def _is_ascii(_: object, key: str | None) -> None:
    if key is not None and not key.isascii():
        raise ValueError("a key is made of ASCII characters")


Key = Annotated[
    str | None,
    Parameter(name="--idempotency-key", help="The same key again changes nothing more.", validator=_is_ascii),
]


def pairs(given: Iterable[str] | None, what: str = "tag") -> dict[str, str]:
    """`k=v` pairs as a dict. Raises UsageError."""
    found: dict[str, str] = {}
    for one in given or ():
        key, equals, value = one.partition("=")
        if not equals or not key:
            raise UsageError(f"--{what} {one!r}: write it as key=value")
        found[key] = value
    return found


def json_value(text: str, option: str) -> Any:
    """JSON as it stands, from `@file`, or from standard input for `@-`. Raises UsageError."""
    try:
        return msgspec.json.decode(contents(text[1:]) if text.startswith("@") else text)
    except (msgspec.DecodeError, RecursionError, OSError, UnicodeError) as error:
        hint = "" if text.startswith("@") else " (put text in quotes: '\"hello\"')"
        raise UsageError(f"{option}: {error}{hint}") from error


def document(path: str) -> dict[str, Any]:
    """A JSON or YAML file, or standard input for `-`. Raises UsageError."""
    import yaml

    try:
        found = yaml.safe_load(contents(path))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise UsageError(f"--file {path}: {error}") from error
    if not isinstance(found, dict):
        raise UsageError(f"--file {path}: it does not hold a task")
    return {str(key): value for key, value in found.items()}


def instant(text: str | None, option: str) -> datetime | None:
    """An RFC 3339 instant; one without an offset is of this machine's zone. Raises UsageError."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError as error:
        raise UsageError(f"{option} {text!r}: write it as 2030-01-31T08:00:00Z") from error


def contents(path: str) -> bytes:
    """What a file holds, or for `-` what comes on standard input. Raises OSError."""
    return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
