"""Jars by pinned versions, fetched once through Maven into a cache that all clusters of a user share."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from taskscheduler.api.local_cluster.errors import ClusterError

CACHE_VARIABLE = "TASKSCHEDULER_CACHE_DIR"
_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>taskscheduler.local</groupId>
  <artifactId>{name}</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
{dependencies}
  </dependencies>
</project>
"""


class Bundle(msgspec.Struct, frozen=True):
    """The jars of one engine; `artifacts` are `group:artifact:version`, and what they need comes along."""

    name: str
    artifacts: tuple[str, ...]

    def pom(self) -> str:
        """The Maven project that names them."""
        lines = []
        for one in self.artifacts:
            group, artifact, version = one.split(":")
            lines.append(
                f"    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
                f"<version>{version}</version></dependency>"
            )
        return _POM.format(name=self.name, dependencies="\n".join(lines))

    def folder(self) -> Path:
        """Where its jars are, once fetched: other versions have other folders."""
        return cache_dir() / "jars" / f"{self.name}-{hashlib.sha256(self.pom().encode()).hexdigest()[:12]}"


KAFKA = Bundle(
    "kafka",
    (
        "org.apache.kafka:kafka_2.13:4.4.0",
        # Kafka brings slf4j-api 1.7: the binding is log4j-slf4j-impl, not log4j-slf4j2-impl.
        "org.apache.logging.log4j:log4j-slf4j-impl:2.26.1",
        "org.apache.logging.log4j:log4j-core:2.26.1",
    ),
)
CASSANDRA = Bundle("cassandra", ("org.apache.cassandra:cassandra-all:5.0.9",))
FLINK_KAFKA = Bundle("flink-kafka", ("org.apache.flink:flink-sql-connector-kafka:5.0.0-2.2",))
BUNDLES = (KAFKA, CASSANDRA, FLINK_KAFKA)


def cache_dir() -> Path:
    """Where things are kept that can be fetched again."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taskscheduler"


def fetch(bundle: Bundle) -> list[Path]:
    """The jars of a bundle, fetched unless they are there already; others may fetch at the same time.

    Raises ClusterError when Maven is missing or fails.
    """
    folder = bundle.folder()
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder.with_suffix(".lock")):
            if not folder.exists():
                _fetch(bundle, folder)
    return sorted(folder.glob("*.jar"))


def _fetch(bundle: Bundle, folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ClusterError("there is no mvn on the PATH to fetch jars with: install Maven (Debian: maven)")
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        pom = Path(made, "pom.xml")
        pom.write_text(bundle.pom(), encoding="utf-8")
        options = {
            "outputDirectory": f"{made}/jars",
            "includeScope": "runtime",
            # Natives for other systems are of no use here.
            "excludeClassifiers": "windows-x86_64,linux-riscv64",
        }
        done = subprocess.run(
            [maven, "-B", "-ntp", "-q", "-C", "-f", str(pom), _PLUGIN, *(f"-D{key}={options[key]}" for key in options)],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        jars = Path(made, "jars")
        if done.returncode or not any(jars.glob("*.jar")):
            said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
            raise ClusterError(
                f"Maven could not fetch the jars of {bundle.name} ({maven}, exit {done.returncode}):\n{said}"
            )
        jars.rename(folder)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
