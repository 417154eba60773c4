"""Limits, end to end, in either profile: at all instances together no more runs than there may be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskscheduler.client import Job, Worker
from tests.e2e.conftest import Scheduler
from tests.e2e.instances import Instances
from tests.e2e.test_profiles_workers import work, working

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


async def test_no_more_runs_at_once_than_there_may_be(scheduler: Scheduler, users: Instances, name: str) -> None:
    limit = await users.write("PUT", f"/api/limits/queue:{name}", {"concurrency": 3})
    assert (limit["name"], limit["in_use"]) == (f"queue:{name}", 0)
    # Asked for what is there already, an instance reads the log up to its end: now the other has heard of it.
    await users.write("PUT", f"/api/limits/queue:{name}", {"concurrency": 3}, at=-1)
    now, most, of_key, most_of_key = 0, 0, 0, 0
    workers = [
        Worker(url, name, concurrency=8, wait="1s", name=f"{name}-{n}")
        for n, url in enumerate((scheduler.urls[0], scheduler.urls[-1]))
    ]
    for worker in workers:

        @worker.handler("work")
        async def handle(job: Job) -> Any:
            nonlocal now, most, of_key, most_of_key
            of_customer = int(job.payload["customer"])
            now, of_key = now + 1, of_key + of_customer
            most, most_of_key = max(most, now), max(most_of_key, of_key)
            await asyncio.sleep(0.05)
            now, of_key = now - 1, of_key - of_customer

    concurrency = {"key": name, "limit": 1}
    async with working(*workers):
        for n in range(30):
            more = {"concurrency": concurrency} if n % 3 == 0 else {}
            await users.create(work(name, payload={"customer": n % 3 == 0}, **more), at=n % 2 - 1)
        await users.until(f"/api/tasks?tag=of:{name}&status=completed&limit=200", lambda page: len(page["items"]) == 30)
    assert (most, most_of_key) == (3, 1)
    found = await users.until(f"/api/limits/queue:{name}", lambda found: found["in_use"] == 0)
    assert found["concurrency"] == 3
    assert (await users.send("DELETE", f"/api/limits/queue:{name}")).status_code == 204
