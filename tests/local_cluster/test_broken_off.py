"""A benchmark that is broken off, while its cluster starts or while it measures, leaves no server running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskscheduler.api.local_cluster.handle import Handle

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

PROGRAM = """
import asyncio, pathlib, sys
sys.path.insert(0, sys.argv[1])
import bench_whole_cluster as bench
from broken_off import end_in_order
from taskscheduler.api.local_cluster import cluster, preparation
from taskscheduler.api.local_cluster.plan import Plan
from taskscheduler.api.local_cluster.process import Process

def server(plan, name, ready):
    (seen := pathlib.Path(sys.argv[2], name)).mkdir()
    code = "import pathlib, sys, threading; pathlib.Path(sys.argv[1], 'begun').touch(); threading.Event().wait()"
    return Process(
        name=name, role="example", folder=seen, ports={}, healthy=lambda: ready and (seen / "begun").exists(),
        command=lambda marker: [sys.executable, f"-X{marker}", "-c", code, str(seen)],
    )

made = []

def engines(plan):
    made[:] = made or [server(plan, "one", True), server(plan, "other", sys.argv[3] == "measures")]
    return made

Plan.engines, Plan.nodes = engines, lambda plan: []
cluster.check_machine = lambda say: None
preparation.STEPS = ()
end_in_order()
with bench.whole_cluster() as plan:
    pathlib.Path(sys.argv[2], "measures").touch()
    asyncio.run(asyncio.sleep(3600))
"""


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Handle]]:
    handles = [Handle(folder=tmp_path / name) for name in ("one", "other")]
    yield handles
    for handle in handles:
        handle.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["starts", "measures"])
def test_servers_end_with_who_started_them(
    tmp_path: Path, servers: list[Handle], number: signal.Signals, moment: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(BENCHMARKS), str(tmp_path), moment], stderr=subprocess.PIPE
    )
    try:
        awaited = tmp_path / ("measures" if moment == "measures" else "other/begun")
        while not awaited.exists():
            assert process.poll() is None, process.communicate()
            os.sched_yield()
        assert all(server.pid() for server in servers)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode != 0
    assert [server.pid() for server in servers] == [None, None], said
