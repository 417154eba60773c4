"""Whether everything that was made of a cluster's log is as the log says: replicas, read models, timers of the job."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from tests.e2e.instances import PATIENCE
from tests.support.engines import Cluster

DECIDING = ("api-1", "api-2", "dispatch")


async def check_agreement(cluster: Cluster, ends: Mapping[int, int]) -> dict[str, Any]:
    """`taskscheduler replay verify` folds the log afresh and finds the same hashes everywhere, up to these positions.

    Nothing may be written meanwhile. What is still being brought into the read models is looked at again.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        report = await _verified(cluster, ends)
        changing = [side for side in report["compared"] if side["changing"]]
        if not changing:
            return report
        assert time.monotonic() < deadline, changing


async def _verified(cluster: Cluster, ends: Mapping[int, int]) -> dict[str, Any]:
    folder = cluster.plan.folder
    replicas = [folder / name / "data" for name in DECIDING]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "taskscheduler.api.cli", "replay", "verify", "-o", "json", "--processes", "1"),
        *(f"--set={path}={value}" for path, value in cluster.plan.flags().items()),
        *("--data-dir", str(replicas[0]), *(f"--replica={path}" for path in replicas[1:])),
        env={name: value for name, value in os.environ.items() if not name.startswith("TASKSCHEDULER_")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0, (out.decode(), err.decode())
    report: dict[str, Any] = json.loads(out)
    sides = {one["side"]: one for one in report["compared"]}
    assert sides.keys() == {*(f"state in {path}" for path in replicas), "read models", "timers in Flink"}
    for name, side in sides.items():
        reached = {int(partition): position for partition, position in side["positions"].items()}
        assert side["result"] == "same", side
        assert not (behind := {p: end for p, end in ends.items() if reached[p] < end}), (name, reached, behind)
    return report
