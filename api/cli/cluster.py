"""`cluster up|down|status|fetch`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from taskscheduler.api.cli.common import pairs
from taskscheduler.api.cli.errors import Failed, UsageError
from taskscheduler.api.cli.output import Columns, Format, format_of, say, show, show_all

if TYPE_CHECKING:
    from taskscheduler.api.local_cluster.cluster import Status

FOLDER = Path("cluster-data")
_COLUMNS: Columns = {
    "name": lambda one: one.name,
    "role": lambda one: one.role,
    "pid": lambda one: one.pid,
    "ports": lambda one: ", ".join(str(port) for port in one.ports.values()),
    "state": lambda one: "well" if one.healthy else "not running" if one.pid is None else "not well",
    "log": lambda one: one.log,
}

Folder = Annotated[Path, Parameter(name=["--folder", "-f"], help="Where its data, configuration and logs are.")]
Output = Annotated[Format | None, Parameter(name=["--output", "-o"], help="Default: table on a terminal, else json.")]


def up(
    *,
    folder: Folder = FOLDER,
    port: Annotated[
        list[str] | None, Parameter(negative="", help="Another port: kafka=29092; repeatable, kept for the next time.")
    ] = None,
    set: Annotated[
        list[str] | None,
        Parameter(
            negative="", help="A setting of our own processes, as for serve; repeatable, kept until `path=` is given."
        ),
    ] = None,
    output: Output = None,
) -> None:
    """Start what does not run of Kafka, Cassandra, Flink and our own processes, and wait until all is well.

    Everything listens on 127.0.0.1. Needs Java, Maven (to fetch jars, once) and pip install 'taskscheduler[cluster]'.
    """
    from taskscheduler.api.local_cluster import cluster
    from taskscheduler.api.local_cluster.plan import planned

    plan = planned(folder, _ports(port), pairs(set, "set"))
    _show(cluster.up(plan, say), output)


def down(
    *,
    folder: Folder = FOLDER,
    wipe: Annotated[bool, Parameter(negative="", help="Remove the folder too, with all data.")] = False,
) -> None:
    """Stop what runs of a cluster; `up` goes on with its data."""
    from taskscheduler.api.local_cluster import cluster

    cluster.down(folder, wipe=wipe, say=say)


def status(*, folder: Folder = FOLDER, output: Output = None) -> None:
    """Show what runs where, and how it is. Exit 1 unless everything is well."""
    from taskscheduler.api.local_cluster import cluster

    found = cluster.status(folder)
    _show(found, output)
    if not found.processes or not found.healthy:
        raise Failed


def fetch() -> None:
    """Check that Java and our packages are there, and fetch the jars that `up` needs."""
    from taskscheduler.api.local_cluster import cluster

    cluster.check_machine(say)


def _ports(given: list[str] | None) -> dict[str, int]:
    named = pairs(given, "port")
    for name, number in named.items():
        if not number.isdecimal():
            raise UsageError(f"--port {name}={number}: {number!r} is no port")
    return {name: int(number) for name, number in named.items()}


def _show(found: Status, output: Format | None) -> None:
    if format_of(output) == "table":
        show_all(found.processes, _COLUMNS, "table")
    else:
        show(found, {}, output)
