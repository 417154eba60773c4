"""Load for a server that is being killed. What was acknowledged is remembered, to be checked from outside."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from itertools import cycle
from typing import Any

import aiohttp
from aiohttp import web

QUEUE = "crash"
KINDS = ("work", "work", "work", "thread")
"""What `crash_worker` handles. Workers here take `work` alone, so that the rest waits for a real one."""
PACE = 0.02
"""Seconds between requests of one kind: enough load to be always in the middle of something, not more."""


class Load:
    """Clients, workers and an http receiver. Nothing here gives up: what is unanswered is asked again.

    Requests go to the instances at `urls` in turn, and so does one that is asked again. `name` begins the ids of tasks.
    `recurring` is the share of tasks that fire again and again.
    """

    def __init__(
        self,
        urls: Sequence[str],
        seed: int,
        *,
        name: str = "t",
        pace: float = PACE,
        patience: float = 15.0,
        recurring: float = 0.1,
    ) -> None:
        self.name = name
        self._urls = cycle(urls)
        self._pace = pace
        self._share_recurring = recurring
        self.rng = random.Random(seed)
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=patience))
        self.created: dict[str, str] = {}
        self.one_time: set[str] = set()
        self.recurring: set[str] = set()
        self.cancelled: set[str] = set()
        self.triggered: list[tuple[str, str]] = []
        self.completed: list[tuple[str, str, int]] = []
        self.refused_reports = 0
        self.executed: Counter[tuple[str, int]] = Counter()
        self.received: Counter[tuple[str, int]] = Counter()
        self.receiver_url = ""
        self._numbers = iter(range(10**9))
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._receiver: web.AppRunner | None = None

    async def start(self) -> None:
        """Begin."""
        app = web.Application()
        app.router.add_post("/{path:.*}", self._receive)
        self._receiver = web.AppRunner(app)
        await self._receiver.setup()
        site = web.TCPSite(self._receiver, "127.0.0.1", 0)
        await site.start()
        address = self._receiver.addresses[0]
        self.receiver_url = f"http://127.0.0.1:{address[1]}/"
        self._spawn(self._create)
        self._spawn(self._create_batches)
        self._spawn(self._command)
        for number in range(3):
            self._spawn(lambda name=f"{self.name}w{number}": self._work(name))  # type: ignore[misc]

    async def quiet(self) -> None:
        """Create no more, and let the workers go on until `close`."""
        self._stop.set()
        await asyncio.gather(*self._tasks[:3])

    async def close_workers(self) -> None:
        """End everything that asks by itself."""
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome

    async def close(self) -> None:
        """End connections too."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.session.close()
        if self._receiver is not None:
            await self._receiver.cleanup()

    async def ask(self, method: str, path: str, body: Any = None, key: str | None = None) -> tuple[int, Any]:
        """Until there is an answer that says what happened; the same key each time."""
        headers = {} if key is None else {"Idempotency-Key": key}
        while True:
            try:
                url = next(self._urls) + path
                async with self.session.request(method, url, json=body, headers=headers) as response:
                    if response.status != 503:
                        return response.status, await response.json() if response.status != 204 else None
            except (aiohttp.ClientError, TimeoutError, ConnectionError):
                pass
            await asyncio.sleep(max(0.05, self._pace))

    def _spawn(self, work: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.ensure_future(work()))

    def _spec(self) -> dict[str, Any]:
        number = next(self._numbers)
        spec: dict[str, Any] = {"id": f"{self.name}{number}", "name": f"task {number}", "target": {"type": "noop"}}
        chance = self.rng.random()
        if chance < self._share_recurring:
            spec["schedule"] = {"every": self.rng.choice(["150ms", "400ms", "1s"])}
        elif chance < 0.5:
            spec["schedule"] = {"delay": f"{self.rng.randrange(800)}ms"}
        kind = self.rng.random()
        if kind < 0.4:
            spec["target"] = {"type": "queue", "queue": QUEUE, "kind": self.rng.choice(KINDS)}
            spec["retry"] = {"max_attempts": 50, "backoff": "fixed", "initial": "10ms"}
        elif kind < 0.6 and self.receiver_url:
            spec["target"] = {"type": "http", "url": self.receiver_url}
            spec["retry"] = {"max_attempts": 50, "backoff": "fixed", "initial": "10ms"}
        return spec

    def _note(self, spec: dict[str, Any]) -> None:
        self.created[spec["id"]] = spec["name"]
        recurring = "every" in spec.get("schedule", {})
        (self.recurring if recurring else self.one_time).add(spec["id"])

    async def _create(self) -> None:
        while not self._stop.is_set():
            spec = self._spec()
            status, _ = await self.ask("POST", "/api/tasks", spec, f"create-{spec['id']}")
            assert status == 201, status
            self._note(spec)
            await asyncio.sleep(self._pace)

    async def _create_batches(self) -> None:
        while not self._stop.is_set():
            specs = [self._spec() for _ in range(self.rng.randint(2, 30))]
            tasks = [{**spec, "idempotency_key": f"create-{spec['id']}"} for spec in specs]
            status, body = await self.ask("POST", "/api/tasks/batch", {"tasks": tasks})
            assert status == 200, (status, body)
            for spec, result in zip(specs, body["results"], strict=True):
                if result["status"] == 201:
                    self._note(spec)
                else:
                    assert result["status"] == 503, result
            await asyncio.sleep(10 * self._pace)

    async def _command(self) -> None:
        while not self._stop.is_set():
            if not (known := sorted(self.one_time | self.recurring)):
                await asyncio.sleep(0.01)
                continue
            task_id = self.rng.choice(known)
            verb = self.rng.choice(["cancel", "trigger", "pause", "resume", "trigger"])
            status, body = await self.ask("POST", f"/api/tasks/{task_id}/{verb}", {}, f"{verb}-{next(self._numbers)}")
            assert status in (200, 202, 409), (verb, status, body)
            if verb == "pause":
                await self.ask("POST", f"/api/tasks/{task_id}/resume", {}, f"resume-{next(self._numbers)}")
            if verb == "cancel" and status == 200:
                self.cancelled.add(task_id)
            if verb == "trigger" and status == 202:
                self.triggered.append((task_id, body["run_id"]))
            await asyncio.sleep(self._pace)

    async def _work(self, name: str) -> None:
        """A worker that asks again under the same request id, so that a lost reply loses no run."""
        for request in iter(lambda: next(self._numbers), -1):
            wanted = {
                "worker": name,
                "kinds": ["work"],
                "max": 5,
                "wait": "1s",
                "lease": "3s",
                "request_id": f"r{request}",
            }
            status, body = await self.ask("POST", f"/api/queues/{QUEUE}/claims", wanted)
            assert status == 200, (status, body)
            for claim in body["claims"]:
                self.executed[claim["run_id"], claim["attempt"]] += 1
            for claim in body["claims"]:
                await self._finish(claim)

    async def _finish(self, claim: dict[str, Any]) -> None:
        path = f"/api/claims/{claim['token']}"
        if self.rng.random() < 0.2:
            error = {"type": "Unlucky", "message": "by chance"}
            status, _ = await self.ask("POST", f"{path}/fail", {"error": error, "retryable": True})
        else:
            status, _ = await self.ask("POST", f"{path}/complete", {"result": {"by": claim["run_id"]}})
            if status == 200:
                self.completed.append((claim["task_id"], claim["run_id"], claim["attempt"]))
        assert status in (200, 409), status
        self.refused_reports += status == 409

    async def _receive(self, request: web.Request) -> web.Response:
        self.received[request.headers["Run-Id"], int(request.headers["Attempt"])] += 1
        return web.json_response({"ok": True}, status=500 if self.rng.random() < 0.1 else 200)
