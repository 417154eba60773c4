"""Starting a whole cluster, stopping it, and telling how it is."""

from __future__ import annotations

import asyncio
import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import msgspec

from taskscheduler.api.local_cluster import jars, java, preparation
from taskscheduler.api.local_cluster.errors import ClusterError
from taskscheduler.api.local_cluster.plan import Plan, known
from taskscheduler.api.local_cluster.process import Process, is_free

PACKAGES = {"aiokafka": "aiokafka", "cassandra": "cassandra-driver", "pyflink": "apache-flink"}
"""What a cluster needs of Python, by the name of its module."""

Say: TypeAlias = Callable[[str], None]


class ProcessStatus(msgspec.Struct, frozen=True):
    """How a process is. `pid` is None when it does not run."""

    name: str
    role: str
    pid: int | None
    ports: dict[str, int]
    healthy: bool
    log: str


class Status(msgspec.Struct, frozen=True):
    """How a cluster is."""

    processes: list[ProcessStatus]

    @property
    def healthy(self) -> bool:
        """Whether everything runs and is well."""
        return all(one.healthy for one in self.processes)


def up(plan: Plan, say: Say) -> Status:
    """Start what does not run of a cluster, set it up, and wait until all is well.

    Raises ClusterError, and SettingsError for settings that our own processes could not use.
    """
    preparation.check_settings(plan)
    check_machine(say)
    with _alone(plan.folder):
        _check_running(plan)
        _check_ports(plan)
        plan.save()
        _start(plan.engines(), say)
        for what, run in preparation.STEPS:
            say(what)
            asyncio.run(run(plan))
        _start(plan.nodes(), say)
    return status(plan.folder)


def down(folder: Path, *, wipe: bool, say: Say) -> None:
    """Stop what runs of a cluster, our own processes first; `wipe` removes its folder. Raises ClusterError."""
    plan = known(folder)
    if plan is None:
        return
    with _alone(plan.folder):
        for process in reversed(plan.processes()):
            if process.pid() is not None:
                say(f"stopping {process.name}")
                process.stop()
        if wipe:
            shutil.rmtree(plan.folder)


def status(folder: Path) -> Status:
    """How the cluster of a folder is; without any process when there is none. Raises ClusterError."""
    plan = known(folder)
    return Status([] if plan is None else [_status(process) for process in plan.processes()])


def check_machine(say: Say) -> None:
    """Have all that a cluster needs: Java, our extra packages, and jars, which are fetched. Raises ClusterError."""
    java.find()
    if lacking := missing_packages():
        raise ClusterError(f"{', '.join(lacking)}: not installed; pip install 'taskscheduler[cluster]'")
    for bundle in jars.BUNDLES:
        if not bundle.folder().exists():
            say(f"fetching the jars of {bundle.name}, once, into {bundle.folder()}")
        jars.fetch(bundle)


def missing_packages() -> list[str]:
    """Those of the extra `cluster` that are not installed."""
    return [name for module, name in PACKAGES.items() if find_spec(module) is None]


def _start(processes: list[Process], say: Say) -> None:
    for process in processes:
        if process.pid() is None:
            say(f"starting {process.name}")
        process.launch()
    for process in processes:
        process.wait()


def _check_running(plan: Plan) -> None:
    """A cluster that runs keeps its ports: half of it would not find the other half on new ones."""
    before = known(plan.folder)
    if before is None or (before.ports, before.settings) == (plan.ports, plan.settings):
        return
    for process in before.processes():
        if process.pid() is not None:
            raise ClusterError(
                f"{process.name} of the cluster in {plan.folder} runs with other ports or settings: bring it down first"
            )


def _check_ports(plan: Plan) -> None:
    """Nothing is started of a cluster that could not be started whole."""
    taken = [
        f"{name} ({port})"
        for process in plan.processes()
        if process.pid() is None
        for name, port in process.ports.items()
        if not is_free(port)
    ]
    if taken:
        raise ClusterError(
            f"ports are taken by other processes: {', '.join(taken)}; choose others, such as --port "
            f"{taken[0].split()[0]}=20000"
        )


def _status(process: Process) -> ProcessStatus:
    pid = process.pid()
    healthy = pid is not None and process.healthy() and process.useful()
    return ProcessStatus(process.name, process.role, pid, dict(process.ports), healthy, str(process.log))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise ClusterError(f"{folder} cannot be the folder of a cluster: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ClusterError(f"the cluster in {folder} is being started or stopped by another command") from None
        yield
