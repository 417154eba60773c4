"""One Cassandra node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from taskscheduler.api.local_cluster import jars, java, probes
from taskscheduler.api.local_cluster.java import Jit
from taskscheduler.api.local_cluster.process import NOT_URGENT, Process

PORTS = ("cassandra", "cassandra-storage")
_EXPORTS = (
    "java.base/jdk.internal.misc java.management.rmi/com.sun.jmx.remote.internal.rmi java.rmi/sun.rmi.registry "
    "java.rmi/sun.rmi.server java.sql/java.sql java.base/java.lang.ref jdk.unsupported/sun.misc "
    "jdk.attach/sun.tools.attach"
).split()
_OPENS = (
    "java.base/java.lang.module java.base/jdk.internal.loader java.base/jdk.internal.ref "
    "java.base/jdk.internal.reflect java.base/jdk.internal.math java.base/jdk.internal.module "
    "java.base/jdk.internal.util.jar jdk.management/com.sun.management.internal java.base/sun.nio.ch "
    "java.base/java.io java.base/java.lang.reflect java.base/java.lang java.base/java.util"
).split()
_OPTIONS = (
    *(f"--add-exports={one}=ALL-UNNAMED" for one in _EXPORTS),
    *(f"--add-opens={one}=ALL-UNNAMED" for one in _OPENS),
    "-Djdk.attach.allowAttachSelf=true",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Dio.netty.allocator.useCacheForAllThreads=true",
    "-Dio.netty.allocator.maxOrder=11",
    "-Dcassandra-foreground=yes",
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    "-Dcassandra.ring_delay_ms=0",
    "-Dcassandra.superuser_setup_delay_ms=0",
    "-Dcassandra.memtable.row_overhead_size=181",  # else measured for 1.7 s at each start
    # There is no other node to say goodbye to: a stop takes 0.5 s, not 4.5 s.
    "-Dcassandra.shutdown_announce_in_ms=0",
    "-Dcassandra.test.messagingService.nonGracefulShutdown=true",
)
_CONFIGURATION = """\
cluster_name: taskscheduler
num_tokens: 1
initial_token: 0
auto_bootstrap: false
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
storage_port: {storage}
start_native_transport: true
native_transport_port: {cql}
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: "127.0.0.1:{storage}"
# One copy only: what is acknowledged has to be on disk, or a node that is killed loses the last 0.1 s of it.
commitlog_sync: batch
commitlog_segment_size: 8MiB
# As large as the projector's writes (cassandra.batch_bytes).
batch_size_warn_threshold: 20KiB
unlogged_batch_across_partitions_warn_threshold: 50
data_file_directories: ["{data}/data"]
commitlog_directory: "{data}/commitlog"
hints_directory: "{data}/hints"
saved_caches_directory: "{data}/saved_caches"
cdc_raw_directory: "{data}/cdc_raw"
concurrent_reads: 8
# Each of them waits for the disk, and all that wait at the same time share an fsync.
concurrent_writes: 64
concurrent_compactors: 1
memtable_flush_writers: 1
# What waits to be flushed is kept outside of the heap, or collecting garbage takes seconds under load.
memtable_allocation_type: offheap_objects
memtable_heap_space: 64MiB
memtable_offheap_space: 128MiB
file_cache_size: 64MiB
key_cache_size: 16MiB
counter_cache_size: 0MiB
auto_snapshot: false
dynamic_snitch: false
hinted_handoff_enabled: false
storage_compatibility_mode: NONE
"""
_LOGBACK = """\
<configuration>
  <appender name="C" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%date{ISO8601} %-5level [%thread] %F:%L - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="C"/></root>
</configuration>
"""


def node(folder: Path, ports: Mapping[str, int], jit: Jit = "c1") -> Process:
    """A node on `ports` (those of PORTS) with its data, configuration and log in `folder`."""
    cql, storage = (ports[name] for name in PORTS)
    data = folder / "data"

    def command(marker: str) -> Sequence[str]:
        places = (
            f"-Dcassandra.config=file://{folder}/cassandra.yaml",
            f"-Dcassandra.storagedir={data}",
            f"-Dcassandra.triggers_dir={folder}/triggers",
            f"-Dlogback.configurationFile={folder}/logback.xml",
        )
        classpath = ":".join(map(str, jars.fetch(jars.CASSANDRA)))
        main = "org.apache.cassandra.service.CassandraDaemon"
        return [*java.small(java.find(), "512m", jit), f"-D{marker}", *_OPTIONS, *places, "-cp", classpath, main]

    def prepare() -> None:
        (folder / "triggers").mkdir(exist_ok=True)
        configuration = _CONFIGURATION.format(cql=cql, storage=storage, data=data)
        (folder / "cassandra.yaml").write_text(configuration, encoding="utf-8")
        (folder / "logback.xml").write_text(_LOGBACK, encoding="utf-8")

    return Process(
        name="cassandra",
        role="read models",
        folder=folder,
        ports={name: ports[name] for name in PORTS},
        command=command,
        prepare=prepare,
        healthy=lambda: probes.cassandra(cql),
        nice=NOT_URGENT,
    )
