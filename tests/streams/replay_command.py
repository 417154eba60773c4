"""The command line of `replay`, in the process of a test."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from taskscheduler.api.cli.main import run
from taskscheduler.api.settings import Settings


def replay(*arguments: str) -> tuple[int, Any, str]:
    """A command line in this process; gives the exit code, what was printed as JSON, and what was said."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run(["replay", *arguments, "-o", "json"])
    return code, json.loads(out.getvalue()) if out.getvalue() else None, err.getvalue()


def flags_of(settings: Settings) -> list[str]:
    """How the command line finds a scheduler."""
    kafka, cassandra = settings.kafka, settings.cassandra
    values = {
        "kafka.bootstrap_servers": ",".join(kafka.bootstrap_servers),
        "kafka.topic_prefix": kafka.topic_prefix,
        "kafka.partitions": kafka.partitions,
        "kafka.development": "true",
        "cassandra.contact_points": ",".join(cassandra.contact_points),
        "cassandra.keyspace": cassandra.keyspace,
        "cassandra.replication": cassandra.replication,
    }
    return [
        *("--profile", "cluster", "--data-dir", str(settings.data_dir)),
        *(f"--set={path}={value}" for path, value in values.items()),
    ]
