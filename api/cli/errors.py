"""Exit codes, as documented in docs/cli.md."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from taskscheduler.api.settings import SettingsError

OK = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
CONFLICT = 4
UNAVAILABLE = 5
INCOMPLETE = 6
INTERRUPTED = 130


class UsageError(Exception):
    """The command line cannot be carried out as it stands."""


class Failed(Exception):
    """The command did its work, and the answer is a failure that has been shown already."""

    def __init__(self, code: int = FAILED) -> None:
        super().__init__(code)
        self.code = code


def exit_code(error: Exception) -> int | None:
    """The exit code for an error that is no fault of this program; None for any other."""
    if isinstance(error, UsageError | SettingsError):
        return USAGE
    # An error of a module that was never imported cannot have been raised.
    if (client := sys.modules.get("taskscheduler.client.errors")) is not None:
        for kind, code in (
            (client.NotFound, NOT_FOUND),
            (client.Conflict, CONFLICT),
            (client.Unavailable, UNAVAILABLE),
            (client.Invalid, USAGE),
            (client.ApiError, FAILED),
        ):
            if isinstance(error, kind):
                return code
    cluster = sys.modules.get("taskscheduler.api.local_cluster.errors")
    if cluster is not None and isinstance(error, cluster.ClusterError):
        return FAILED
    flink = sys.modules.get("taskscheduler.streams.flink.rest")
    if flink is not None and isinstance(error, flink.FlinkRefused | flink.FlinkUnavailable):
        return FAILED if isinstance(error, flink.FlinkRefused) else UNAVAILABLE
    kafka = sys.modules.get("taskscheduler.streams.kafka.refusals")
    if kafka is not None and isinstance(error, kafka.KafkaRefused):
        return FAILED
    cassandra = sys.modules.get("taskscheduler.streams.cassandra.client_options")
    if cassandra is not None and isinstance(error, cassandra.CassandraRefused):
        return FAILED
    if (server := sys.modules.get("taskscheduler.api.server")) is not None and isinstance(error, server.StartError):
        return FAILED
    return None


def explain(error: Exception) -> str:
    """The error for people, one line or a few, without control characters."""
    return "\n".join(printable(line) for line in str(error).splitlines())


def printable(text: str) -> str:
    """The text with control characters written as escapes: a server's words must not steer the terminal."""
    return "".join(_safe(text))


def _safe(text: str) -> Iterable[str]:
    for char in text:
        yield char if char.isprintable() else char.encode("unicode_escape").decode()
