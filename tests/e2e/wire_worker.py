"""A worker process that writes down what it holds: what it was given, until when it has it, and when it let go.

`CHAOS` is JSON: url, queue, name, journal and, in seconds, `lease`. Times are of CLOCK_MONOTONIC, which all processes
of a machine have in common.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from datetime import datetime
from typing import Any

from taskscheduler.client import Job, Worker
from taskscheduler.client.backoff import Reply
from taskscheduler.client.shift import Shift

SAYS: dict[str, Any] = json.loads(os.environ["CHAOS"])

journal = os.open(SAYS["journal"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
worker = Worker(SAYS["url"], SAYS["queue"], name=SAYS["name"], concurrency=4, lease=SAYS["lease"], wait=0.5)


def note(what: str, **more: Any) -> None:
    """One line, written whole."""
    line = {"what": what, "worker": SAYS["name"], "at": time.monotonic(), **more}
    os.write(journal, json.dumps(line).encode() + b"\n")


def monotonic(instant: str) -> float:
    """When that is, by the clock of the journal."""
    return datetime.fromisoformat(instant).timestamp() - time.time() + time.monotonic()


send = Shift._send
asked: dict[str, float] = {}


async def sends(self: Shift, path: str, body: bytes, headers: dict[str, str], seconds: float) -> Reply:
    """What leaves is noted before, what comes after: the server holds the claim for all of the time in between."""
    said = json.loads(body)
    if path.endswith("/claims"):
        asked.setdefault(said["request_id"], time.monotonic())
    elif path.endswith("/report"):
        for outcome in said["outcomes"]:
            note("left", token=outcome["token"])
    reply = await send(self, path, body, headers, seconds)
    if reply.status != 200:
        return reply
    if path.endswith("/claims"):
        for claim in json.loads(reply.body)["claims"]:
            note(
                "given",
                token=claim["token"],
                run_id=claim["run_id"],
                attempt=claim["attempt"],
                under=claim["payload"]["under"],
                asked=asked[said["request_id"]],
                until=monotonic(claim["lease_until"]),
            )
    elif path.endswith("/heartbeat"):
        note("kept", token=path.split("/")[-2], until=monotonic(json.loads(reply.body)["lease_until"]))
    return reply


Shift._send = sends  # type: ignore[method-assign]


@worker.handler("work")
async def work(job: Job) -> str:
    note("begun", run_id=job.run_id, attempt=job.attempt)
    await asyncio.sleep(job.payload["seconds"])
    return str(SAYS["name"])


if __name__ == "__main__":
    worker.run_forever()
