"""A Flink distribution from apache-flink's wheel, ready for jobs in Python on Kafka.

`python -m taskscheduler.api.local_cluster.flink_home FOLDER` makes one, for images and machines without `cluster up`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from pathlib import Path

from taskscheduler.api.local_cluster import jars
from taskscheduler.api.local_cluster.errors import ClusterError

_LOG4J = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
logger.kafka.name = org.apache.kafka
logger.kafka.level = WARN
logger.zookeeper.name = org.apache.flink.shaded.zookeeper3
logger.zookeeper.level = WARN
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd HH:mm:ss,SSS} %-5p %c{1} - %m%n
"""
_LOGGING = ("log4j-console.properties", "log4j-cli.properties", "log4j.properties")
_OURS = ("domain", "commands", "projections", "streams", "api", "client")


def build(home: Path) -> None:
    """Make or renew a FLINK_HOME, but for `conf/config.yaml`. Fetches jars. Raises ClusterError."""
    source = wheel()
    for folder in ("lib", "conf", "python/taskscheduler"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    # These look for their home beside where they really are, so links would lead them into the wheel.
    shutil.copytree(source / "bin", home / "bin", dirs_exist_ok=True)
    python = list((source / "opt").glob("flink-python-*.jar"))
    for jar in python:
        _copy(jar, home / "opt" / jar.name)
    _link(source / "plugins", home / "plugins")
    for jar in (*(source / "lib").glob("*.jar"), *python, *jars.fetch(jars.FLINK_KAFKA)):
        _link(jar, home / "lib" / jar.name)
    for name in _OURS:
        _link(_folder_of(f"taskscheduler.{name}"), home / "python" / "taskscheduler" / name)
    for file in _LOGGING:
        (home / "conf" / file).write_text(_LOG4J, encoding="utf-8")


def environment(home: Path) -> dict[str, str]:
    """What Flink's processes, and those that submit jobs, need in their environment; `JAVA_HOME` apart."""
    return {
        "FLINK_HOME": str(home),
        "FLINK_CONF_DIR": str(home / "conf"),
        "FLINK_LIB_DIR": str(home / "lib"),
        "FLINK_OPT_DIR": str(home / "opt"),
        "FLINK_BIN_DIR": str(home / "bin"),
        "FLINK_PLUGINS_DIR": str(home / "plugins"),
        "PYTHONPATH": pythonpath(home),
    }


def pythonpath(home: Path) -> str:
    """Where Python inside of a TaskManager finds packages.

    It knows no virtual environment and reads no .pth files, such as editable installs are made of: so the environment's
    packages are named to it, and ours are put where it finds them.
    """
    places = (str(home / "python"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    return os.pathsep.join(dict.fromkeys(places))


def classpath(home: Path) -> str:
    """The jars of Flink's processes."""
    return os.pathsep.join(str(jar) for jar in sorted((home / "lib").glob("*.jar")))


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


def _copy(source: Path, target: Path) -> None:
    if not target.exists() or target.stat().st_size != source.stat().st_size:
        target.parent.mkdir(exist_ok=True)
        shutil.copy2(source, target)


def _link(target: Path, link: Path) -> None:
    if link.is_symlink():
        if link.readlink() == target:
            return
        link.unlink()
    link.symlink_to(target)


if __name__ == "__main__":
    build(Path(sys.argv[1]).absolute())
