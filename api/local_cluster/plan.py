"""Which processes make a cluster, and on which ports; kept in the cluster's folder, so that it is found again."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from taskscheduler.api.local_cluster import cassandra, kafka, probes
from taskscheduler.api.local_cluster.errors import ClusterError
from taskscheduler.api.local_cluster.flink import Session, Size
from taskscheduler.api.local_cluster.java import Jit
from taskscheduler.api.local_cluster.process import NOT_URGENT, Process
from taskscheduler.api.settings import env_name

# Below the range that connections take their own ports from.
DEFAULT_PORTS = {
    "api-1": 8080,
    "api-2": 8081,
    "dispatch": 8082,
    "projector": 8083,
    "kafka": 19092,
    "kafka-controller": 19093,
    "cassandra": 19042,
    "cassandra-storage": 17000,
    "flink": 18081,
    "flink-rpc": 16123,
    "jobmanager-metrics": 19249,
    "taskmanager-metrics": 19250,
    "zookeeper": 12181,
}
NODES = {"api-1": "api", "api-2": "api", "dispatch": "triggers,dispatch", "projector": "projections"}
"""Our own processes, and the roles of each."""

_FILE = "cluster.json"
_SECRET = "claim-secret"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster in `folder`; `ports` has one for each name in DEFAULT_PORTS, `settings` are more for our own nodes."""

    folder: Path
    ports: Mapping[str, int]
    settings: Mapping[str, str] = {}
    jit: Jit = "c2"

    def flink(self) -> Session:
        """Its Flink."""
        size = Size(heap=512, managed=512)
        return Session(folder=self.folder / "flink", ports=self.ports, size=size, jit=self.jit)

    def engines(self) -> list[Process]:
        """What our own processes build on, in the order of starting."""
        return [
            cassandra.node(self.folder / "cassandra", self.ports, self.jit),  # first, as it takes longest
            kafka.broker(self.folder / "kafka", self.ports, self.jit),
            *self.flink().processes(),
        ]

    def nodes(self) -> list[Process]:
        """Our own processes."""
        return [self.node(name, roles) for name, roles in NODES.items()]

    def processes(self) -> list[Process]:
        """All, in the order of starting."""
        return [*self.engines(), *self.nodes()]

    def flags(self) -> dict[str, str]:
        """The settings that every node of this cluster shares, by path."""
        return {
            "profile": "cluster",
            "kafka.bootstrap_servers": f"127.0.0.1:{self.ports['kafka']}",
            "kafka.development": "true",
            "cassandra.contact_points": f"127.0.0.1:{self.ports['cassandra']}",
            "cassandra.replication": "1",
            "flink.url": self.flink().url,
            "cassandra.batch_bytes": "16384",
            "http.allow_loopback": "true",
            "log.format": "json",
            **self.settings,
        }

    def node_flags(self, name: str, roles: str) -> dict[str, str]:
        """The settings of one of our own processes, by path, but for the secret that all share."""
        own = {"roles": roles, "host": "127.0.0.1", "port": str(self.ports[name])}
        return {**self.flags(), **own, "data_dir": f"{self.folder / name}/data"}

    def save(self) -> None:
        """Keep it in its folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = {"ports": self.ports, "settings": self.settings}
        (self.folder / _FILE).write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=2))
        if not (secret := self.folder / _SECRET).exists():
            secret.touch(mode=0o600)
            secret.write_text(secrets.token_urlsafe(32), encoding="ascii")

    def node(self, name: str, roles: str) -> Process:
        """One of our own processes; `ports` has its own by its name."""
        folder, port, flags = self.folder / name, self.ports[name], self.node_flags(name, roles)

        def command(marker: str) -> Sequence[str]:
            # Python lets everyone name options after -X, and passes over those that it does not know.
            serve = [sys.executable, f"-X{marker}", "-m", "taskscheduler.api.cli", "serve"]
            return [*serve, *(f"--set={path}={value}" for path, value in flags.items())]

        return Process(
            name=name,
            role=roles,
            folder=folder,
            ports={name: port},
            command=command,
            # Not a flag: everyone on this machine can read the command lines of others.
            env={env_name("claims.secret") + "_FILE": str(self.folder / _SECRET)},
            healthy=lambda: probes.answers(f"http://127.0.0.1:{port}/actuator/health/readiness"),
            nice=NOT_URGENT if roles == "projections" else 0,
        )


def known(folder: Path) -> Plan | None:
    """The plan kept in a folder; None when there is none. Raises ClusterError for a file that cannot be read."""
    folder = folder.resolve()
    file = folder / _FILE
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=_Kept)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ClusterError(f"{file} cannot be read: {error}") from error
    return Plan(folder=folder, ports={**DEFAULT_PORTS, **kept.ports}, settings=kept.settings)


class _Kept(msgspec.Struct, frozen=True):
    ports: dict[str, int]
    settings: dict[str, str]


def planned(folder: Path, ports: Mapping[str, int], settings: Mapping[str, str]) -> Plan:
    """The plan kept in a folder, or that of the defaults, with these ports and settings instead.

    A setting without a value is kept no longer.
    Raises ClusterError for a name or a number that is none, and for one that two would share.
    """
    if unknown := sorted(set(ports) - set(DEFAULT_PORTS)):
        raise ClusterError(f"no process has a port named {unknown[0]!r}; there are {', '.join(DEFAULT_PORTS)}")
    before = known(folder) or Plan(folder=folder.resolve(), ports=DEFAULT_PORTS)
    chosen = {**before.ports, **ports}
    for name, port in chosen.items():
        if not 0 < port < 65_536:
            raise ClusterError(f"{name}: {port} is no port")
        if twin := next((other for other in chosen if other != name and chosen[other] == port), None):
            raise ClusterError(f"{name} and {twin} cannot both have port {port}")
    meant = {path: value for path, value in {**before.settings, **settings}.items() if value}
    return Plan(folder=before.folder, ports=chosen, settings=meant)
