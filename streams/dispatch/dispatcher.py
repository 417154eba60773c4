"""Dispatch: claims attempts of the server's own targets, runs them, and reports what came of them.

Claim and outcome are decisions like any other. Nothing runs before its claim was accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from taskscheduler.commands.handler import Answer, Ask, CommandHandler, Done, Unavailable
from taskscheduler.domain.definition import Definition, Lane
from taskscheduler.domain.events import Error
from taskscheduler.domain.messages import Claim, Complete, Fail, Lose, Renew
from taskscheduler.domain.state import Run
from taskscheduler.domain.values import SECOND, Instant, Json, Millis
from taskscheduler.streams.claimable import Claimable, WaitingRuns
from taskscheduler.streams.handing import Handed, Hands
from taskscheduler.streams.holders import Held
from taskscheduler.streams.limiter import Limiter
from taskscheduler.streams.looking import until

HOLDER = "server"
"""The worker name under which the server's own dispatch claims. Workers of queues cannot take it."""

LEASE: Millis = 30 * SECOND


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What came of an attempt. It failed when there is an error."""

    result: Json | None = None
    error: Error | None = None
    retryable: bool = True
    retry_after: Millis | None = None


class Attempted(msgspec.Struct, frozen=True, gc=False):
    """An attempt that this dispatch holds."""

    task_id: str
    run: Run
    definition: Definition
    token_hash: str
    lease_until: Instant
    deadline: Instant
    hold: Millis = LEASE
    """How long a sign of life keeps it."""

    @property
    def number(self) -> int:
        """Its number, from 1."""
        return len(self.run.attempts)


class Target(Protocol):
    """Something that the server itself can call. `at_once` bounds how many attempts run at the same time."""

    group: str
    at_once: int

    async def call(self, attempt: Attempted) -> Outcome:
        """Carry out the attempt. Must not raise but for cancellation."""
        ...


class Caller(Target, Protocol):
    """A target that holds connections."""

    async def close(self) -> None:
        """End them."""
        ...


class Dispatcher:
    """Claims for one target. `run` claims until it is cancelled; `stop` ends what is left."""

    def __init__(
        self,
        target: Target,
        claimables: WaitingRuns,
        handler: CommandHandler,
        limiter: Limiter,
        *,
        clock: Callable[[], Instant],
        seed: Callable[[], int],
        batch: int = 256,
    ) -> None:
        self._target = target
        self._claimables = claimables
        self._handler = handler
        self._limiter = limiter
        self._clock = clock
        self._seed = seed
        self._batch = batch
        self._calls: dict[asyncio.Task[None], None] = {}
        self._handed = 0
        """Claims on their way with the triggers of their runs."""
        self._open = False
        self._room = asyncio.Event()

    @property
    def active(self) -> int:
        """Attempts that run now."""
        return len(self._calls)

    async def run(self) -> None:
        """Until cancelled."""
        self._open = True
        try:
            while True:
                await until(lambda: self._free() > 0, self._room)
                taken = self._claimables.take(self._target.group, None, min(self._batch, self._free()))
                if not taken:
                    await self._claimables.wait(self._target.group)
                    continue
                # Cancelling must not part a claim from its call, or the attempt would wait out its lease.
                await asyncio.shield(self._claim(taken))
        finally:
            self._open = False

    def hands(self, lane: Lane) -> Hands | None:
        """Takes runs over as they are made, while it works and has room."""
        if lane.group != self._target.group or not self._open or (free := self._free()) <= 0:
            return None
        return Hands(min(self._batch, free), self._hand, self._told)

    async def stop(self, grace: float) -> None:
        """Let calls end within `grace` seconds, then give up the rest: their attempts are lost and tried again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await until(lambda: not (self._handed or self._calls), self._room)
        for call in list(self._calls):
            call.cancel()
        if self._calls:
            await asyncio.wait(self._calls)

    def _free(self) -> int:
        return self._target.at_once - len(self._calls) - self._handed

    def _hand(self, lane: Lane, item: Claimable) -> Ask:
        self._handed += 1
        return claim_of(lane, item, self._seed())

    def _told(self, given: Sequence[Handed]) -> None:
        self._handed -= len(given)
        for one in given:
            if isinstance(one.answer, Done):
                self._start(one.ask, one.answer)
        self._room.set()

    async def _claim(self, taken: Sequence[tuple[Lane, Claimable]]) -> None:
        asks = [claim_of(lane, item, self._seed()) for lane, item in taken]
        answers = await self._limiter.claim(self._claimables, taken, asks)
        for ask, answer in zip(asks, answers, strict=True):
            if isinstance(answer, Done):
                self._start(ask, answer)
        await give_back_later(self._claimables, taken, answers)

    def _start(self, ask: Ask, answer: Done) -> None:
        assert isinstance(ask.command, Claim)
        task = answer.decided.task
        run = task.runs.get(ask.command.run_id)
        if run is None or task.definition is None:
            return
        held = run.attempts[-1]
        attempt = Attempted(task.id, run, task.definition, held.token_hash, held.lease_until, held.deadline, held.hold)
        call = asyncio.create_task(self._attempt(attempt))
        self._calls[call] = None
        call.add_done_callback(self._ended)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.pop(call, None)
        self._room.set()

    async def _attempt(self, attempt: Attempted) -> None:
        try:
            outcome = await self._call(attempt)
        except asyncio.CancelledError:
            await self._handler.handle_many([_ask(attempt, Lose(attempt.run.id, attempt.number, attempt.token_hash))])
            return
        if outcome is not None:
            await self._report(attempt, outcome)

    async def _call(self, attempt: Attempted) -> Outcome | None:
        """The outcome, or None when the attempt was taken away meanwhile. Renews the lease while the call goes on."""
        call = asyncio.ensure_future(self._target.call(attempt))
        try:
            while True:
                done, _ = await asyncio.wait({call}, timeout=attempt.hold / 3 / 1000)
                if done:
                    return call.result()
                renew = Renew(attempt.run.id, attempt.number, attempt.token_hash)
                [answer] = await self._handler.handle_many([_ask(attempt, renew)])
                if _taken_away(answer):
                    return None
        finally:
            call.cancel()

    async def _report(self, attempt: Attempted, outcome: Outcome) -> None:
        """Until it is on the log, or the attempt is no longer ours."""
        run_id, number, token = attempt.run.id, attempt.number, attempt.token_hash
        command = (
            Complete(run_id, number, token, outcome.result)
            if outcome.error is None
            else Fail(run_id, number, token, outcome.error, outcome.retryable, outcome.retry_after)
        )
        while self._clock() < attempt.deadline:
            [answer] = await self._handler.handle_many([_ask(attempt, command)])
            if not isinstance(answer, Unavailable):
                return
            await asyncio.sleep(answer.retry_after)


def _taken_away(answer: Answer) -> bool:
    if isinstance(answer, Done):
        return answer.decided.cancel_requested
    return not isinstance(answer, Unavailable)


def _ask(attempt: Attempted, command: Complete | Fail | Renew | Lose) -> Ask:
    return Ask(attempt.task_id, command, actor=HOLDER)


def claim_of(lane: Lane, item: Claimable, seed: int) -> Ask:
    """The server's own claim on a waiting run."""
    return Ask(item.task_id, Claim(item.run_id, HOLDER, f"{seed:016x}", LEASE, lane=lane), actor=HOLDER)


async def give_back_later(
    claimables: WaitingRuns, taken: Sequence[tuple[Lane, Claimable]], answers: Sequence[Answer]
) -> None:
    """What could not be claimed for lack of a log waits a while, or the same claims would be tried without a pause."""
    failed = [(place, a.retry_after) for place, a in zip(taken, answers, strict=True) if isinstance(a, Unavailable)]
    if failed:
        await asyncio.sleep(max(wait for _, wait in failed))
        for (lane, item), _ in failed:
            claimables.give_back(lane, item)


async def release_held(holders: Held, handler: CommandHandler) -> int:
    """At the start: what an earlier process of this server held is lost, and retried by policy. How many it was."""
    held = holders.held(HOLDER)
    asks = []
    for holding, number in held:
        run = handler.state(holding.task_id).runs.get(holding.run_id)
        if run is not None and run.active_attempt is not None:
            asks.append(Ask(holding.task_id, Lose(holding.run_id, number, run.attempts[-1].token_hash), actor=HOLDER))
    await handler.handle_many(asks)
    return len(asks)
