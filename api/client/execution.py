"""One claim from the first heartbeat to its outcome."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec

from taskscheduler.client.claims import Send
from taskscheduler.client.clock import Clock
from taskscheduler.client.job import Claim, Fail, Job, Outcome, failure, failure_of, success
from taskscheduler.client.requests import segment
from taskscheduler.client.threads import Threads
from taskscheduler.client.transport import ERRORS

Handler = Callable[[Job], Any]
LOST = frozenset({404, 409, 410})

log = logging.getLogger("taskscheduler.client")


class _Beat(msgspec.Struct, frozen=True, kw_only=True):
    cancel_requested: bool = False


_beats = msgspec.json.Decoder(_Beat)


class Execution:
    """Runs a handler and keeps its claim; at `lost_at` (by the clock) the lease has surely run out."""

    def __init__(
        self, claim: Claim, handler: Handler, *, lease: float, send: Send, clock: Clock, threads: Threads
    ) -> None:
        self.claim = claim
        self.job = Job(claim, self._progressed)
        self.lost = False
        if claim.heartbeat_timeout is not None:
            lease = min(lease, claim.heartbeat_timeout.total_seconds())
        self.lost_at = clock.now() + lease
        self._handler = handler
        self._lease = lease
        self._send = send
        self._clock = clock
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._progress: bytes | None = None
        self._task: asyncio.Task[Any] | None = None
        self._told: Outcome | None = None

    async def run(self) -> Outcome | None:
        """Give the outcome, or None when the claim was lost meanwhile."""
        beating = asyncio.create_task(self._keep())
        try:
            outcome = await (self._run_async() if _is_async(self._handler) else self._run_in_thread())
        finally:
            beating.cancel()
        return None if self.lost else outcome

    def let_go(self) -> None:
        """Tell the handler that the worker has to stop; one that is async is interrupted."""
        self._tell(failure("WorkerStopped", "the worker had to stop", retryable=True))

    def _tell(self, outcome: Outcome) -> None:
        if self._told is not None:
            return
        self._told = outcome
        self.job.cancelled.set()
        if self._task is not None:
            self._task.cancel()

    async def _run_async(self) -> Outcome:
        handler = cast(Callable[[Job], Awaitable[Any]], self._handler)
        self._task = asyncio.ensure_future(handler(self.job))
        try:
            await asyncio.wait({self._task})
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        if self._task.cancelled():
            return self._told or failure("CancelledError", "the handler cancelled itself", retryable=True)
        error = self._task.exception()
        return success(self._task.result()) if error is None else self._failed(error)

    async def _run_in_thread(self) -> Outcome:
        done: asyncio.Future[Outcome] = self._loop.create_future()

        def finish(outcome: Outcome) -> None:
            if not done.done():
                done.set_result(outcome)

        def work() -> None:
            try:
                outcome = success(self._handler(self.job))
            except BaseException as error:
                outcome = self._failed(error)
            self._in_loop(lambda: finish(outcome))

        self._threads.submit(work)
        return await done

    def _failed(self, error: BaseException) -> Outcome:
        if not isinstance(error, Fail):
            log.warning("%r failed", self.job, exc_info=error)
        return failure_of(error)

    def _progressed(self, progress: bytes) -> None:
        def note() -> None:
            self._progress = progress
            self._wake.set()

        self._in_loop(note)

    def _in_loop(self, work: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(work)
        except RuntimeError:
            log.debug("%r went on after its worker had ended", self.job)

    async def _keep(self) -> None:
        every = self._lease / 3
        pause = min(1.0, every / 4)
        while not self.lost:
            await self._clock.wait(self._wake, every - pause)
            self._wake.clear()
            if not await self._beat(every):
                self._wake.set()
            await self._clock.sleep(pause)

    async def _beat(self, seconds: float) -> bool:
        body = b"{}" if self._progress is None else b'{"progress":' + self._progress + b"}"
        path = f"/api/claims/{segment(self.claim.token)}/heartbeat"
        try:
            reply = await self._send(path, body, {}, seconds)
        except ERRORS:
            reply = None
        if reply is not None and reply.status == 200:
            self.lost_at = self._clock.now() + self._lease
            if _cancel_requested(reply.body):
                self._tell(failure("Cancelled", "the run was cancelled", retryable=False))
            return True
        if self._clock.now() >= self.lost_at or (reply is not None and reply.status in LOST):
            log.warning("%r: the claim was lost", self.job)
            self.lost = True
            self._tell(failure("ClaimLost", "the claim was lost", retryable=True))
        elif reply is not None and 400 <= reply.status < 500 and self._progress is not None:
            log.error("%r: the server refused its progress with %s", self.job, reply.status)
            self._progress = None
        return False


def _cancel_requested(body: bytes) -> bool:
    try:
        return _beats.decode(body).cancel_requested
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _is_async(handler: Handler) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)
