"""Two API instances are told thousands of things about the same tasks at once: one of them wins each version."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import httpx
import pytest

from taskscheduler.domain.decision import Verdict
from tests.e2e.agreement import check_agreement
from tests.e2e.instances import Instances, connected
from tests.e2e.log_reader import LogReader
from tests.support.engines import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

COMMANDS = 2_000
TASKS = 8
NEW = 20
"""Ids that several clients want for a new task each."""
AT_ONCE = 200
"""Requests on their way at the same time, over both instances."""


class Conflicting:
    """Commands on a few tasks, each by an instance drawn by lot, and what was answered."""

    def __init__(self, users: Instances, name: str, seed: int) -> None:
        self.users = users
        self.ids = [f"{name}-{n}" for n in range(TASKS)]
        self.rng = random.Random(seed)
        self.revisions = dict.fromkeys(self.ids, 1)
        """The newest revision that anybody was told of."""
        self.won: Counter[tuple[str, int]] = Counter()
        """By task and the revision that If-Match asked for."""
        self.made: Counter[tuple[str, int]] = Counter()
        """By task and the revision that a change was answered with."""
        self.started: list[tuple[str, str]] = []
        self.new: Counter[str] = Counter()
        """Answers by which a task was made, by its id."""
        self.statuses: Counter[tuple[str, int]] = Counter()
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def begin(self) -> None:
        """Make the tasks."""
        for id in self.ids:
            await self.users.create(_body(id, 0))

    async def all_at_once(self) -> None:
        """Everything, in no order."""
        async with asyncio.TaskGroup() as group:
            for number in range(COMMANDS):
                group.create_task(self._one(number, self.rng.choice(self.ids), self.rng.randrange(2)))

    async def _one(self, number: int, id: str, at: int) -> None:
        kinds = ("exact", "change", "trigger", "pause", "resume", "create")
        [kind] = self.rng.choices(kinds, (45, 15, 15, 8, 7, 10))
        async with self._turns:
            reply = await self._send(kind, number, id, at)
        self.statuses[kind, reply.status_code] += 1

    async def _send(self, kind: str, number: int, id: str, at: int) -> httpx.Response:
        path = f"/api/tasks/{id}"
        if kind == "create":
            new = f"{id}-new-{number % NEW}"
            reply = await self.users.send("POST", "/api/tasks", _body(new, number), at=at)
            assert reply.status_code in (201, 409), reply.text
            self.new[new] += reply.status_code == 201
            return reply
        if kind in ("exact", "change"):
            asked = self.revisions[id]
            headers = {"if_match": f'"r{asked}"'} if kind == "exact" else {}
            reply = await self.users.send("PATCH", path, {"name": str(number)}, at=at, **headers)
            assert reply.status_code in ((200, 412) if kind == "exact" else (200,)), reply.text
            if reply.status_code == 200:
                revision = reply.json()["revision"]
                self.made[id, revision] += 1
                self.revisions[id] = max(self.revisions[id], revision)
                if kind == "exact":
                    self.won[id, asked] += 1
                    assert revision == asked + 1
            return reply
        reply = await self.users.send("POST", f"{path}/{kind}", at=at)
        assert reply.status_code in ((202,) if kind == "trigger" else (200,)), reply.text
        if kind == "trigger":
            self.started.append((id, reply.json()["run_id"]))
        return reply


async def test_exactly_one_of_conflicting_commands_wins_each_version(cluster: Cluster, name: str) -> None:
    async with connected(tuple(cluster.urls)) as users:
        asked = Conflicting(users, name, seed=1)
        await asked.begin()
        await asked.all_at_once()
        assert sum(asked.statuses.values()) == COMMANDS
        assert asked.statuses["exact", 200] > 10 < asked.statuses["exact", 412], asked.statuses
        assert set(asked.won.values()) == {1}, "two changes of one revision were accepted"
        assert set(asked.made.values()) == {1}, "one revision was answered to two changes"
        assert asked.statuses["create", 409] > 10, asked.statuses
        assert set(asked.new.values()) == {1}, "one id was given to two tasks"
        log = LogReader(cluster)
        await log.until(lambda log: _at_rest(log, asked.ids), "all runs have ended")
        for id in asked.ids:
            _check_history(log, id, asked)
            at_each = [await users.read(f"/api/tasks/{id}", at=at) for at in range(2)]
            assert at_each[0] == at_each[1]
            assert (at_each[0]["version"], at_each[0]["revision"]) == (log.tasks[id].version, log.tasks[id].revision)
        assert log.verdicts[Verdict.CONFLICT] > 10, f"nothing was in conflict: {log.verdicts}"
        for at in range(2):
            await users.clients[at].get("/api/tasks?limit=1", headers={"consistency-token": log.token})
    await check_agreement(cluster, log.positions)


def _body(id: str, number: int) -> dict[str, Any]:
    return {"id": id, "name": str(number), "schedule": {"at": "2099-01-01T00:00:00Z"}, "target": {"type": "noop"}}


def _at_rest(log: LogReader, ids: list[str]) -> bool:
    return all(id in log.tasks and not log.tasks[id].runs for id in ids)


def _check_history(log: LogReader, id: str, asked: Conflicting) -> None:
    events: list[dict[str, Any]] = log.histories[id]
    versions = sorted({event["version"] for event in events})
    assert versions == list(range(1, len(versions) + 1)), "a version is missing"
    updates = [event for event in events if event["type"] == "task.updated.v1"]
    answered = sorted(revision for of, revision in asked.made if of == id)
    assert answered == list(range(2, 2 + len(updates))), "a revision was accepted that nobody was told of"
    queued = Counter(event["data"]["run_id"] for event in events if event["type"] == "run.queued.v1")
    assert queued == Counter(run_id for of, run_id in asked.started if of == id)
    ends = Counter(event["data"]["run_id"] for event in events if event["type"] == "attempt.succeeded.v1")
    assert ends == queued, "a run has not ended once"
