"""One run of a worker, with all that lives in its event loop."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from taskscheduler.client.backoff import Backoff, Reply
from taskscheduler.client.claims import Claims
from taskscheduler.client.clock import Clock
from taskscheduler.client.execution import Execution, Handler
from taskscheduler.client.job import Claim
from taskscheduler.client.reporter import Entry, Reporter
from taskscheduler.client.threads import Threads
from taskscheduler.client.transport import Http

INTERRUPT_SECONDS = 1.0
LAST_REPORT_SECONDS = 5.0

log = logging.getLogger("taskscheduler.client")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is to do; `lease`, `wait` and `grace` are in seconds."""

    base_url: str
    queue: str
    name: str
    concurrency: int
    lease: float
    wait: float
    grace: float


class Shift:
    """Claims, runs and reports until it is stopped."""

    def __init__(self, plan: Plan, handlers: Mapping[str, Handler], clock: Clock, chance: Callable[[], float]) -> None:
        self.loop = asyncio.get_running_loop()
        self._plan = plan
        self._handlers = dict(handlers)
        self._clock = clock
        self._http = Http(plan.base_url)
        self._threads = Threads(plan.concurrency, plan.name)
        self._running: dict[str, tuple[Execution, asyncio.Task[None]]] = {}
        self._changed = asyncio.Event()
        self._all_ended = asyncio.Event()
        self._all_ended.set()
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._reporter = Reporter(self._send, clock=clock, backoff=Backoff(chance=chance), delivered=self._changed.set)
        self._claims = Claims(
            self._send,
            plan.queue,
            worker=plan.name,
            kinds=sorted(self._handlers),
            wait=plan.wait,
            lease=plan.lease,
            clock=clock,
            backoff=Backoff(chance=chance),
        )

    def stopped(self, times: int) -> None:
        """Note that the worker was asked to stop, so many times."""
        if times > 0:
            self._stop.set()
        if times > 1:
            self._stop_now.set()

    async def run(self) -> None:
        """Work until stopped; raises ApiError when the server refuses the worker, after what runs has ended."""
        claiming = asyncio.create_task(self._claim())
        reporting = asyncio.create_task(self._reporter.run())
        stopping = asyncio.create_task(self._stop.wait())
        finishing = asyncio.create_task(self._finish(claiming, stopping))
        at_once = asyncio.create_task(self._stop_now.wait())
        try:
            await asyncio.wait({finishing, at_once, reporting}, return_when=asyncio.FIRST_COMPLETED)
            for task in (finishing, reporting, claiming):
                if task.done() and not task.cancelled():
                    task.result()
        finally:
            tasks: list[asyncio.Task[Any]] = [claiming, reporting, stopping, finishing, at_once]
            tasks += [task for _, task in self._running.values()]
            for execution, _ in self._running.values():
                execution.job.cancelled.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._threads.close()
            await self._http.close()

    async def _claim(self) -> None:
        plan = self._plan
        while True:
            running = len(self._running)
            # Outcomes that cannot be delivered must not pile up: at most twice the slots are held in all.
            free = min(plan.concurrency - running, 2 * plan.concurrency - running - self._reporter.backlog)
            if free > 0:
                for claim in await self._claims.next(free):
                    self._start(claim)
            else:
                self._changed.clear()
                await self._changed.wait()

    def _start(self, claim: Claim) -> None:
        if claim.token in self._running:
            return
        execution = Execution(
            claim,
            self._handlers.get(claim.kind, _no_handler),
            lease=self._plan.lease,
            send=self._send,
            clock=self._clock,
            threads=self._threads,
        )
        self._running[claim.token] = execution, asyncio.create_task(self._execute(execution))
        self._all_ended.clear()

    async def _execute(self, execution: Execution) -> None:
        try:
            outcome = await execution.run()
        finally:
            del self._running[execution.claim.token]
            self._changed.set()
        if outcome is not None:
            token, name = execution.claim.token, repr(execution.job)
            self._reporter.add(Entry(token, outcome, execution.lost_at, name))
        if not self._running:
            self._all_ended.set()

    async def _finish(self, claiming: asyncio.Task[None], stopping: asyncio.Task[Any]) -> None:
        await asyncio.wait({claiming, stopping}, return_when=asyncio.FIRST_COMPLETED)
        claiming.cancel()
        await asyncio.wait({claiming})
        end = self._clock.now() + self._plan.grace
        for claim in await self._claims.rest():
            self._start(claim)
        await self._clock.wait(self._all_ended, max(end - self._clock.now(), 0.0))
        if self._running:
            log.warning("%d handlers did not end within the grace; letting go of them", len(self._running))
            for execution, _ in self._running.values():
                execution.let_go()
            await self._clock.wait(self._all_ended, INTERRUPT_SECONDS)
        await self._clock.wait(self._reporter.idle, LAST_REPORT_SECONDS)

    async def _send(self, path: str, body: bytes, headers: dict[str, str], seconds: float) -> Reply:
        return await self._http.send("POST", path, body, {"Content-Type": "application/json", **headers}, seconds)


async def _no_handler(job: object) -> None:
    raise LookupError(f"this worker has no handler for {job!r}")
