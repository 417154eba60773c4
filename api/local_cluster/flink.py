"""A Flink session cluster: ZooKeeper, a JobManager, and a TaskManager that runs Python in its own threads."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from taskscheduler.api.local_cluster import flink_home, java, probes
from taskscheduler.api.local_cluster.java import Jit
from taskscheduler.api.local_cluster.process import Process

PORTS = ("flink", "flink-rpc", "jobmanager-metrics", "taskmanager-metrics", "zookeeper")
_CONFIGURATION = """\
jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: {rpc}
jobmanager.bind-host: 127.0.0.1
rest.address: 127.0.0.1
rest.bind-address: 127.0.0.1
rest.port: {rest}
rest.bind-port: "{rest}"
taskmanager.bind-host: 127.0.0.1
taskmanager.host: 127.0.0.1
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
# A TaskManager that has ended is noticed by its closed connection, one that stands still by its heartbeats.
heartbeat.interval: 1000ms
heartbeat.timeout: 6000ms
heartbeat.rpc-failure-threshold: 2
cluster.registration.initial-timeout: 100ms
cluster.registration.max-timeout: 1000ms
cluster.registration.error-delay: 1000ms
execution.checkpointing.dir: "file://{data}/checkpoints"
execution.checkpointing.savepoint-dir: "file://{data}/savepoints"
io.tmp.dirs: "{data}/tmp"
metrics.reporters: prometheus
metrics.reporter.prometheus.factory.class: org.apache.flink.metrics.prometheus.PrometheusReporterFactory
python.executable: "{python}"
python.client.executable: "{python}"
python.pythonpath: "{pythonpath}"
env.java.opts.all: {options}
"""
_RECOVERY = """\
# A JobManager that comes back goes on with the jobs of the one before.
high-availability.type: zookeeper
high-availability.zookeeper.quorum: 127.0.0.1:{zookeeper}
high-availability.zookeeper.client.session-timeout: 4000ms
high-availability.zookeeper.client.connection-timeout: 4000ms
high-availability.zookeeper.client.retry-wait: 500ms
high-availability.jobmanager.port: "{rpc}"
high-availability.storageDir: "file://{data}/recovery"
high-availability.cluster-id: /taskscheduler
zookeeper.sasl.disable: true
"""
_ZOOKEEPER = """\
tickTime=500
clientPort={zookeeper}
clientPortAddress=127.0.0.1
dataDir={data}/zookeeper
admin.enableServer=false
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
    """A session cluster on `ports` (those of PORTS), with its home, configuration, data and logs in one folder.

    With `recovery` there is a ZooKeeper, and jobs outlive their JobManager.
    """

    folder: Path
    ports: Mapping[str, int]
    recovery: bool = True
    size: Size = Size()
    jit: Jit = "c1"

    @property
    def url(self) -> str:
        """Where its REST interface is."""
        return f"http://127.0.0.1:{self.ports['flink']}"

    @property
    def home(self) -> Path:
        """FLINK_HOME."""
        return self.folder / "home"

    @property
    def data(self) -> Path:
        """Checkpoints, savepoints, and what is needed for recovery."""
        return self.folder / "data"

    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to submit jobs, by pyflink or by `home/bin/flink`."""
        return {**flink_home.environment(self.home), "JAVA_HOME": str(java.find().parent.parent)}

    def processes(self) -> list[Process]:
        """In the order in which they are to be started."""
        zookeeper = [self.zookeeper()] if self.recovery else []
        return [*zookeeper, self.job_manager(), self.task_manager()]

    def zookeeper(self) -> Process:
        """It knows which JobManager leads, and which jobs there are."""
        port = self.ports["zookeeper"]
        file = self.home / "conf" / "zoo.cfg"
        return Process(
            name="zookeeper",
            role="recovery of the jobmanager",
            folder=self.folder / "zookeeper",
            ports={"zookeeper": port},
            command=self._command(
                "org.apache.flink.shaded.zookeeper3.org.apache.zookeeper.server.ZooKeeperServerMain",
                "-Dzookeeper.jmx.log4j.disable=true",
                heap="64m",
                arguments=[str(file)],
            ),
            prepare=self._prepare,
            healthy=lambda: probes.accepts(port),
        )

    def job_manager(self) -> Process:
        """Well once it answers."""
        return Process(
            name="jobmanager",
            role="timers",
            folder=self.folder / "jobmanager",
            ports={name: self.ports[name] for name in ("flink", "flink-rpc", "jobmanager-metrics")},
            command=self._command(
                "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",
                heap="320m",
                arguments=self._flink_arguments("jobmanager-metrics"),
            ),
            prepare=self._prepare,
            env=flink_home.environment(self.home),
            healthy=lambda: probes.get_json(f"{self.url}/overview") is not None,
            useful=self.runs_a_job,
        )

    def task_manager(self) -> Process:
        """Well once the JobManager knows the slots of this very one, and not just of the one before it."""
        folder = self.folder / "taskmanager"
        known_as = folder / "known-as"

        def prepare() -> None:
            self._prepare()
            known_as.write_text(f"taskmanager-{secrets.token_hex(4)}", encoding="ascii")

        def healthy() -> bool:
            told = probes.get_json(f"{self.url}/taskmanagers") or {"taskmanagers": []}
            name = known_as.read_text(encoding="ascii")
            # It is registered a moment before its slots are.
            return any(one["id"] == name and one["slotsNumber"] > 0 for one in told["taskmanagers"])

        def command(marker: str) -> Sequence[str]:
            named = ["-D", f"taskmanager.resource-id={known_as.read_text(encoding='ascii')}"]
            return [*start(marker), *named]

        start = self._command(
            "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
            f"-XX:MaxDirectMemorySize={_DIRECT_MB + self.size.network}m",
            "-XX:MaxMetaspaceSize=192m",
            heap=f"{_FRAMEWORK_MB + self.size.heap}m",
            arguments=self._flink_arguments("taskmanager-metrics"),
        )
        return Process(
            name="taskmanager",
            role="timers",
            folder=folder,
            ports={"taskmanager-metrics": self.ports["taskmanager-metrics"]},
            command=command,
            prepare=prepare,
            env=flink_home.environment(self.home),
            healthy=healthy,
        )

    def runs_a_job(self) -> bool:
        """Whether every part of some job runs; without one nothing is ever due."""
        told = probes.get_json(f"{self.url}/jobs/overview") or {"jobs": []}
        return any(
            one["state"] == "RUNNING" and one["tasks"]["running"] == one["tasks"]["total"] for one in told["jobs"]
        )

    def _command(self, main: str, *options: str, heap: str, arguments: Sequence[str]) -> Command:
        def command(marker: str) -> Sequence[str]:
            logging = f"-Dlog4j.configurationFile=file:{self.home}/conf/log4j-console.properties"
            start = [*java.small(java.find(), heap, self.jit), f"-D{marker}", *_JAVA_OPTIONS, *options, logging]
            return [*start, "-cp", flink_home.classpath(self.home), main, *arguments]

        return command

    def _flink_arguments(self, metrics: str) -> list[str]:
        port = f"metrics.reporter.prometheus.port={self.ports[metrics]}"
        return ["--configDir", str(self.home / "conf"), "-D", port]

    def _prepare(self) -> None:
        flink_home.build(self.home)
        for folder in ("checkpoints", "savepoints", "recovery", "tmp"):
            (self.data / folder).mkdir(parents=True, exist_ok=True)
        (self.home / "conf" / "config.yaml").write_text(self.configuration(), encoding="utf-8")
        (self.home / "conf" / "zoo.cfg").write_text(_ZOOKEEPER.format_map(self._values()), encoding="utf-8")

    def configuration(self) -> str:
        """Flink's `config.yaml`."""
        return (_CONFIGURATION + _RECOVERY if self.recovery else _CONFIGURATION).format_map(self._values())

    def _values(self) -> dict[str, object]:
        return {
            "rest": self.ports["flink"],
            "rpc": self.ports["flink-rpc"],
            "zookeeper": self.ports["zookeeper"],
            "data": self.data,
            "python": sys.executable,
            "pythonpath": flink_home.pythonpath(self.home),
            "options": " ".join(_JAVA_OPTIONS),
            **msgspec.structs.asdict(self.size),
        }
