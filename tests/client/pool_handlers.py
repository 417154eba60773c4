"""Handlers that another process can find."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from taskscheduler.client import Job


class Order(msgspec.Struct):
    number: int
    tags: list[str] = []


def pid(job: Job) -> int:
    return os.getpid()


def typed(job: Job, order: Order) -> Order:
    return Order(order.number + 1, [*order.tags, f"attempt {job.attempt}"])


def raises(job: Job) -> None:
    raise KeyError("gone")


def dies(job: Job) -> str:
    if job.attempt == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    return "the second time it lives"


def exits(job: Job) -> None:
    os._exit(3)


def reports(job: Job) -> None:
    job.progress({"half": True})
    wait_for(Path(job.payload["open"]))


def hangs(job: Job) -> None:
    """Hang, with a process of its own that does so too."""
    leaves(job)
    time.sleep(600)


def leaves(job: Job) -> None:
    """End, and leave a process of its own that hangs."""
    child = subprocess.Popen([sys.executable, "-I", "-c", "import time; time.sleep(600)"])
    Path(job.payload["begun"]).write_text(f"{os.getpid()} {child.pid}")


def wait_for(file: Path) -> None:
    while not file.exists():
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process is there; one that only waits for its parent to look is not."""
    try:
        stat: Any = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"
