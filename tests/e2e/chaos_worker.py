"""A worker process that writes down what it does, and may die where it is told to, or have another clock.

`CHAOS` is JSON: url, queue, name, journal, and perhaps `dies` (claimed, running, done, reported) and, in seconds,
`skew` and `lease`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import Any

from taskscheduler.client import Job, Worker
from taskscheduler.client.clock import Clock
from taskscheduler.client.reporter import Reporter
from taskscheduler.client.shift import Shift

SAYS: dict[str, Any] = json.loads(os.environ["CHAOS"])
SKEW: float = SAYS.get("skew", 0)
_time, _monotonic = time.time, time.monotonic
if SKEW:
    time.time = lambda: _time() + SKEW
    time.time_ns = lambda: round((_time() + SKEW) * 1e9)


class Skewed(Clock):
    """As far off as the clock on the wall."""

    def now(self) -> float:
        return _monotonic() + SKEW


journal = os.open(SAYS["journal"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
worker = Worker(
    SAYS["url"],
    SAYS["queue"],
    name=SAYS["name"],
    concurrency=SAYS.get("concurrency", 4),
    lease=SAYS.get("lease", 1),
    wait=1,
    clock=Skewed(),
)


def note(job: Job, what: str) -> None:
    line = {"worker": SAYS["name"], "run_id": job.run_id, "attempt": job.attempt, "what": what}
    os.write(journal, json.dumps(line).encode() + b"\n")


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@worker.handler("work")
async def work(job: Job) -> str:
    note(job, "begun")
    if SAYS.get("dies") == "running":
        die()
    await asyncio.sleep(job.payload or 0)
    note(job, "ended")
    return str(SAYS["name"])


if SAYS.get("dies") == "claimed":
    Shift._start = die  # type: ignore[method-assign]
elif SAYS.get("dies") == "done":
    Reporter.add = die  # type: ignore[method-assign]
elif SAYS.get("dies") == "reported":
    send = Shift._send

    async def sends(self: Shift, path: str, *rest: Any) -> Any:
        reply = await send(self, path, *rest)
        if path.endswith("/report"):
            die()
        return reply

    Shift._send = sends  # type: ignore[method-assign]

if __name__ == "__main__":
    worker.run_forever()
