"""What `doctor` looks at. Each check gives findings; none changes anything."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from taskscheduler.api.settings import Settings

OLDEST_PYTHON = (3, 11)
ENOUGH_FREE_BYTES = 1 << 30
LEAST_FREE_BYTES = 10 << 20
ENOUGH_FILES = 4_096
CLOCK_SLACK_SECONDS = 5
RELEASED = datetime(2025, 1, 1, tzinfo=UTC)


class Finding(msgspec.Struct, frozen=True):
    """What a check found. `failed` means that the server cannot work so."""

    check: str
    result: Literal["ok", "warning", "failed"]
    detail: str


def machine() -> Iterator[Finding]:
    """The Python, its limits, its zones."""
    version = platform.python_version()
    if sys.version_info < OLDEST_PYTHON:
        yield Finding("python", "failed", f"{version}; 3.11 or newer is needed")
    else:
        yield Finding("python", "ok", version)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= files < ENOUGH_FILES:
        yield Finding("open files", "warning", f"at most {files}; raise the limit: ulimit -n {ENOUGH_FILES}")
    else:
        yield Finding("open files", "ok", f"at most {files}")
    try:
        tzdata = importlib.metadata.version("tzdata")
        ZoneInfo("Europe/Berlin")
        yield Finding("time zones", "ok", f"tzdata {tzdata}")
    except Exception as error:
        yield Finding("time zones", "failed", f"{error}; install the package tzdata")


def data_directory(path: Path) -> Iterator[Finding]:
    """Whether the data directory can be written, and how much fits."""
    nearest = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest) as probe:
            probe.write(b"taskscheduler")
            probe.flush()
            os.fsync(probe.fileno())
        state = "can be written" if path.exists() else f"does not exist yet; {nearest} can be written"
        yield Finding("data directory", "ok", f"{path} {state}")
    except OSError as error:
        yield Finding("data directory", "failed", f"{nearest}: {error.strerror or error}; choose another: --data-dir")
    free = shutil.disk_usage(nearest).free
    shown = f"{free / (1 << 30):.1f} GiB free"
    if free <= LEAST_FREE_BYTES:
        yield Finding("disk space", "failed", f"{shown}; make room, or choose another: --data-dir")
    else:
        yield Finding("disk space", "ok" if free >= ENOUGH_FREE_BYTES else "warning", shown)


def clock(path: Path) -> Iterator[Finding]:
    """Whether the clock of this machine can be right."""
    now = datetime.now(UTC)
    shown = now.isoformat(timespec="seconds")
    if now < RELEASED:
        yield Finding("clock", "failed", f"it is said to be {shown}; set the clock")
        return
    newest = max((file.stat().st_mtime for file in path.glob("*") if file.is_file()), default=0.0)
    if newest > time.time() + CLOCK_SLACK_SECONDS:
        ahead = newest - time.time()
        yield Finding("clock", "warning", f"files in {path} are {ahead:.0f} s ahead of it: it was set back")
        return
    yield Finding("clock", "ok", shown)


def port(settings: Settings) -> Iterator[Finding]:
    """Whether the port is free, and if not, who serves there."""
    from taskscheduler.api.server import StartError, bind
    from taskscheduler.api.settings import SettingsError

    where = f"{settings.host} port {settings.port}"
    try:
        bind(settings.host, settings.port).close()
        yield Finding("port", "ok", f"{where} is free")
    except SettingsError as error:
        yield Finding("port", "failed", str(error))
    except StartError as error:
        served = _who_serves(settings.host, settings.port)
        if served is None:
            yield Finding("port", "failed", str(error))
        else:
            yield Finding("port", "warning", f"{where} is taken: {served} serves there")


def _who_serves(host: str, port: int) -> str | None:
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/actuator/info"
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=2) as reply:
            info = json.loads(reply.read(65_536))
        build, process = info["build"], info["process"]
        return f"{build['artifact']} {build['version']} (process {process['pid']})"
    except (OSError, ValueError, KeyError, TypeError):
        return None
