"""Kafka brokers that are their own controllers: one, or several that stand in for each other."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from taskscheduler.api.local_cluster import jars, java, probes
from taskscheduler.api.local_cluster.errors import ClusterError
from taskscheduler.api.local_cluster.java import Jit
from taskscheduler.api.local_cluster.process import Process

PORTS = ("kafka", "kafka-controller")
_CLUSTER_ID = "dGFza3NjaGVkdWxlci0xMA"
_PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{client}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
default.replication.factor={copies}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=1
auto.create.topics.enable=false
unclean.leader.election.enable=false
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=4
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=16777216
# After a kill the broker stays fenced until its old session ends: 9 s by default.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""
_LOG4J = """\
<Configuration status="ERROR">
  <Appenders><Console name="C"><PatternLayout pattern="%d{ISO8601} %-5p %c{1} - %m%n"/></Console></Appenders>
  <Loggers>
    <Logger name="org.apache.kafka.common.config" level="WARN"/>
    <Root level="INFO"><AppenderRef ref="C"/></Root>
  </Loggers>
</Configuration>
"""


def broker(folder: Path, ports: Mapping[str, int], jit: Jit = "c1", storage: Sequence[str] = ()) -> Process:
    """A broker on `ports` (those of PORTS) with its data, configuration and log in `folder`.

    `storage` are more options for the tool that formats its storage, such as users for SCRAM.
    """
    return _broker("kafka", 1, folder, [ports], jit, "512m", storage)


def brokers(folder: Path, ports: Sequence[Mapping[str, int]], jit: Jit = "c1") -> list[Process]:
    """Brokers of one cluster, as many as there are `ports` (each those of PORTS), each in a folder of its own below
    `folder`. They are well only while most of them run.
    """
    names = [f"kafka-{node}" for node in range(1, len(ports) + 1)]
    return [_broker(name, node, folder / name, ports, jit, "256m") for node, name in enumerate(names, start=1)]


def _broker(
    name: str,
    node: int,
    folder: Path,
    everybody: Sequence[Mapping[str, int]],
    jit: Jit,
    heap: str,
    storage: Sequence[str] = (),
) -> Process:
    client, controller = (everybody[node - 1][what] for what in PORTS)
    properties = folder / "server.properties"
    copies = min(3, len(everybody))
    settings = {
        "node": node,
        "voters": ",".join(f"{voter}@127.0.0.1:{ports[PORTS[1]]}" for voter, ports in enumerate(everybody, start=1)),
        "client": client,
        "controller": controller,
        "data": folder / "data",
        "copies": copies,
        "in_sync": max(1, copies - 1),
    }

    def java_command(main: str, heap: str, *options: str) -> list[str]:
        classpath = ":".join(map(str, jars.fetch(jars.KAFKA)))
        logging = f"-Dlog4j2.configurationFile=file:{folder}/log4j2.xml"
        return [*java.small(java.find(), heap, jit), *options, logging, "-cp", classpath, main]

    def command(marker: str) -> Sequence[str]:
        return [*java_command("kafka.Kafka", heap, f"-D{marker}"), str(properties)]

    def prepare() -> None:
        properties.write_text(_PROPERTIES.format_map(settings), encoding="utf-8")
        (folder / "log4j2.xml").write_text(_LOG4J, encoding="utf-8")
        if (folder / "data" / "meta.properties").exists():
            return
        tool = java_command("kafka.tools.StorageTool", "256m")
        format = [*tool, "format", "-t", _CLUSTER_ID, "-c", str(properties), *storage]
        done = subprocess.run(format, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise ClusterError(f"{name}: its storage could not be formatted:\n{done.stdout}{done.stderr}")

    return Process(
        name=name,
        role="event log",
        folder=folder,
        ports=dict(zip(PORTS, (client, controller), strict=True)),
        command=command,
        prepare=prepare,
        healthy=lambda: probes.kafka(client),
    )
