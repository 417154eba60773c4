"""One Kafka broker that is its own controller."""

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
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{client}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
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


def broker(folder: Path, ports: Mapping[str, int], jit: Jit = "c1") -> Process:
    """A broker on `ports` (those of PORTS) with its data, configuration and log in `folder`."""
    client, controller = (ports[name] for name in PORTS)
    properties = folder / "server.properties"

    def java_command(main: str, heap: str, *options: str) -> list[str]:
        classpath = ":".join(map(str, jars.fetch(jars.KAFKA)))
        logging = f"-Dlog4j2.configurationFile=file:{folder}/log4j2.xml"
        return [*java.small(java.find(), heap, jit), *options, logging, "-cp", classpath, main]

    def command(marker: str) -> Sequence[str]:
        return [*java_command("kafka.Kafka", "512m", f"-D{marker}"), str(properties)]

    def prepare() -> None:
        data = folder / "data"
        properties.write_text(_PROPERTIES.format(client=client, controller=controller, data=data), encoding="utf-8")
        (folder / "log4j2.xml").write_text(_LOG4J, encoding="utf-8")
        if (data / "meta.properties").exists():
            return
        tool = java_command("kafka.tools.StorageTool", "256m")
        format = [*tool, "format", "-t", _CLUSTER_ID, "-c", str(properties)]
        done = subprocess.run(format, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise ClusterError(f"kafka: its storage could not be formatted:\n{done.stdout}{done.stderr}")

    return Process(
        name="kafka",
        role="event log",
        folder=folder,
        ports={name: ports[name] for name in PORTS},
        command=command,
        prepare=prepare,
        healthy=lambda: probes.kafka(client),
    )
