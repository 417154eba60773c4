"""What tests of workers share."""

import asyncio
from typing import Any

from client_stub import Stub

from taskscheduler.client import Job, Worker

# With a lease of 30 s: heartbeats are 10 s apart, of which the last second gathers what is urgent.
BEAT, GATHER = 9.0, 1.0


def submit(stub: Stub, kind: str = "k", payload: Any = None) -> None:
    stub.make({"name": kind, "target": {"type": "queue", "queue": "q", "kind": kind}, "payload": payload})


async def notify(stub: Stub, kind: str = "k", payload: Any = None) -> None:
    submit(stub, kind, payload)
    await stub.changed()


class Gate:
    """A handler that says when it has begun and ends when it is let."""

    def __init__(self, worker: Worker, kind: str = "k") -> None:
        self.begun, self.open = asyncio.Event(), asyncio.Event()
        self.jobs: list[Job] = []
        self.interrupted = asyncio.Event()
        worker.handler(kind)(self.run)

    async def run(self, job: Job) -> str:
        self.jobs.append(job)
        self.begun.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.interrupted.set()
            raise
        return "done"
