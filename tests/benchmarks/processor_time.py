"""Where the processor time of this machine went while a cluster was measured."""

from __future__ import annotations

import os
from pathlib import Path

from taskscheduler.api.local_cluster.plan import Plan

_TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds(plan: Plan) -> dict[str, float]:
    """Seconds that each process of a cluster has used since it was started, by its name."""
    pids = {process.name: process.pid() for process in plan.processes()}
    return {name: _used(pid) for name, pid in pids.items() if pid is not None}


def _used(pid: int) -> float:
    # After the name, which may hold anything: user and system time are the 12th and 13th field (proc_pid_stat(5)).
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
