"""The worker protocol of queues: long-polled claims, leases, heartbeats, outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from taskscheduler.commands.handler import Answer, Ask, CommandHandler, Done, Unavailable
from taskscheduler.domain.definition import Definition, ExecTarget, Lane, lane_of
from taskscheduler.domain.errors import DomainError
from taskscheduler.domain.events import Error, Upstream
from taskscheduler.domain.messages import Claim, Complete, Fail, Key, Release, Renew
from taskscheduler.domain.state import Attempt, Run
from taskscheduler.domain.values import Instant, Json, Millis
from taskscheduler.streams.claimable import Claimable, WaitingRuns
from taskscheduler.streams.dispatch.seats import Seat, Seats
from taskscheduler.streams.dispatch.tokens import Token, Tokens, request_hash, token_hash
from taskscheduler.streams.handing import Handed, Hands
from taskscheduler.streams.holders import Held
from taskscheduler.streams.limiter import Limiter

JOINING_SECONDS = 0.25
"""What a request that joins an earlier one waits beyond its own `wait`, for claims that are just being decided."""


class Given(msgspec.Struct, frozen=True, gc=False):
    """A claim as the worker gets it."""

    token: str
    task_id: str
    run_id: str
    attempt: int
    kind: str
    payload: Json | None
    scheduled_for: Instant
    deadline: Instant
    timeout: Millis
    lease_until: Instant
    heartbeat: Millis | None = None
    command: ExecTarget | None = None
    upstream: dict[str, Upstream] = {}


class Beat(msgspec.Struct, frozen=True, gc=False):
    """The reply to a heartbeat. `lease_until` is the one on the log."""

    cancel_requested: bool
    lease_until: Instant


class Report(msgspec.Struct, frozen=True, gc=False):
    """One outcome: an error, or success with a result; or none, when the attempt has not begun (`released`)."""

    token: str
    result: Json | None = None
    error: Error | None = None
    retryable: bool = True
    retry_after: Millis | None = None
    released: bool = False


class _Poll:
    """A claim request under way. It ends when nobody waits for it any more: what it took would be in no hands."""

    def __init__(self, task: asyncio.Task[list[Given]]) -> None:
        self.task = task
        self._waiting = 0

    async def result(self, within: float | None) -> list[Given]:
        """Its claims, none when they take longer than `within` seconds."""
        self._waiting += 1
        try:
            await asyncio.wait({self.task}, timeout=within)
            return self.task.result() if self.task.done() and not self.task.cancelled() else []
        finally:
            self._waiting -= 1
            if self._waiting == 0:
                self.task.cancel()


class QueueService:
    """What workers talk to. Any instance can serve any worker."""

    def __init__(
        self,
        claimables: WaitingRuns,
        holders: Held,
        handler: CommandHandler,
        tokens: Tokens,
        limiter: Limiter,
        *,
        clock: Callable[[], Instant],
        seed: Callable[[], int],
    ) -> None:
        self._claimables = claimables
        self._holders = holders
        self._handler = handler
        self._tokens = tokens
        self._limiter = limiter
        self._clock = clock
        self._seed = seed
        self._polls: dict[str, _Poll] = {}
        self._deciding: dict[str, asyncio.Future[Any]] = {}
        """By request, claims that are being decided: they are made even when nobody waits for the poll any more."""
        self._seats = Seats()
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End long polls at once with what they have; no more claims are given."""
        self._closing.set()

    async def claim(
        self,
        queue: str,
        *,
        worker: str,
        kinds: Sequence[str] | None = None,
        max: int = 1,
        wait: Millis = 0,
        lease: Millis = 30_000,
        request_id: str | None = None,
    ) -> list[Given]:
        """Up to `max` claims, as soon as there are any, at the latest after `wait`. Raises Unavailable.

        The same `request_id` of a worker gets the same claims again, as far as it still holds them.
        """
        if request_id is None:
            return await self._poll(queue, worker, kinds, max, wait, lease, None)
        request = request_hash(worker, request_id)
        poll = self._polls.get(request)
        # Whoever asks again waits no longer than it says, although the first request may have said more.
        within: float | None = wait / 1000 + JOINING_SECONDS
        if poll is None or poll.task.cancelling():
            within = None
            poll = _Poll(asyncio.create_task(self._again_or_poll(queue, worker, kinds, max, wait, lease, request)))
            self._polls[request] = poll
            poll.task.add_done_callback(lambda task: self._forget(request, task))
        return await poll.result(within)

    def _forget(self, request: str, task: asyncio.Task[list[Given]]) -> None:
        poll = self._polls.get(request)
        if poll is not None and poll.task is task:
            del self._polls[request]

    async def heartbeat(self, token: str, progress: Json | None = None, key: Key | None = None) -> Beat:
        """Renew the lease. Raises ClaimUnknown, ClaimLost, Unavailable."""
        said = self._tokens.read(token)
        command = Renew(said.run_id, said.number, token_hash(token), progress)
        done = await self._handler.handle(said.task_id, command, key=key)
        until = done.decided.lease_until
        return Beat(done.decided.cancel_requested, self._clock() if until is None else until)

    async def complete(self, token: str, result: Json | None = None, key: Key | None = None) -> None:
        """The attempt succeeded. Raises ClaimUnknown, ClaimLost, Unavailable."""
        await self._report_one(Report(token, result), key)

    async def fail(
        self,
        token: str,
        error: Error,
        retryable: bool = True,
        retry_after: Millis | None = None,
        key: Key | None = None,
    ) -> None:
        """The attempt failed. Raises ClaimUnknown, ClaimLost, Unavailable."""
        await self._report_one(Report(token, None, error, retryable, retry_after), key)

    async def release(self, token: str, key: Key | None = None) -> None:
        """The attempt has not begun and is given back. Raises ClaimUnknown, ClaimLost, Unavailable."""
        await self._report_one(Report(token, released=True), key)

    async def report(self, reports: Sequence[Report]) -> list[DomainError | Unavailable | None]:
        """Many outcomes, each on its own: None where it was accepted, else why not."""
        answers: list[Answer | None] = [None] * len(reports)
        asks, places = [], []
        for place, report in enumerate(reports):
            try:
                asks.append(self._ask(report, None))
                places.append(place)
            except DomainError as error:
                answers[place] = error
        for place, answer in zip(places, await self._handler.handle_many(asks), strict=True):
            answers[place] = answer
        return [None if isinstance(answer, Done) else answer for answer in answers]

    async def _report_one(self, report: Report, key: Key | None) -> None:
        [answer] = await self._handler.handle_many([self._ask(report, key)])
        if isinstance(answer, Exception):
            raise answer

    def _ask(self, report: Report, key: Key | None) -> Ask:
        said, hashed = self._tokens.read(report.token), token_hash(report.token)
        command: Complete | Fail | Release
        if report.released:
            command = Release(said.run_id, said.number, hashed)
        elif report.error is None:
            command = Complete(said.run_id, said.number, hashed, report.result)
        else:
            command = Fail(said.run_id, said.number, hashed, report.error, report.retryable, report.retry_after)
        return Ask(said.task_id, command, key=key)

    async def _again_or_poll(
        self,
        queue: str,
        worker: str,
        kinds: Sequence[str] | None,
        limit: int,
        wait: Millis,
        lease: Millis,
        request: str,
    ) -> list[Given]:
        if (deciding := self._deciding.get(request)) is not None:
            await asyncio.wait({deciding})
        given = []
        for holding, number in self._holders.held(worker, request):
            task = self._handler.state(holding.task_id)
            run = task.runs.get(holding.run_id)
            attempt = run.active_attempt if run is not None else None
            if run is None or attempt is None or task.definition is None or attempt.number != number:
                continue
            # A worker of this queue has no handler for what has become another target.
            if lane_of(task.definition).group == f"queue:{queue}":
                token = self._tokens.make(Token(task.id, run.id, number, request))
                given.append(_given(token, task.id, task.definition, run, attempt))
        return given or await self._poll(queue, worker, kinds, limit, wait, lease, request)

    async def _poll(
        self,
        queue: str,
        worker: str,
        kinds: Sequence[str] | None,
        limit: int,
        wait: Millis,
        lease: Millis,
        request: str | None,
    ) -> list[Given]:
        group, until = f"queue:{queue}", asyncio.get_running_loop().time() + wait / 1000
        while not self._closing.is_set():
            taken = self._claimables.take(group, kinds, limit)
            if taken:
                deciding = asyncio.create_task(self._claim(taken, worker, lease, request))
                self._note_deciding(request, deciding)
                given = await asyncio.shield(deciding)
                if given:
                    return given
                continue
            seat = Seat(worker, kinds, limit, lease, request)
            if not await self._wait(group, until, seat):
                break
            if seat.taken:
                await asyncio.wait({seat.handed})
                if given := _given_to(seat, seat.handed.result()):
                    return given
        return []

    async def _wait(self, group: str, until: float, seat: Seat) -> bool:
        """Whether something came, or the seat was taken, before the time was up or the service closed."""
        came = self._claimables.wait(group)
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            self._seats.sit(group, seat)
            either: set[asyncio.Future[Any]] = {came, closing, seat.handed}
            await asyncio.wait(either, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            return came.done() or seat.taken
        finally:
            self._seats.rise(group, seat)
            came.cancel()
            closing.cancel()

    def hands(self, lane: Lane) -> Hands | None:
        """The claim request that waits longest for runs of the lane takes them over as they are made."""
        seat = self._seats.take(lane)
        if seat is None:
            return None
        self._note_deciding(seat.request, seat.handed)
        return Hands(seat.room, partial(self._hand, seat), seat.handed.set_result)

    def _note_deciding(self, request: str | None, deciding: asyncio.Future[Any]) -> None:
        if request is not None:
            self._deciding[request] = deciding
            deciding.add_done_callback(lambda _: self._deciding.pop(request))

    def _hand(self, seat: Seat, lane: Lane, item: Claimable) -> Ask:
        token, ask = self._offer(lane, item, 1, seat.worker, seat.lease, seat.request)
        seat.tokens.append(token)
        return ask

    def _offer(
        self, lane: Lane, item: Claimable, number: int, worker: str, lease: Millis, request: str | None
    ) -> tuple[str, Ask]:
        """A claim on an attempt of the run, and the token that its holder will have."""
        token = self._tokens.make(Token(item.task_id, item.run_id, number, request or f"{self._seed():016x}"))
        claim = Claim(item.run_id, worker, token_hash(token), lease, request, lane)
        return token, Ask(item.task_id, claim, actor=worker)

    async def _claim(
        self, taken: Sequence[tuple[Lane, Claimable]], worker: str, lease: Millis, request: str | None
    ) -> list[Given]:
        offers = []
        for lane, item in taken:
            run = self._handler.state(item.task_id).runs.get(item.run_id)
            number = 1 if run is None else len(run.attempts) + 1
            offers.append(self._offer(lane, item, number, worker, lease, request))
        answers = await self._limiter.claim(self._claimables, taken, [ask for _, ask in offers])
        given = []
        unavailable: Unavailable | None = None
        for (lane, item), (token, _), answer in zip(taken, offers, answers, strict=True):
            if isinstance(answer, Unavailable):
                unavailable = answer
                self._claimables.give_back(lane, item)
            elif isinstance(answer, Done):
                given += _claimed(token, item.run_id, answer)
        if unavailable is not None and not given:
            raise unavailable
        return given


def _given_to(seat: Seat, handed: Sequence[Handed]) -> list[Given]:
    given = []
    for token, one in zip(seat.tokens, handed, strict=True):
        if isinstance(one.answer, Done):
            given += _claimed(token, one.item.run_id, one.answer)
    return given


def _claimed(token: str, run_id: str, done: Done) -> list[Given]:
    task = done.decided.task
    run = task.runs.get(run_id)
    if run is None or task.definition is None:
        return []
    return [_given(token, task.id, task.definition, run, run.attempts[-1])]


def _given(token: str, task_id: str, definition: Definition, run: Run, attempt: Attempt) -> Given:
    target = definition.target
    return Given(
        token=token,
        task_id=task_id,
        run_id=run.id,
        attempt=attempt.number,
        kind=lane_of(definition).kind,
        payload=definition.payload,
        scheduled_for=run.scheduled_for,
        deadline=attempt.deadline,
        timeout=attempt.deadline - attempt.started_at,
        lease_until=attempt.lease_until,
        heartbeat=attempt.heartbeat,
        command=target if isinstance(target, ExecTarget) else None,
        upstream=run.upstream,
    )
