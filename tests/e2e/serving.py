"""A real server process on a real data directory, to be stopped, killed and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import aiohttp

START_SECONDS = 60


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Serving:
    """`taskscheduler serve` as a child process."""

    def __init__(self, data_dir: Path, port: int | None = None, **env: str) -> None:
        self.data_dir = data_dir
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output = data_dir.parent / f"{data_dir.name}.log"
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> float:
        """Start and wait until it is ready; how many seconds that took."""
        began = time.monotonic()
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TASKSCHEDULER_")},
            "TASKSCHEDULER_PORT": str(self.port),
            "TASKSCHEDULER_DATA_DIR": str(self.data_dir),
            "TASKSCHEDULER_HTTP__ALLOW_LOOPBACK": "true",
            "TASKSCHEDULER_LOG__FORMAT": "json",
            **self._env,
        }
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [str(Path(sys.executable).with_name("taskscheduler")), "serve"],
                env=env,
                cwd=self.data_dir.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        async with aiohttp.ClientSession() as session:
            while time.monotonic() - began < START_SECONDS:
                if self._process.poll() is not None:
                    raise AssertionError(f"the server ended with {self._process.returncode}:\n{self.tail()}")
                try:
                    async with session.get(f"{self.url}/actuator/health/readiness") as response:
                        if response.status == 200:
                            return time.monotonic() - began
                except aiohttp.ClientError:
                    pass
                # Nothing tells from outside when a port is about to be bound.
                await asyncio.sleep(0.01)
        raise AssertionError(f"the server was not ready in time:\n{self.tail()}")

    def kill(self) -> None:
        """End it as a power cut would, the page cache apart."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    async def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self._process.wait, 60)

    def end(self) -> None:
        """Make sure that it does not outlive the test."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def tail(self) -> str:
        """The end of what it said."""
        return self.output.read_text(errors="replace")[-4_000:] if self.output.exists() else ""
