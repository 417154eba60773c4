"""A Flink session cluster from apache-flink's wheel: a JobManager and TaskManagers that run Python in their threads."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from taskscheduler.api.local_cluster import jars, java, probes
from taskscheduler.api.local_cluster.errors import ClusterError
from taskscheduler.api.local_cluster.java import Jit
from taskscheduler.api.local_cluster.process import Process

_CONFIGURATION = """\
jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: {rpc}
jobmanager.bind-host: 127.0.0.1
jobmanager.execution.failover-strategy: region
rest.address: 127.0.0.1
rest.bind-address: 127.0.0.1
rest.port: {rest}
rest.bind-port: {rest}
blob.server.port: 0
taskmanager.bind-host: 127.0.0.1
taskmanager.host: 127.0.0.1
taskmanager.rpc.port: 0
taskmanager.data.port: 0
taskmanager.numberOfTaskSlots: {slots}
taskmanager.cpu.cores: {slots}
taskmanager.memory.framework.heap.size: 64mb
taskmanager.memory.framework.off-heap.size: 64mb
taskmanager.memory.task.heap.size: {heap}mb
taskmanager.memory.task.off-heap.size: 32mb
taskmanager.memory.network.min: {network}mb
taskmanager.memory.network.max: {network}mb
taskmanager.memory.managed.size: {managed}mb
taskmanager.memory.jvm-metaspace.size: 192mb
taskmanager.memory.jvm-overhead.min: 64mb
taskmanager.memory.jvm-overhead.max: 64mb
parallelism.default: 1
# A TaskManager that is gone is noticed by its closed connection, one that stands still within these times.
heartbeat.interval: 1000ms
heartbeat.timeout: 6000ms
heartbeat.rpc-failure-threshold: 2
cluster.registration.initial-timeout: 100ms
cluster.registration.max-timeout: 1000ms
cluster.registration.error-delay: 1000ms
slot.idle.timeout: 10000ms
execution.checkpointing.dir: file://{data}/checkpoints
execution.checkpointing.savepoint-dir: file://{data}/savepoints
execution.checkpointing.num-retained: 2
io.tmp.dirs: {data}/tmp
python.executable: {python}
python.client.executable: {python}
python.pythonpath: {pythonpath}
env.java.opts.all: {options}
"""
_LOG4J = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
logger.kafka.name = org.apache.kafka
logger.kafka.level = WARN
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd HH:mm:ss,SSS} %-5p %c{1} - %m%n
"""
_OPENS = (
    *(f"java.base/java.{one}" for one in "lang net io nio lang.reflect text time util util.concurrent".split()),
    "java.base/java.util.concurrent.atomic",
    "java.base/java.util.concurrent.locks",
    "java.base/sun.nio.ch",
    "java.security.jgss/sun.security.krb5",
)
_JAVA_OPTIONS = (
    "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
    "--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
    *(f"--add-opens={one}=ALL-UNNAMED" for one in _OPENS),
)
_OURS = ("domain", "commands", "projections", "streams", "api", "client")
_FRAMEWORK_MB = 64
_DIRECT_MB = 96
"""Framework and task memory outside of the heap, network buffers not counted."""


Command: TypeAlias = Callable[[str], Sequence[str]]


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What a TaskManager may use, in MiB, and how many slots it has."""

    slots: int = 4
    heap: int = 256
    managed: int = 256
    network: int = 64


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session cluster with its `home`, `conf`, data and logs in one folder."""

    folder: Path
    rest: int
    rpc: int
    size: Size = Size()
    jit: Jit = "c1"

    @property
    def url(self) -> str:
        """Where its REST interface is."""
        return f"http://127.0.0.1:{self.rest}"

    @property
    def home(self) -> Path:
        """FLINK_HOME: what the wheel has, with the jars that a job in Python on Kafka needs in `lib`."""
        return self.folder / "home"

    @property
    def data(self) -> Path:
        """Checkpoints and savepoints."""
        return self.folder / "data"

    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to submit jobs here, by pyflink or by `home/bin/flink`."""
        home = self.home
        return {
            "FLINK_HOME": str(home),
            "FLINK_CONF_DIR": str(home / "conf"),
            "FLINK_LIB_DIR": str(home / "lib"),
            "FLINK_OPT_DIR": str(home / "opt"),
            "FLINK_BIN_DIR": str(home / "bin"),
            "FLINK_PLUGINS_DIR": str(home / "plugins"),
            "FLINK_LOG_DIR": str(self.folder),
            "JAVA_HOME": str(java.find().parent.parent),
            "PYTHONPATH": self._pythonpath(),
        }

    def job_manager(self) -> Process:
        """Its JobManager; well once it answers. Raises ClusterError."""
        command = self._command(
            "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",
            heap=f"{self.size.heap}m",
        )
        return Process(
            name="jobmanager",
            role="timers",
            folder=self.folder / "jobmanager",
            ports={"flink": self.rest, "flink-rpc": self.rpc},
            command=command,
            healthy=lambda: probes.get_json(f"{self.url}/overview") is not None,
            prepare=self._prepare,
            env=self.environment(),
        )

    def task_manager(self, name: str = "taskmanager") -> Process:
        """One of its TaskManagers; well once the JobManager knows it. Raises ClusterError."""
        size = self.size
        command = self._command(
            "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
            f"-XX:MaxDirectMemorySize={_DIRECT_MB + size.network}m",
            "-XX:MaxMetaspaceSize=192m",
            heap=f"{_FRAMEWORK_MB + size.heap}m",
            arguments=("-D", f"taskmanager.resource-id={name}"),
        )
        return Process(
            name=name,
            role="timers",
            folder=self.folder / name,
            ports={},
            command=command,
            healthy=lambda: name in self._known(),
            prepare=self._prepare,
            env=self.environment(),
        )

    def _known(self) -> set[str]:
        told = probes.get_json(f"{self.url}/taskmanagers") or {}
        return {one["id"] for one in told.get("taskmanagers", ())}

    def _command(self, main: str, *options: str, heap: str, arguments: Sequence[str] = ()) -> Command:
        found = java.find()
        wheel()
        jars.fetch(jars.FLINK_KAFKA)
        conf = self.home / "conf"
        logging = f"-Dlog4j.configurationFile=file:{conf}/log4j-console.properties"

        def command(marker: str) -> Sequence[str]:
            classpath = ":".join(str(jar) for jar in sorted((self.home / "lib").glob("*.jar")))
            start = [*java.small(found, heap, self.jit), f"-D{marker}", *_JAVA_OPTIONS, *options, logging]
            return [*start, "-cp", classpath, main, "--configDir", str(conf), *arguments]

        return command

    def _prepare(self) -> None:
        source = wheel()
        for folder in ("lib", "conf", "python/taskscheduler"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        for folder in ("data/checkpoints", "data/savepoints", "data/tmp"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        # These look for their home beside where they really are, so links would lead them into the wheel.
        for folder in ("bin", "opt"):
            shutil.copytree(
                source / folder, self.home / folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*sql*")
            )
        _link(source / "plugins", self.home / "plugins")
        python = (source / "opt").glob("flink-python-*.jar")
        for jar in (*(source / "lib").glob("*.jar"), *python, *jars.fetch(jars.FLINK_KAFKA)):
            _link(jar, self.home / "lib" / jar.name)
        for name in _OURS:
            _link(_folder_of(f"taskscheduler.{name}"), self.home / "python" / "taskscheduler" / name)
        conf = self.home / "conf"
        (conf / "config.yaml").write_text(self._configuration(), encoding="utf-8")
        for name in ("log4j-console.properties", "log4j-cli.properties", "log4j.properties"):
            (conf / name).write_text(_LOG4J, encoding="utf-8")

    def _configuration(self) -> str:
        return _CONFIGURATION.format(
            rest=self.rest,
            rpc=self.rpc,
            slots=self.size.slots,
            heap=self.size.heap,
            managed=self.size.managed,
            network=self.size.network,
            data=self.data,
            python=sys.executable,
            pythonpath=self._pythonpath(),
            options=" ".join(_JAVA_OPTIONS),
        )

    def _pythonpath(self) -> str:
        # The interpreter inside a TaskManager knows no virtual environment and reads no .pth files, such as editable
        # installs are made of: the environment's packages are named to it, and ours are put where it finds them.
        places = (str(self.home / "python"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
        return os.pathsep.join(dict.fromkeys(places))


def wheel() -> Path:
    """Where apache-flink's wheel has put its distribution. Raises ClusterError when it is not installed."""
    try:
        return _folder_of("pyflink")
    except ModuleNotFoundError:
        raise ClusterError("apache-flink is not installed: pip install 'taskscheduler[cluster]'") from None


def _folder_of(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(package)
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def _link(target: Path, link: Path) -> None:
    if link.is_symlink():
        if link.readlink() == target:
            return
        link.unlink()
    link.symlink_to(target)
