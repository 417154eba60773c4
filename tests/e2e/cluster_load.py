"""Load over all API instances of a cluster whose processes are being killed, and what must be true of it afterwards."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from taskscheduler.domain.entities import stream_of
from taskscheduler.domain.schedule import is_recurring
from taskscheduler.streams.kafka.partitioning import partition_of
from tests.e2e.load import Load
from tests.e2e.log_reader import LogReader
from tests.e2e.promises import FINAL, check_history, check_ledger

STEADY_EVERY = 1_000
"""Milliseconds between the fires of the tasks that show whether fires go on."""


class ClusterLoad(Load):
    """Beside the load: `steady` tasks, two in each partition, that fire all the time and that nobody touches."""

    def __init__(self, urls: Sequence[str], seed: int, name: str, partitions: int) -> None:
        super().__init__(urls, seed, name=f"{name}-", pace=0.25, patience=5.0, recurring=0.015)
        self._partitions = partitions
        self._held = asyncio.Event()
        self.steady: set[str] = set()
        self.called: set[str] = set()
        """The tasks whose calls have come and were held."""

    async def begin(self) -> None:
        """The steady tasks, then the load."""
        await self.start()
        for id in self._spread("steady"):
            await self.make({"id": id, "name": id, "schedule": {"every": "1s"}, "target": {"type": "noop"}})
            self.steady.add(id)

    async def hold_calls(self, round: int) -> list[str]:
        """New tasks, two in each partition, whose calls have come and are not answered before `let_go`."""
        self._held.clear()
        ids = self._spread(f"held-{round}")
        for id in ids:
            target = {"type": "http", "url": self.receiver_url + "held"}
            retry = {"max_attempts": 50, "backoff": "fixed", "initial": "10ms"}
            await self.make({"id": id, "name": id, "target": target, "retry": retry})
        async with asyncio.timeout(30):
            while len({task for task in self.called if task in ids}) < len(ids):
                await asyncio.sleep(0.05)
        return ids

    def let_go(self) -> None:
        """Answer what was held."""
        self._held.set()

    async def settle(self, log: LogReader) -> None:
        """Returns when every one-time task has ended; those that recur were cancelled then."""
        await self.quiet()
        await log.catch_up()
        for id in sorted(self.recurring | self.steady | self._made_without_a_word(log)):
            status, _ = await self.ask("POST", f"/api/tasks/{id}/cancel", {}, "settle")
            assert status in (200, 409)
            self.cancelled.add(id)
        await log.catch_up()
        for id in sorted(self.one_time):
            if (task := log.tasks.get(id)) is None or task.pause is not None:
                await self.ask("POST", f"/api/tasks/{id}/resume", {}, "settle")
        await log.until(self._all_ended, "every task has ended")

    def _made_without_a_word(self, log: LogReader) -> set[str]:
        """Tasks that recur though their creation was never acknowledged: they would fire for ever."""
        return {
            id
            for id, task in log.tasks.items()
            if id.startswith(self.name)
            and id not in self.created
            and task.definition is not None
            and is_recurring(task.definition.schedule)
        }

    def check(self, log: LogReader) -> None:
        """No acknowledged command is lost, nothing happened twice, every nominal time is accounted for."""
        for id, name in self.created.items():
            task = log.tasks.get(id)
            assert task is not None and task.definition is not None, f"the acknowledged task {id} is lost"
            assert task.definition.name == name
        for id in self.cancelled:
            assert log.tasks[id].status == "cancelled", (id, log.tasks[id].status)
        succeeded, manual = set(), Counter[str]()
        for id, events in log.histories.items():
            check_history(id, events)
            for event in events:
                data = event["data"]
                if event["type"] == "attempt.succeeded.v1":
                    succeeded.add((id, data["run_id"], data["number"]))
                elif event["type"] == "run.queued.v1" and data["cause"] == "manual" and id.startswith(self.name):
                    manual[id] += 1
        lost = set(self.completed) - succeeded
        assert not lost, f"outcomes that were acknowledged are lost: {lost}"
        asked = Counter(id for id, _ in self.triggered)
        assert manual == asked, f"a trigger is lost or was carried out twice: {manual - asked}, {asked - manual}"
        for id in self.recurring | self.steady:
            task, events = log.tasks[id], log.histories[id]
            ended = next(event["time"] for event in events if event["type"] == "task.cancelled.v1")
            every = task.definition.schedule.every  # type: ignore[union-attr]
            check_ledger(id, every, task.created_at, ended, events)
        assert not [run for run, count in self.executed.items() if count > 1], "a worker was given an attempt twice"
        assert not [run for run, count in self.received.items() if count > 1], "an attempt was called twice"
        assert self.completed and self.received and self.cancelled and self.triggered, "the load was no load"

    async def make(self, spec: dict[str, Any]) -> None:
        """A task that must have ended in the end, and that nothing is done to."""
        status, body = await self.ask("POST", "/api/tasks", spec, f"create-{spec['id']}")
        assert status == 201, (status, body)
        self.created[spec["id"]] = spec["name"]

    def _spec(self) -> dict[str, Any]:
        spec = super()._spec()
        if spec["target"]["type"] == "queue":
            spec["target"]["kind"] = "work"  # what the workers here take
        return spec

    def _spread(self, what: str) -> list[str]:
        """Ids of which two are in each partition."""
        wanted = Counter(dict.fromkeys(range(self._partitions), 2))
        ids = []
        number = 0
        while wanted.total():
            id = f"{self.name}{what}-{number}"
            number += 1
            partition = partition_of(stream_of(id), self._partitions)
            if wanted[partition]:
                wanted[partition] -= 1
                ids.append(id)
        return ids

    def _all_ended(self, log: LogReader) -> bool:
        found = [log.tasks.get(id) for id in self.created]
        return all(task is not None and task.status in FINAL and not task.runs for task in found)

    async def _receive(self, request: web.Request) -> web.Response:
        if request.path != "/held":
            return await super()._receive(request)
        self.received[request.headers["Run-Id"], int(request.headers["Attempt"])] += 1
        self.called.add(request.headers["Task-Id"])
        await self._held.wait()
        return web.json_response({"ok": True})
