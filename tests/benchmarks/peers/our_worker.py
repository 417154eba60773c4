"""A worker of ours: the same work over the REST protocol."""

from __future__ import annotations

import os

from seen import began

from taskscheduler.client import Job, Worker

worker = Worker(os.environ["PEER_URL"], queue="bench", concurrency=20)


@worker.handler("noop")
async def noop(job: Job) -> None:
    began(job.payload)


if __name__ == "__main__":
    worker.run_forever()
