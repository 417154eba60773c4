"""The workers of a test: their handlers run here, in the order in which their runs are due."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from taskscheduler.api import render
from taskscheduler.api.bootstrap import EmbeddedNode
from taskscheduler.client import Job, Worker
from taskscheduler.client.handlers import Handler, refused
from taskscheduler.client.job import Claim, Outcome, failure_of, success
from taskscheduler.domain.errors import DomainError
from taskscheduler.domain.events import Error
from taskscheduler.domain.values import DAY, Instant, Json, Millis
from taskscheduler.streams.dispatch.queue import Given, Report

LEASE: Millis = 36_500 * DAY
"""A handler of a test is never lost: what ends its attempt is its timeout."""


class _Reported(msgspec.Struct):
    result: msgspec.Raw = msgspec.Raw(b"")
    error: Error | None = None
    retryable: bool = True
    retry_after: float | None = None


_read = msgspec.json.Decoder(_Reported)


class Running(msgspec.Struct, eq=False):
    """A handler at work. It is `parked` while it waits for time that only the test moves."""

    given: Given
    job: Job
    worker: Worker
    task: asyncio.Task[None] | None = None
    parked: bool = False
    beat_at: Instant | None = None
    """When it is to be heard from next, where its task asks for that."""


class Crew:
    """Claims for workers, runs their handlers and reports."""

    def __init__(self, node: EmbeddedNode) -> None:
        self._node = node
        self._workers: list[Worker] = []
        self._running: dict[str, Running] = {}
        self._progress: list[tuple[str, bytes]] = []
        self._moved = asyncio.Event()
        self._failures: list[Exception] = []
        """What went wrong outside of handlers."""
        self._one_thread = asyncio.Lock()
        self.handled = 0
        """How many handlers have ended."""

    def add(self, worker: Worker) -> None:
        """Let a worker take part from now on."""
        if worker not in self._workers:
            self._workers.append(worker)

    async def work(self) -> bool:
        """Claim what waits and go on until every handler has ended or waits for time; whether anything happened."""
        self._end_what_is_over()
        happened = False
        for worker in self._workers:
            free = worker.concurrency - sum(one.worker is worker for one in self._running.values())
            happened = await self._claim(worker, free) or happened
        while any(not one.parked for one in self._running.values()):
            self._moved.clear()
            await self._moved.wait()
        if self._failures:
            raise self._failures.pop(0)
        while self._progress:
            token, progress = self._progress.pop(0)
            if token in self._running:
                await self._node.queue.heartbeat(token, progress.decode())
        return happened

    def parked(self) -> Callable[[], None]:
        """The handler that calls this waits for time; what it gets is to be called when it goes on.

        Raises RuntimeError for who is no handler.
        """
        current = asyncio.current_task()
        running = next((one for one in self._running.values() if one.task is current), None)
        if running is None:
            raise RuntimeError("only a handler can sleep, in its own task; a test calls advance")
        running.parked = True
        self._moved.set()

        def goes_on() -> None:
            running.parked = False

        return goes_on

    def next_beat(self) -> Instant | None:
        """When a handler that goes on has to be heard from."""
        return min((one.beat_at for one in self._running.values() if one.beat_at is not None), default=None)

    async def beat(self, now: Instant) -> None:
        """Say of those that it is time for that they go on, as their workers would."""
        for token, running in list(self._running.items()):
            every = running.given.heartbeat
            if every is not None and running.beat_at is not None and running.beat_at <= now:
                running.beat_at = now + max(every // 3, 1)
                with contextlib.suppress(DomainError):  # it is over, which is seen in a moment
                    await self._node.queue.heartbeat(token)

    async def close(self) -> None:
        """Interrupt what still runs."""
        tasks = [one.task for one in self._running.values() if one.task is not None]
        for one in self._running.values():
            one.job.cancelled.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _claim(self, worker: Worker, free: int) -> bool:
        kinds = sorted(worker.handlers)
        if free <= 0 or not kinds:
            return False
        claims = await self._node.queue.claim(worker.queue, worker=worker.name, kinds=kinds, max=free, lease=LEASE)
        for given in claims:
            job: Job = Job(claim_of(given), partial(self._progressed, given.token))
            running = self._running[given.token] = Running(given, job, worker)
            if given.heartbeat is not None:
                running.beat_at = self._node.clock() + max(given.heartbeat // 3, 1)
            running.task = asyncio.create_task(self._run(worker.handlers[given.kind], running))
        return bool(claims)

    def _progressed(self, token: str, progress: bytes) -> None:
        self._progress.append((token, progress))

    async def _run(self, handler: Handler, running: Running) -> None:
        token = running.given.token
        try:
            outcome = await self._outcome(handler, running.job)
            if not running.job.cancelled:
                await self._node.queue.report([_report(token, outcome)])
        except Exception as error:
            self._failures.append(error)
        finally:
            self.handled += 1
            del self._running[token]
            self._moved.set()

    async def _outcome(self, handler: Handler, job: Job) -> Outcome:
        try:
            arguments = handler.arguments.of(job)
        except msgspec.ValidationError as error:
            return refused(error)
        if handler.pool != "loop":
            # One after another, or the order would be another one in every run.
            async with self._one_thread:
                return await asyncio.to_thread(_called, handler, arguments)
        try:
            return success(await handler.function(*arguments))
        except asyncio.CancelledError as error:
            if job.cancelled:
                raise
            return failure_of(error)
        except (Exception, SystemExit) as error:
            return failure_of(error)

    def _end_what_is_over(self) -> None:
        """As a heartbeat would tell: the run was cancelled, or its time is over."""
        for running in self._running.values():
            given = running.given
            run = self._node.handler.state(given.task_id).runs.get(given.run_id)
            attempt = None if run is None else run.active_attempt
            if attempt is None or attempt.number != given.attempt:
                running.job.cancelled.set()
                running.parked = False
                if running.task is not None:
                    running.task.cancel()


def claim_of(given: Given) -> Claim:
    """A claim as a worker would have read it."""
    return msgspec.json.decode(msgspec.json.encode(render.claim(given)), type=Claim)


def _called(handler: Handler, arguments: Sequence[Any]) -> Outcome:
    try:
        return success(handler.function(*arguments))
    except BaseException as error:  # as in a worker's thread
        return failure_of(error)


def _report(token: str, outcome: Outcome) -> Report:
    said = _read.decode(outcome.body)
    result: Json | None = bytes(said.result).decode() or None
    after = None if said.retry_after is None else round(said.retry_after * 1000)
    return Report(token, result, said.error, said.retryable, after)
