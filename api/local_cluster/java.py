"""The Java that runs the engines."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

from taskscheduler.api.local_cluster.errors import ClusterError

OLDEST = 17
TOO_NEW = 24
"""From this version on Java has no security manager, which Cassandra 5 needs."""

Jit: TypeAlias = Literal["c1", "c2"]
"""`c1` starts sooner; `c2` gets faster after a while under load."""


def find() -> Path:
    """The `java` of JAVA_HOME, else the one on the PATH. Raises ClusterError when there is none that fits."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which(Path(home, "bin", "java")) if home else shutil.which("java")
    if found is None:
        where = f"in JAVA_HOME ({home})" if home else "on the PATH"
        raise ClusterError(f"there is no java {where}: install Java {OLDEST} (Debian: openjdk-{OLDEST}-jre-headless)")
    version = version_of(found)
    if not OLDEST <= version < TOO_NEW:
        raise ClusterError(
            f"{found} is Java {version}, and Kafka, Cassandra and Flink together need {OLDEST} to {TOO_NEW - 1}: "
            "set JAVA_HOME to one of these"
        )
    return Path(found).resolve()


@cache
def version_of(java: str) -> int:
    """The major version of a `java` command. Raises ClusterError when it does not tell."""
    said = subprocess.run([java, "-version"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    match = re.search(r'version "(?:1\.)?(\d+)', said.stderr)
    if match is None:
        raise ClusterError(f"{java} -version does not tell a version: {said.stderr.strip() or said.stdout.strip()}")
    return int(match[1])


def small(java: Path, heap: str, jit: Jit) -> list[str]:
    """The beginning of a command line for a JVM that takes little memory. `heap` is such as `512m`."""
    # -Xms stays small: as root Cassandra pins what it has from the start.
    command = [str(java), "-Xms64m", f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"]
    command.append("-Djava.net.preferIPv4Stack=true")
    if jit == "c1":
        command.append("-XX:TieredStopAtLevel=1")
    if version_of(str(java)) > OLDEST:
        command.append("-Djava.security.manager=allow")
    return command
