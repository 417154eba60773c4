"""A worker as users write them, run by `taskscheduler worker crash_worker:worker`. It writes down what it is given.

`CRASH_WORKER_JOURNAL` names the file, a line for each beginning and end; `CRASH_WORKER_SEED` is where chance begins.
"""

from __future__ import annotations

import asyncio
import json
import os
import random

from taskscheduler.client import Fail, Job, Worker

_journal = os.open(os.environ["CRASH_WORKER_JOURNAL"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
_chance = random.Random(int(os.environ["CRASH_WORKER_SEED"]))

LEASE = 3
worker = Worker(queue="crash", concurrency=20, lease=LEASE, wait=1, name="real", grace=10)


def note(job: Job, what: str) -> None:
    """One line, written whole."""
    line = {"run_id": job.run_id, "attempt": job.attempt, "task_id": job.task_id, "what": what}
    os.write(_journal, json.dumps(line).encode() + b"\n")


def lot() -> tuple[float, bool]:
    """How long it takes in seconds, seldom longer than a lease, and whether it ends well."""
    [seconds] = _chance.choices((0, 0.01, 0.1, 0.5, LEASE * 1.2), weights=(40, 40, 10, 10, 3))
    return seconds, _chance.random() < 0.8


@worker.handler("work")
async def work(job: Job) -> dict[str, str]:
    note(job, "begun")
    seconds, well = lot()
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        note(job, "interrupted")
        raise
    return ended(job, well)


@worker.handler("thread")
def thread(job: Job) -> dict[str, str]:
    note(job, "begun")
    seconds, well = lot()
    if job.cancelled.wait(seconds):
        note(job, "interrupted")
        return {}
    return ended(job, well)


def ended(job: Job, well: bool) -> dict[str, str]:
    note(job, "succeeded" if well else "failed")
    if not well:
        raise Fail("by chance", type="Unlucky", retryable=True)
    return {"by": job.run_id}
