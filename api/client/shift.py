"""One run of a worker, with all that lives in its event loop."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from taskscheduler.client.announcer import Announcer
from taskscheduler.client.backoff import Backoff, Reply
from taskscheduler.client.claims import MOST_CLAIMS, NO_WAIT, Claims
from taskscheduler.client.clock import Clock
from taskscheduler.client.execution import Execution, Pools
from taskscheduler.client.handlers import Arguments, Handler
from taskscheduler.client.job import RELEASE, Claim
from taskscheduler.client.pace import Pace
from taskscheduler.client.processes import Processes
from taskscheduler.client.reporter import Entry, Reporter
from taskscheduler.client.threads import Threads
from taskscheduler.client.transport import Http

INTERRUPT_SECONDS = 1.0
LAST_REPORT_SECONDS = 5.0
HELD_SECONDS = 1.0
"""What was claimed ahead and has not begun after so long, or a tenth of the lease, is given back."""

log = logging.getLogger("taskscheduler.client")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is to do; `lease`, `wait` and `grace` are in seconds. `once`: end when there is nothing to do."""

    base_url: str
    queue: str
    name: str
    concurrency: int
    lease: float
    wait: float
    grace: float
    once: bool = False


class Held(NamedTuple):
    """A claim that has not begun; `since` by the clock."""

    claim: Claim
    since: float


class Shift:
    """Claims, runs and reports until it is stopped."""

    def __init__(self, plan: Plan, handlers: Mapping[str, Handler], clock: Clock, chance: Callable[[], float]) -> None:
        self.loop = asyncio.get_running_loop()
        self.ended = 0
        """How many handlers have ended."""
        self._plan = plan
        self._handlers = dict(handlers)
        self._clock = clock
        self._http = Http(plan.base_url)
        self._pools = Pools(Threads(plan.concurrency, plan.name), Processes())
        self._pace = Pace(plan.concurrency, plan.lease)
        self._ready: deque[Held] = deque()
        self._running: dict[str, tuple[Execution, asyncio.Task[None]]] = {}
        self._changed = asyncio.Event()
        self._filled = asyncio.Event()
        self._all_ended = asyncio.Event()
        self._all_ended.set()
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._reporter = Reporter(self._send, clock=clock, backoff=Backoff(chance=chance), delivered=self._changed.set)
        self._announcer = Announcer(
            self._send,
            plan.name,
            queue=plan.queue,
            kinds=sorted(self._handlers),
            concurrency=plan.concurrency,
            running=lambda: len(self._running),
            drain=self._stop.set,
            clock=clock,
        )
        self._claims = Claims(
            self._send,
            plan.queue,
            worker=plan.name,
            kinds=sorted(self._handlers),
            wait=NO_WAIT if plan.once else plan.wait,
            lease=plan.lease,
            clock=clock,
            backoff=Backoff(chance=chance),
            drain=self._stop.set,
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
        looking_after = asyncio.create_task(self._look_after())
        announcing = asyncio.create_task(self._announce())
        stopping = asyncio.create_task(self._stop.wait())
        finishing = asyncio.create_task(self._finish(claiming, stopping))
        at_once = asyncio.create_task(self._stop_now.wait())
        try:
            await asyncio.wait({finishing, at_once, reporting}, return_when=asyncio.FIRST_COMPLETED)
            for task in (finishing, reporting, claiming):
                if task.done() and not task.cancelled():
                    task.result()
        finally:
            tasks: list[asyncio.Task[Any]] = [
                claiming,
                reporting,
                looking_after,
                announcing,
                stopping,
                finishing,
                at_once,
            ]
            tasks += [task for _, task in self._running.values()]
            for execution, _ in self._running.values():
                execution.job.cancelled.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._pools.threads.close()
            self._pools.processes.close()
            await self._http.close()

    async def _announce(self) -> None:
        if not self._plan.once:
            await self._announcer.run()

    async def _claim(self) -> None:
        while True:
            if (wanted := self._wanted()) <= 0:
                await self._next_change()
                continue
            # What runs while the server answers may still bring about more.
            quiet = self._quiet
            # What is only claimed ahead is not waited for: meanwhile it may have become too much.
            busy = len(self._running) >= self._plan.concurrency
            claims = await self._claims.next(wanted, hold=not busy)
            self._take(claims)
            if busy and len(claims) < min(wanted, MOST_CLAIMS):
                await self._next_change()
            if self._plan.once and not claims:
                if quiet:
                    return
                if not self._quiet:
                    await self._next_change()

    @property
    def _quiet(self) -> bool:
        return not self._running and self._reporter.idle.is_set()

    async def _next_change(self) -> None:
        """Until something has ended or was delivered."""
        self._changed.clear()
        await self._changed.wait()

    async def _look_after(self) -> None:
        """Give back what waits to begin for too long, for ever."""
        longest = min(HELD_SECONDS, self._plan.lease / 10)
        while True:
            if not self._ready:
                self._filled.clear()
                await self._filled.wait()
            await self._clock.sleep(max(self._ready[0].since + longest - self._clock.now(), 0.0))
            if self._ready and self._clock.now() - self._ready[0].since >= longest:
                self._pace.took(longest)
                self._give_back()

    def _wanted(self) -> int:
        """How many claims to ask for now."""
        most, ahead = self._plan.concurrency, self._pace.ahead
        held = len(self._running) + len(self._ready)
        # Outcomes that cannot be delivered must not pile up: at most twice what may be held is held in all.
        free = min(most + ahead - held, 2 * (most + ahead) - held - self._reporter.backlog)
        if self._ready and free < min(most + ahead, MOST_CLAIMS) // 2:
            return 0  # soon more is free, and one request is enough for it
        return free

    def _take(self, claims: list[Claim]) -> None:
        now = self._clock.now()
        known = {held.claim.token for held in self._ready}
        self._ready += [Held(c, now) for c in claims if c.token not in self._running and c.token not in known]
        self._begin()
        if self._ready:
            self._filled.set()

    def _begin(self) -> None:
        while self._ready and len(self._running) < self._plan.concurrency and not self._stop.is_set():
            self._start(self._ready.popleft().claim)

    def _start(self, claim: Claim) -> None:
        execution = Execution(
            claim,
            self._handlers.get(claim.kind, _NO_HANDLER),
            lease=self._plan.lease,
            send=self._send,
            clock=self._clock,
            pools=self._pools,
        )
        self._running[claim.token] = execution, asyncio.create_task(self._execute(execution))
        self._all_ended.clear()

    async def _execute(self, execution: Execution) -> None:
        began = self._clock.now()
        try:
            outcome = await execution.run()
        finally:
            del self._running[execution.claim.token]
            self._changed.set()
        self.ended += 1
        self._pace.took(self._clock.now() - began)
        if outcome is not None:
            token, name = execution.claim.token, repr(execution.job)
            self._reporter.add(Entry(token, outcome, execution.lost_at, name))
        self._begin()
        if not self._running:
            self._all_ended.set()

    def _give_back(self) -> None:
        """Release what has not begun, for others to take at once."""
        while self._ready:
            claim, since = self._ready.popleft()
            name = f"run {claim.run_id}, not begun"
            self._reporter.add(Entry(claim.token, RELEASE, since + self._plan.lease, name))

    async def _finish(self, claiming: asyncio.Task[None], stopping: asyncio.Task[Any]) -> None:
        await asyncio.wait({claiming, stopping}, return_when=asyncio.FIRST_COMPLETED)
        claiming.cancel()
        await asyncio.wait({claiming})
        end = self._clock.now() + self._plan.grace
        self._take(await self._claims.rest())
        self._give_back()
        await self._clock.wait(self._all_ended, max(end - self._clock.now(), 0.0))
        if self._running:
            log.warning("%d handlers did not end within the grace; letting go of them", len(self._running))
            for execution, _ in self._running.values():
                execution.let_go()
            await self._clock.wait(self._all_ended, INTERRUPT_SECONDS)
        await self._clock.wait(self._reporter.idle, LAST_REPORT_SECONDS)
        await self._announcer.leave()

    async def _send(self, path: str, body: bytes, headers: dict[str, str], seconds: float) -> Reply:
        return await self._http.send("POST", path, body, {"Content-Type": "application/json", **headers}, seconds)


async def _no_handler(job: object) -> None:
    raise LookupError(f"this worker has no handler for {job!r}")


_NO_HANDLER = Handler(_no_handler, "loop", Arguments())
