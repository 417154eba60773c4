"""What is compared: how each side is started, given work, and given eight worker processes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "e2e")]

from bench_server import batches, instant, server
from http_load import flood
from serving import free_port

PEERS = HERE.parents[2] / ".venv-peers" / "bin"
WORKERS = 8

Jobs = Sequence[tuple[int, float | None]]
"""Numbers, each with when it is due (seconds since 1970), or None: at once."""


class Missing(Exception):
    """What a side needs is not on this machine."""


class Side:
    """A running scheduler. `commands` starts its workers; `env` is what they and the sender are told."""

    def __init__(self, name: str, commands: list[list[str]], env: dict[str, str], sender: list[str]) -> None:
        self.name = name
        self.env = env
        self._commands = commands
        self._sender = sender
        self._processes: list[subprocess.Popen[bytes]] = []

    async def send(self, jobs: Jobs) -> None:
        """Returns when the side has taken all of them."""
        done = await asyncio.create_subprocess_exec(
            *self._sender, stdin=subprocess.PIPE, cwd=HERE, env={**os.environ, **self.env}
        )
        await done.communicate(json.dumps(jobs).encode())
        if done.returncode:
            raise RuntimeError(f"{self.name} did not take the work")

    def start_workers(self, seen: Path) -> None:
        """Eight processes that note what they begin in the folder `seen`."""
        env = {**os.environ, **self.env, "SEEN_FOLDER": str(seen)}
        for command in self._commands:
            output = (seen.parent / f"{self.name}-workers.log").open("ab")
            self._processes.append(
                subprocess.Popen(command, cwd=HERE, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            )

    def stop_workers(self) -> None:
        """Let them end, and end those that do not."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes = []


class Ours(Side):
    """Tasks come over HTTP in batches; one without a time is due at once."""

    def __init__(self, port: int) -> None:
        worker = [sys.executable, "our_worker.py"]
        super().__init__("taskscheduler", [worker] * WORKERS, {"PEER_URL": f"http://127.0.0.1:{port}"}, [])
        self._port = port

    async def send(self, jobs: Jobs) -> None:
        """Returns when all of them are on disk."""
        target = {"type": "queue", "queue": "bench", "kind": "noop"}
        specs: list[dict[str, Any]] = []
        for number, due in jobs:
            spec: dict[str, Any] = {"name": f"job {number}", "target": target, "payload": number}
            specs.append(spec if due is None else {**spec, "schedule": {"at": instant(due)}})
        await flood(self._port, 2, "/api/tasks/batch", batches(specs), 200)


@asynccontextmanager
async def taskscheduler() -> AsyncIterator[Side]:
    """The embedded server, every decision on disk before its reply; workers run up to 20 jobs in one process."""
    async with server() as serving:
        yield Ours(serving.port)


@asynccontextmanager
async def celery() -> AsyncIterator[Side]:
    """Celery's prefork pool of eight, on a Redis that appends to a file and syncs it each second (`everysec`)."""
    redis = shutil.which("redis-server")
    if redis is None or not (PEERS / "celery").exists():
        raise Missing("redis-server (Debian's package of that name)" if redis is None else ".venv-peers")
    with tempfile.TemporaryDirectory(prefix="taskscheduler-peers-") as folder:
        port = free_port()
        options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--appendonly", "yes", "--save", ""]
        process = subprocess.Popen([redis, *options], stdout=subprocess.DEVNULL)
        try:
            worker = [str(PEERS / "celery"), "-A", "celery_app", "worker", "--concurrency", str(WORKERS)]
            worker += ["--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
            env = {"PEER_URL": f"redis://127.0.0.1:{port}/0"}
            yield Side("celery", [worker], env, [str(PEERS / "python"), "celery_app.py"])
        finally:
            process.terminate()
            process.wait()


@asynccontextmanager
async def procrastinate() -> AsyncIterator[Side]:
    """Eight workers of 20 jobs each, on a PostgreSQL that syncs each commit; they look for due jobs each 0.1 s."""
    found = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), *filter(None, [shutil.which("initdb")])]
    if not found or not (PEERS / "procrastinate").exists():
        raise Missing("postgresql (Debian's package of that name)" if not found else ".venv-peers")
    tools = Path(found[0]).resolve().parent
    with tempfile.TemporaryDirectory(prefix="taskscheduler-peers-") as folder:
        data = Path(folder) / "data"
        owner = None
        if os.getuid() == 0:
            # PostgreSQL refuses to run as root; Debian's package brings a user for it.
            owner = "postgres"
            shutil.chown(folder, owner, owner)
        initdb = [str(tools / "initdb"), "-D", str(data), "-A", "trust", "-U", "postgres"]
        await asyncio.to_thread(subprocess.run, initdb, check=True, stdout=subprocess.DEVNULL, cwd="/", user=owner)
        port = free_port()
        server = [str(tools / "postgres"), "-D", str(data), "-p", str(port), "-k", folder]
        server += ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300"]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(server, stdout=quiet, stderr=quiet, cwd="/", user=owner)
        try:
            ready = [str(tools / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
            async with asyncio.timeout(60):
                while (await asyncio.to_thread(subprocess.run, ready, check=False)).returncode:
                    await asyncio.sleep(0.1)
            worker = [str(PEERS / "procrastinate"), "--app", "procrastinate_app.app", "worker", "--concurrency", "20"]
            worker += ["--fetch-job-polling-interval", "0.1", "--delete-jobs", "never"]
            env = {"PEER_URL": f"postgresql://postgres@127.0.0.1:{port}/postgres", "PYTHONPATH": str(HERE)}
            yield Side("procrastinate", [worker] * WORKERS, env, [str(PEERS / "python"), "procrastinate_send.py"])
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()
