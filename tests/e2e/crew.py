"""Worker processes that may be killed, and the journal that they share."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec


class Crew:
    """Runs a script of this folder, `chaos_worker.py` or `wire_worker.py`, which each say what they can be told."""

    def __init__(self, url: str, folder: Path, script: str) -> None:
        self._url = url
        self._folder = folder
        self._journal = folder / "journal.jsonl"
        self._script = Path(__file__).with_name(script)
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, queue: str, name: str, **more: Any) -> subprocess.Popen[bytes]:
        """One more worker; `url` may be another way to the server."""
        says = {"url": self._url, "queue": queue, "name": name, "journal": str(self._journal), **more}
        env = {name: value for name, value in os.environ.items() if not name.startswith("TASKSCHEDULER_")}
        with (self._folder / f"{name}.log").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-I", str(self._script)],
                env={**env, "CHAOS": json.dumps(says)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._processes.append(process)
        return process

    async def stop(self, process: subprocess.Popen[bytes]) -> None:
        """SIGTERM; it ends well."""
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 60) == 0

    def end(self) -> None:
        """Make sure that none outlives the test."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    def entries(self) -> list[dict[str, Any]]:
        """What they have written down, each whole."""
        lines = self._journal.read_bytes().splitlines() if self._journal.exists() else []
        return [msgspec.json.decode(line) for line in lines]

    async def given(self) -> str:
        """Wait until a worker writes down that it was given something: its name."""
        before = len(self.entries())
        while True:
            for entry in self.entries()[before:]:
                if entry["what"] == "given":
                    return str(entry["worker"])
            await asyncio.sleep(0.02)
