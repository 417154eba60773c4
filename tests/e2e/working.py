"""A real worker process beside the load, and what its journal must agree with."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

NAME = "real"
"""As `crash_worker` calls itself."""


class Working:
    """`taskscheduler worker crash_worker:worker` as a child process. It outlives every kill of its server."""

    def __init__(self, url: str, folder: Path, seed: int) -> None:
        self._url = url
        self._journal = folder / "worker.jsonl"
        self._output = folder / "worker.log"
        self._seed = seed
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start; it asks for work until there is some."""
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [str(Path(sys.executable).with_name("taskscheduler")), "worker", "crash_worker:worker"],
                env={
                    **{name: value for name, value in os.environ.items() if not name.startswith("TASKSCHEDULER_")},
                    "TASKSCHEDULER_URL": self._url,
                    "CRASH_WORKER_JOURNAL": str(self._journal),
                    "CRASH_WORKER_SEED": str(self._seed),
                },
                cwd=Path(__file__).parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    async def busy(self) -> None:
        """Wait until it has been given work, or more than it had."""
        before = len(self.handled())
        while len(self.handled()) == before:
            assert self._process is not None and self._process.poll() is None, self._tail()
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """SIGTERM; it was still alive, finishes what it has, and ends well."""
        assert self._process is not None
        assert self._process.poll() is None, f"the worker ended with {self._process.returncode}:\n{self._tail()}"
        self._process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(self._process.wait, 60)
        assert code == 0, f"the worker ended with {code}:\n{self._tail()}"

    def end(self) -> None:
        """Make sure that it does not outlive the test."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def handled(self) -> dict[tuple[str, int], list[str]]:
        """What happened to each attempt (run, number), in order: begun, then succeeded, failed or interrupted."""
        journal: dict[tuple[str, int], list[str]] = defaultdict(list)
        for line in self._journal.read_text().splitlines() if self._journal.exists() else ():
            entry = json.loads(line)
            journal[entry["run_id"], entry["attempt"]].append(entry["what"])
        return journal

    def check(self, histories: dict[str, list[dict[str, Any]]]) -> Counter[str]:
        """Each attempt that the log gave it was handled at most once and ended as it said, or was lost to its lease.

        `histories` are the events of each task. How often each pair of what it did and what the log says came.
        """
        claimed, outcomes = set(), {}
        for events in histories.values():
            for event in events:
                data = event["data"]
                if event["type"] == "attempt.claimed.v1" and data["worker"] == NAME:
                    claimed.add((data["run_id"], data["number"]))
                elif event["type"] == "attempt.succeeded.v1":
                    outcomes[data["run_id"], data["number"]] = "succeeded"
                elif event["type"] == "attempt.failed.v1":
                    outcomes[data["run_id"], data["number"]] = data["outcome"]
                elif event["type"] == "run.cancelled.v1":
                    outcomes[data["run_id"], 0] = "cancelled"
        pairs: Counter[str] = Counter()
        for attempt, did in self.handled().items():
            assert did in (["begun", end] for end in ("succeeded", "failed", "interrupted")), (attempt, did)
            assert attempt in claimed, f"{attempt} was handled, but the log gave it to somebody else"
            outcome = outcomes.get(attempt) or outcomes.get((attempt[0], 0))
            assert outcome is not None, f"{attempt} was handled and has no outcome"
            assert outcome in (did[1], "lost", "timed_out", "cancelled"), (attempt, did, outcome)
            pairs[f"{did[1]}/{outcome}"] += 1
        silent = [attempt for attempt in claimed if attempt not in self.handled()]
        wrong = [attempt for attempt in silent if outcomes.get(attempt) in ("succeeded", "failed")]
        assert not wrong, f"{wrong} have outcomes that no handler gave"
        return pairs

    def _tail(self) -> str:
        return self._output.read_text(errors="replace")[-4_000:]
