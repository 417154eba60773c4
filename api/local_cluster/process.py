"""How a process of a cluster is started, so that it outlives us, and when it is well."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from taskscheduler.api.local_cluster.errors import ClusterError
from taskscheduler.api.local_cluster.handle import Handle
from taskscheduler.api.settings import ENV_PREFIX

START_SECONDS = 120.0
_POLL_SECONDS = 0.05

NOT_URGENT = 10
"""The `nice` of what only readers wait for, so that on one machine fires are on time first."""

# Nobody has to wait for the process that this starts: it becomes the child of whoever adopts orphans. Its number is
# written down here, so that it can be found and stopped even if we are broken off meanwhile. The log is there first:
# who asks how the process is may read it at once.
_LAUNCH = 'pid=$2; exec </dev/null >>"$1" 2>&1; shift 2; "$@" & echo $! >"$pid"'


def _nothing() -> None:
    pass


def _always() -> bool:
    return True


class Process(Handle, frozen=True, kw_only=True):
    """How to run one process, and how to tell that it is well.

    `command` gets the marker of this process, which must be the end of one of the arguments it gives. `useful` tells of
    one that is healthy whether it has been given what it is there for. `prepare` is called before each start. `nice` is
    by how much it steps back where processors are short.
    """

    name: str
    role: str
    ports: Mapping[str, int]
    command: Callable[[str], Sequence[str]]
    healthy: Callable[[], bool]
    useful: Callable[[], bool] = _always
    prepare: Callable[[], None] = _nothing
    env: Mapping[str, str] = {}
    nice: int = 0

    def launch(self) -> None:
        """Start it, unless it runs, and do not wait. Raises ClusterError when a port of it is taken."""
        if self.pid() is not None:
            return
        for what, port in self.ports.items():
            if not is_free(port):
                raise ClusterError(f"{self.name}: port {port} ({what}) is taken by another process")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.prepare()
        files = (str(self.log), str(self.folder / "pid"))
        subprocess.run(
            ["/bin/sh", "-c", _LAUNCH, "sh", *files, "nice", "-n", str(self.nice), *self.command(self.marker)],
            env={**_surroundings(), **self.env},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            check=True,
        )

    def wait(self, seconds: float = START_SECONDS) -> None:
        """Wait until it is well. Raises ClusterError, with the end of its log, when it ends or takes too long."""
        began = time.monotonic()
        while not self.healthy():
            # Nothing tells from outside when a server is about to be ready.
            time.sleep(_POLL_SECONDS)
            waited = time.monotonic() - began
            if self.pid() is None:
                raise ClusterError(f"{self.name} ended before it was ready:\n{self.tail()}")
            if waited > seconds:
                raise ClusterError(f"{self.name} was not ready after {waited:.0f} s:\n{self.tail()}")

    def start(self) -> None:
        """Start it and wait until it is well. Raises ClusterError."""
        self.launch()
        self.wait()


def _surroundings() -> dict[str, str]:
    """Our environment without settings: those of a server here are not meant for the processes of a cluster."""
    return {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of the loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """As many different ports that nobody listens on now."""
    # Below the range that connections take theirs from: one that is tried again and again while its server is away
    # would some day be given that very port, and be connected to itself.
    drawn = random.sample(range(20_000, 32_000), 1_000)
    return list(islice(filter(is_free, drawn), count))
