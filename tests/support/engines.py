"""Real servers for tests: one of each per session, shared by all its workers, and others that a test may ill-treat.

`kafka` is the bootstrap servers and `cassandra` a contact point, both `host:port`; `flink` is a session cluster with
one TaskManager of four slots; `cluster` is all of them with our own processes. Nothing may stop or pause these: others
use them at the same time. `own_kafka`, `own_brokers`, `own_cassandra`, `own_flink` and `own_cluster` are made for one
module; their `Process`es can be killed, paused, resumed, stopped, and started again on the same ports and data.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias, TypeVar

import msgspec
import pytest

from taskscheduler.api.local_cluster import cassandra as cassandra_server
from taskscheduler.api.local_cluster import flink as flink_server
from taskscheduler.api.local_cluster import jars, java
from taskscheduler.api.local_cluster import kafka as kafka_server
from taskscheduler.api.local_cluster.cluster import missing_packages, up
from taskscheduler.api.local_cluster.errors import ClusterError
from taskscheduler.api.local_cluster.handle import Handle
from taskscheduler.api.local_cluster.plan import DEFAULT_PORTS, Plan
from taskscheduler.api.local_cluster.process import Process, free_ports

REQUIRED = os.environ.get("TASKSCHEDULER_TEST_CLUSTER") == "required"
SKIPPED = "cluster tests need "
_SHARED = "engines"


def missing() -> list[str]:
    """What this machine lacks to run the cluster tests."""
    lacking = missing_packages()
    try:
        java.find()
    except ClusterError as error:
        lacking.insert(0, f"Java ({error})")
    if shutil.which("mvn") is None and not all(bundle.folder().exists() for bundle in jars.BUNDLES):
        lacking.insert(0, "Maven")
    return lacking


def require() -> None:
    """Skip the test, or fail it where the cluster is required, when something is missing."""
    if lacking := missing():
        reason = SKIPPED + ", ".join(lacking)
        if REQUIRED:
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


class Server(msgspec.Struct, frozen=True):
    """Kafka or Cassandra, and where it listens, as `host:port`."""

    process: Process
    address: str

    def start(self) -> None:
        """Start it, unless it runs."""
        self.process.start()

    def limit_files(self, size: int) -> None:
        """No file of the process may grow beyond `size` bytes until it is started again: a full disk, to it."""
        pid = self.process.pid()
        assert pid is not None
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


class Brokers(msgspec.Struct, frozen=True):
    """Three brokers of one Kafka, the one with the id 1 first; `address` names all of them, separated by commas."""

    processes: list[Process]
    address: str

    def start(self) -> None:
        """Start those that do not run."""
        with ThreadPoolExecutor() as pool:  # each formats its storage first, which takes a while
            list(pool.map(Process.start, self.processes))


class Flink(msgspec.Struct, frozen=True):
    """A Flink session cluster. `session` knows its REST interface (`url`), its FLINK_HOME (`home`) and its data."""

    session: flink_server.Session

    @property
    def job_manager(self) -> Process:
        return self.session.job_manager()

    @property
    def task_manager(self) -> Process:
        return self.session.task_manager()

    def start(self) -> None:
        """Start what does not run of it."""
        for process in self.session.processes():
            process.launch()
        for process in self.session.processes():
            process.wait()

    def environment(self) -> dict[str, str]:
        """The environment of a process that submits jobs, by `session.home/bin/flink run -py …` or by pyflink."""
        return {**os.environ, **self.session.environment()}


class Cluster(msgspec.Struct, frozen=True):
    """All engines, two API instances, a dispatcher and a projector, as `taskscheduler cluster up` starts them."""

    plan: Plan

    @property
    def urls(self) -> list[str]:
        """Of the API instances."""
        return [f"http://127.0.0.1:{self.plan.ports[name]}" for name in ("api-1", "api-2")]

    def process(self, name: str) -> Process:
        """One of its processes, by its name in `cluster status`. Raises KeyError."""
        return {process.name: process for process in self.plan.processes()}[name]

    def start(self) -> None:
        """Start what does not run of it."""
        up(self.plan, print)


E = TypeVar("E", Server, Brokers, Flink, Cluster)
Ports: TypeAlias = dict[str, int]


def _kafka(folder: Path, ports: Ports) -> Server:
    return Server(kafka_server.broker(folder, ports), f"127.0.0.1:{ports['kafka']}")


def _brokers(folder: Path, _: Ports) -> Brokers:
    ports = free_ports(6)
    every = [dict(zip(kafka_server.PORTS, pair, strict=True)) for pair in zip(ports[::2], ports[1::2], strict=True)]
    return Brokers(kafka_server.brokers(folder, every), ",".join(f"127.0.0.1:{port}" for port in ports[::2]))


def _cassandra(folder: Path, ports: Ports) -> Server:
    return Server(cassandra_server.node(folder, ports), f"127.0.0.1:{ports['cassandra']}")


def _flink(folder: Path, ports: Ports) -> Flink:
    return Flink(flink_server.Session(folder=folder, ports=ports, recovery=False))


def _lasting_flink(folder: Path, ports: Ports) -> Flink:
    return Flink(flink_server.Session(folder=folder, ports=ports))


def _cluster(folder: Path, ports: Ports) -> Cluster:
    return Cluster(Plan(folder=folder, ports=ports, jit="c1"))


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bootstrap servers of a real broker that all tests share: use topics and groups of your own."""
    return _shared(tmp_path_factory, _kafka).address


@pytest.fixture(scope="session")
def cassandra(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The contact point of a real node that all tests share: use keyspaces of your own."""
    return _shared(tmp_path_factory, _cassandra).address


@pytest.fixture(scope="session")
def flink(tmp_path_factory: pytest.TempPathFactory) -> Flink:
    """A real session cluster that all tests share: cancel the jobs you submit."""
    return _shared(tmp_path_factory, _flink)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """A whole cluster that all tests share: use tasks and queues of your own."""
    return _shared(tmp_path_factory, _cluster)


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A broker that this module may ill-treat."""
    with own(tmp_path_factory, _kafka) as server:
        yield server


@pytest.fixture(scope="module")
def own_brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    """Three brokers that this module may ill-treat."""
    with own(tmp_path_factory, _brokers) as brokers:
        yield brokers


@pytest.fixture(scope="module")
def own_cassandra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A node that this module may ill-treat."""
    with own(tmp_path_factory, _cassandra) as server:
        yield server


@pytest.fixture(scope="module")
def own_flink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flink]:
    """A session cluster that this module may ill-treat; jobs outlive its JobManager."""
    with own(tmp_path_factory, _lasting_flink) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A whole cluster that this module may ill-treat."""
    with own(tmp_path_factory, _cluster) as cluster:
        yield cluster


def stop_shared(config: pytest.Config) -> None:
    """End what the tests of this session shared; to be called once, when all have ended."""
    _end(config._tmp_path_factory.getbasetemp() / _SHARED)  # type: ignore[attr-defined]


def _shared(factory: pytest.TempPathFactory, build: Callable[[Path, Ports], E]) -> E:
    """The engine of this session, started by the first who asks."""
    root = _root(factory)
    folder = root / build.__name__.strip("_")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = folder.with_suffix(".ports")
        if not known.exists():
            known.write_text(json.dumps(_ports()))
        engine = build(folder, json.loads(known.read_text()))
        engine.start()
    return engine


@contextmanager
def own(factory: pytest.TempPathFactory, build: Callable[[Path, Ports], E]) -> Iterator[E]:
    """A server that `build` makes in a folder of its own, until the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix=build.__name__.strip("_") + "-", dir=_root(factory)))
    try:
        engine = build(folder, _ports())
        engine.start()
        yield engine
    finally:
        _end(folder)


def _root(factory: pytest.TempPathFactory) -> Path:
    """Where the servers of this session are, whichever worker asks; those of sessions that were killed are ended."""
    require()
    base = factory.getbasetemp()
    worker = "PYTEST_XDIST_WORKER" in os.environ
    root = (base.parent if worker else base) / _SHARED
    if not root.exists():
        root.mkdir(exist_ok=True)
        (root / "session").write_text(str(os.getppid() if worker else os.getpid()))
        for other in root.parent.parent.glob(f"pytest-*/{_SHARED}"):
            with suppress(OSError, ValueError):
                if not _lives(int((other / "session").read_text())):
                    _end(other)
    return root


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _ports() -> Ports:
    return dict(zip(DEFAULT_PORTS, free_ports(len(DEFAULT_PORTS)), strict=True))


def _end(root: Path) -> None:
    """Kill what runs under a folder, and remove the folder: nobody will read its data again."""
    for file in root.rglob("pid"):
        Handle(folder=file.parent).kill()
    shutil.rmtree(root, ignore_errors=True)
