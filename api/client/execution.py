"""One claim from the first heartbeat to its outcome."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from taskscheduler.client.claims import Send
from taskscheduler.client.clock import Clock
from taskscheduler.client.handlers import Handler, pickled, refused
from taskscheduler.client.job import Cancelled, Claim, Fail, Job, Outcome, failure, failure_of, success
from taskscheduler.client.processes import Call, Processes
from taskscheduler.client.requests import segment
from taskscheduler.client.threads import Threads
from taskscheduler.client.transport import ERRORS

LOST = frozenset({404, 409, 410})

log = logging.getLogger("taskscheduler.client")


class _Beat(msgspec.Struct, frozen=True, kw_only=True):
    cancel_requested: bool = False


_beats = msgspec.json.Decoder(_Beat)


class Pools(msgspec.Struct, frozen=True):
    """Where handlers run that do not run in the loop."""

    threads: Threads
    processes: Processes


class Execution:
    """Runs a handler and keeps its claim; at `lost_at` (by the clock) the lease has surely run out."""

    def __init__(self, claim: Claim, handler: Handler, *, lease: float, send: Send, clock: Clock, pools: Pools) -> None:
        self.claim = claim
        self.job: Job = Job(claim, self._progressed)
        self.lost = False
        if claim.heartbeat_timeout is not None:
            lease = min(lease, claim.heartbeat_timeout.total_seconds())
        self.lost_at = clock.now() + lease
        # The worker's own clock says nothing about a deadline: what counts is the time that has passed since.
        self._ends_at = None if claim.timeout is None else clock.now() + claim.timeout.total_seconds()
        self._handler = handler
        self._lease = lease
        self._send = send
        self._clock = clock
        self._pools = pools
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._beating: asyncio.Task[None] | None = None
        self._progress: bytes | None = None
        self._end: Callable[[], object] = lambda: None
        self._told: Outcome | None = None

    async def run(self) -> Outcome | None:
        """Give the outcome, or None when the claim was lost meanwhile."""
        try:
            match self._handler.pool:
                case "loop":
                    outcome = await self._run_async()
                case "thread":
                    outcome = await self._in_thread(self._call)
                case "process":
                    outcome = await self._run_in_process()
        finally:
            if self._beating is not None:
                self._beating.cancel()
        return None if self.lost else outcome

    def let_go(self) -> None:
        """Tell the handler that the worker has to stop; one that is async or in a process is ended."""
        self._tell("WorkerStopped", "the worker had to stop")

    def _tell(self, reason: str, message: str, *, retryable: bool = True) -> None:
        if self._told is not None:
            return
        self._told = failure(reason, message, retryable=retryable)
        self.job.cancelled.reason = reason
        self.job.cancelled.set()
        self._end()

    async def _run_async(self) -> Outcome:
        try:
            arguments = self._handler.arguments.of(self.job)
        except msgspec.ValidationError as error:
            return refused(error)
        task: asyncio.Future[Any] = asyncio.ensure_future(self._handler.function(*arguments))
        self._end = task.cancel
        try:
            # What ends at once needs no heartbeats, and thousands of such a second pay for them.
            await asyncio.sleep(0)
            if not task.done():
                self._begin_keeping()
                await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            raise
        if task.cancelled():
            return self._told or failure("CancelledError", "the handler cancelled itself", retryable=True)
        raised = task.exception()
        return success(task.result()) if raised is None else self._failed(raised)

    async def _in_thread(self, work: Callable[[], Outcome]) -> Outcome:
        self._begin_keeping()
        done: asyncio.Future[Outcome] = self._loop.create_future()

        def finish(outcome: Outcome) -> None:
            if not done.done():
                done.set_result(outcome)

        def run() -> None:
            try:
                outcome = work()
            except BaseException as error:
                outcome = self._failed(error)
            self._in_loop(lambda: finish(outcome))

        self._pools.threads.submit(run)
        return await done

    def _call(self) -> Outcome:
        try:
            arguments = self._handler.arguments.of(self.job)
        except msgspec.ValidationError as error:
            return refused(error)
        return success(self._handler.function(*arguments))

    async def _run_in_process(self) -> Outcome:
        function, claim = pickled(self.claim.kind, self._handler.function), msgspec.json.encode(self.claim)
        call = Call(self._progressed, lambda trace: log.warning("%r failed\n%s", self.job, trace))
        self._end = call.kill
        killed = failure("Killed", "the process of the handler was killed", retryable=True)
        try:
            return await self._in_thread(
                lambda: self._pools.processes.run(function, claim, call) or self._told or killed
            )
        except asyncio.CancelledError:
            call.kill()
            raise

    def _failed(self, error: BaseException) -> Outcome:
        if isinstance(error, Cancelled) and self._told is not None:
            return self._told
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

    def _begin_keeping(self) -> None:
        self._beating = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        every = self._lease / 3
        pause = min(1.0, every / 4)
        while not self.lost:
            await self._clock.wait(self._wake, self._until_the_end(every - pause))
            if self._over():
                self._tell("TimedOut", "the attempt did not end within its timeout")
            self._wake.clear()
            if not await self._beat(every):
                self._wake.set()
            await self._clock.sleep(pause)

    def _until_the_end(self, seconds: float) -> float:
        if self._ends_at is None or self._told is not None:
            return seconds
        return max(min(seconds, self._ends_at - self._clock.now()), 0.0)

    def _over(self) -> bool:
        return self._ends_at is not None and self._clock.now() >= self._ends_at

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
                self._tell("Cancelled", "the run was cancelled", retryable=False)
            return True
        if self._clock.now() >= self.lost_at or (reply is not None and reply.status in LOST):
            log.warning("%r: the claim was lost", self.job)
            self.lost = True
            self._tell("ClaimLost", "the claim was lost")
        elif reply is not None and 400 <= reply.status < 500 and self._progress is not None:
            log.error("%r: the server refused its progress with %s", self.job, reply.status)
            self._progress = None
        return False


def _cancel_requested(body: bytes) -> bool:
    try:
        return _beats.decode(body).cancel_requested
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
