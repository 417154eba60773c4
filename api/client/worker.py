"""The worker: claims runs of a queue, runs their handlers, reports how they ended."""

import asyncio
import os
import random
import re
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Literal, TypeVar

import msgspec

from taskscheduler.client.clock import Clock
from taskscheduler.client.duration import Duration, seconds
from taskscheduler.client.handlers import Function, Handler, handler_of, pickled
from taskscheduler.client.shift import INTERRUPT_SECONDS, Plan, Shift
from taskscheduler.client.transport import checked_url

HandlerType = TypeVar("HandlerType", bound=Function)
Result = TypeVar("Result")


class Worker:
    """Runs handlers for the runs of one queue, at most `concurrency` at a time.

    A claim is held for `lease` and renewed at every third of it. `wait` is how long the server may hold a request for
    work, `grace` how long running handlers may go on after `stop`. Durations: seconds, `"30s"` or a timedelta.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8080",
        queue: str = "default",
        *,
        concurrency: int = 10,
        lease: Duration = "30s",
        name: str | None = None,
        wait: Duration = "30s",
        grace: Duration = "30s",
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}, and must be 1 or more")
        if seconds(lease) <= 0:
            raise ValueError(f"the lease is {lease!r}, and must be longer than nothing")
        self._plan = Plan(
            base_url=checked_url(base_url),
            queue=queue,
            name=name or default_name(),
            concurrency=concurrency,
            lease=seconds(lease),
            wait=seconds(wait),
            grace=seconds(grace),
        )
        self.base_url = self._plan.base_url
        self.queue = queue
        self.name = self._plan.name
        self._clock = clock or Clock()
        self._chance = chance
        self._handlers: dict[str, Handler] = {}
        self._shift: Shift | None = None
        self._stops = 0

    def handler(
        self, kind: str, *, pool: Literal["thread", "process"] | None = None
    ) -> Callable[[HandlerType], HandlerType]:
        """Register a function for runs of this kind: it is given a Job and returns the result (any JSON, or None).

        An async function runs in the worker's event loop, any other in a thread, or with `pool="process"` in a process
        that can be killed. An argument of another type than Job is the payload, decoded to that type; so is the payload
        of a `Job[T]`. Raises ValueError for a second handler of a kind, and for what cannot be one.
        """

        def register(function: HandlerType) -> HandlerType:
            if kind in self._handlers:
                raise ValueError(f"there is a handler for {kind!r} already")
            self._handlers[kind] = handler_of(function, pool)
            return function

        return register

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """What it runs, by kind."""
        return self._handlers

    @property
    def concurrency(self) -> int:
        """How many handlers run at a time."""
        return self._plan.concurrency

    def configure(
        self, *, base_url: str | None = None, queue: str | None = None, concurrency: int | None = None
    ) -> None:
        """Change, before it runs, where the worker pulls from and how much at a time; None leaves a thing as it is."""
        if concurrency is not None and concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}, and must be 1 or more")
        self._plan = msgspec.structs.replace(
            self._plan,
            base_url=self.base_url if base_url is None else checked_url(base_url),
            queue=self.queue if queue is None else queue,
            concurrency=self._plan.concurrency if concurrency is None else concurrency,
        )
        self.base_url = self._plan.base_url
        self.queue = self._plan.queue

    def run_forever(self) -> None:
        """Run until SIGTERM or SIGINT: the first lets running handlers finish, a second one ends at once."""
        self._until_it_ends(self.run)

    def run_until_idle(self) -> int:
        """Run what waits in the queue now, and what that leads to at once; how many attempts it was.

        Ends when there is nothing to claim and nothing runs: a retry that waits for its time is not waited for. Raises
        as `run` does. In an event loop, await `until_idle` instead.
        """
        return self._until_it_ends(self.until_idle)

    async def run(self) -> None:
        """Run until `stop`; raises ApiError when the server refuses the worker, ValueError without any handler."""
        await self._run(self._plan)

    async def until_idle(self) -> int:
        """The same as `run_until_idle`, in a running event loop."""
        return await self._run(msgspec.structs.replace(self._plan, once=True))

    async def _run(self, plan: Plan) -> int:
        if not self._handlers:
            raise ValueError("the worker has no handlers: give it some with @worker.handler(kind)")
        if self._shift is not None:
            raise RuntimeError("the worker is running already")
        for kind, handler in self._handlers.items():
            if handler.pool == "process":
                pickled(kind, handler.function)
        self._shift = shift = Shift(plan, self._handlers, self._clock, self._chance)
        try:
            shift.stopped(self._stops)
            await shift.run()
        finally:
            self._shift = None
            self._stops = 0
        return shift.ended

    def stop(self) -> None:
        """Claim no more and let `run` end once the handlers have; called again, it ends at once. From any thread."""
        self._stops += 1
        shift = self._shift
        if shift is not None:
            shift.loop.call_soon_threadsafe(shift.stopped, self._stops)

    def _until_it_ends(self, run: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Do as `asyncio.run` does, but wait no longer for handlers that go on although they were cancelled."""
        if _in_a_loop():
            raise RuntimeError("an event loop is running already: await run() or until_idle() in it")
        loop = asyncio.new_event_loop()
        try:
            asyncio.set_event_loop(loop)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.stop)
            return loop.run_until_complete(run())
        finally:
            if left := asyncio.all_tasks(loop):
                for task in left:
                    task.cancel()
                loop.run_until_complete(asyncio.wait(left, timeout=INTERRUPT_SECONDS))
            loop.run_until_complete(loop.shutdown_asyncgens())
            asyncio.set_event_loop(None)
            loop.close()


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def default_name() -> str:
    """Give a name for this process: its host and process id."""
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).lstrip("._-")[:50] or "worker"
    return f"{host}-{os.getpid()}"
