"""The command handler: load the state, decide, append, await the verdict of the replica, reply.

Commands that wait for the same task are merged into one decision. Decisions that are made at the same time are
appended together. A refusal on state is only given after a read barrier, since another instance may be ahead.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Literal

import msgspec

from taskscheduler.commands.asks import Answer, Ask, Done, Group, Unavailable, Waiting
from taskscheduler.commands.batch import Deadlines, Decision, waiting_for
from taskscheduler.commands.ports import DecisionLog, Folded, LogUnavailable, Receipt
from taskscheduler.domain.calendar import Calendar, calendar_id
from taskscheduler.domain.decided import Decided
from taskscheduler.domain.decision import Record, Verdict
from taskscheduler.domain.entities import Entity, rules_of, stream_of
from taskscheduler.domain.errors import DomainError
from taskscheduler.domain.limit import Limit
from taskscheduler.domain.limit_definition import limit_id
from taskscheduler.domain.messages import (
    Advance,
    Announce,
    Command,
    Complete,
    Context,
    Fail,
    Follow,
    Hear,
    Key,
    Leave,
    Lose,
    PickPage,
    Policy,
    Release,
    ReleaseSlots,
    Renew,
    Revoke,
    Taken,
    Wake,
)
from taskscheduler.domain.operation import Operation, operation_id
from taskscheduler.domain.state import Task
from taskscheduler.domain.values import Instant, Millis
from taskscheduler.domain.worker import Worker, worker_id

__all__ = ["Answer", "Ask", "CommandHandler", "Done", "Unavailable"]

BATCH = 256
"""Decisions made in one go: enough to share an fsync, few enough to keep the loop responsive."""

WAKES = 64
"""Of these as many are kept for what is due, however much else is asked."""

IN_FLIGHT = 4
"""Batches that wait for the log at once."""

GATHER = 0.005
"""Seconds. While a batch is on its way the next gathers, so that batches grow with the load; but not for longer."""

VALID_FOR: Millis = 30_000
"""After this a record that arrives late is refused by every reader."""


_SAFE_TO_REPEAT = (
    *(Wake, Follow, Hear, Taken, Renew, Complete, Fail, Release, Lose),
    *(Announce, Leave, PickPage, Advance, ReleaseSlots, Revoke),
)
"""Where nothing to do is no refusal: triggers are given again, and holders of attempts ask again."""


class CommandHandler:
    """Takes commands on one event loop. `observe(verb, result)` is told of each answer.

    `in_flight` is how many batches may wait for the log at once: more where a log is far, which costs no more then.
    """

    def __init__(
        self,
        log: DecisionLog,
        folded: Folded,
        *,
        clock: Callable[[], Instant],
        seed: Callable[[], int],
        instance: str,
        policy: Policy = Policy(),
        timeout: float = 10.0,
        in_flight: int = IN_FLIGHT,
        observe: Callable[[str, str], None] | None = None,
    ) -> None:
        self._log = log
        self._folded = folded
        self._clock = clock
        self._seed = seed
        self._policy = policy
        self._timeout = timeout
        self._most_in_flight = in_flight
        self._observe = observe
        self._record_ids = (f"{instance}-{n:x}" for n in itertools.count(1))
        self._pending: dict[str, list[Waiting]] = {}
        self._wakes: dict[str, list[Waiting]] = {}
        self._busy: set[str] = set()
        self._in_flight = 0
        self._soon = False
        self._later: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def handle(
        self,
        task_id: str,
        command: Command,
        *,
        actor: str = "anonymous",
        key: Key | None = None,
        if_match: int | None = None,
        trace: str | None = None,
        cause: str | None = None,
    ) -> Done:
        """Decide one command. Raises a DomainError when it is refused, Unavailable when there is no verdict in time."""
        [answer] = await self.handle_many([Ask(task_id, command, actor, key, if_match, trace, cause)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def handle_many(self, asks: Sequence[Ask]) -> list[Answer]:
        """Decide many commands, each on its own: one answer each, in order."""
        if not asks:
            return []
        answers: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()

        def done(given: list[Answer]) -> None:
            if not answers.done():
                answers.set_result(given)

        self.submit(asks, done)
        return await answers

    def submit(self, asks: Sequence[Ask], done: Callable[[list[Answer]], None]) -> None:
        """The same for at least one command, without a task that waits: `done` is called with the answers."""
        group = Group(len(asks), done)
        deadline = asyncio.get_running_loop().time() + self._timeout
        for index, ask in enumerate(asks):
            self._enqueue(Waiting(ask, group, index, deadline))
        self._schedule()

    def state(self, task_id: str) -> Task:
        """The state of a task as far as the replica has folded the log."""
        state = self._folded.state(task_id)
        assert type(state) is Task
        return state

    def entity(self, id: str) -> Entity:
        """The same of anything."""
        return self._folded.state(id)

    def calendar(self, name: str) -> Calendar:
        """The same of a calendar."""
        state = self._folded.state(calendar_id(name))
        assert type(state) is Calendar
        return state

    def worker(self, name: str) -> Worker:
        """The same of a worker."""
        state = self._folded.state(worker_id(name))
        assert type(state) is Worker
        return state

    def operation(self, name: str) -> Operation:
        """The same of an operation."""
        state = self._folded.state(operation_id(name))
        assert type(state) is Operation
        return state

    def limit(self, name: str) -> Limit:
        """The same of a limit."""
        state = self._folded.state(limit_id(name))
        assert type(state) is Limit
        return state

    async def caught_up(self, id: str) -> None:
        """The read barrier, for who would refuse on a state that another instance may have changed.

        Raises Unavailable.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._folded.caught_up(id)
        except (TimeoutError, LogUnavailable):
            raise Unavailable(f"the log was not read within {self._timeout:g} s; nothing was changed", "none") from None

    async def drain(self) -> None:
        """Returns when no decision is on its way."""
        while self._tasks or self._soon or self._later is not None:
            await asyncio.sleep(0)
            if self._tasks:
                await asyncio.wait(self._tasks)

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        if self._soon:
            return
        if self._in_flight == 0:
            # One turn of the loop later, so that what arrives in the same turn is decided together.
            self._soon = True
            loop.call_soon(self._decide_pending)
        elif self._in_flight < self._most_in_flight and self._later is None:
            self._later = loop.call_later(GATHER, self._decide_pending)

    def _decide_pending(self) -> None:
        self._soon = False
        if self._later is not None:
            self._later.cancel()
            self._later = None
        decisions: list[Decision] = []
        now = asyncio.get_running_loop().time()
        for task_id in self._next():
            waiting = self._wakes.pop(task_id, []) + self._pending.pop(task_id, [])
            decision = self._try_to_decide(task_id, waiting, now)
            if decision is not None:
                decisions.append(decision)
                self._busy.add(task_id)
        if decisions:
            self._in_flight += 1
            self._spawn(self._commit(decisions))
        if not self._busy.issuperset(self._pending) or not self._busy.issuperset(self._wakes):
            self._schedule()

    def _enqueue(self, waiting: Waiting) -> None:
        pending = self._wakes if type(waiting.ask.command) is Wake else self._pending
        pending.setdefault(waiting.ask.task_id, []).append(waiting)

    def _next(self) -> list[str]:
        """The tasks to decide on now. What is under way and what users ask goes before what is newly due.

        Else a herd would begin as a whole before any of it ends, and everybody would wait behind it.
        """
        asked = (task_id for task_id in self._pending if task_id not in self._busy)
        chosen = list(itertools.islice(asked, BATCH - WAKES))
        due = (task_id for task_id in self._wakes if task_id not in self._busy and task_id not in self._pending)
        chosen += itertools.islice(due, BATCH - len(chosen))
        chosen += itertools.islice(asked, BATCH - len(chosen))
        return chosen

    def _try_to_decide(self, task_id: str, waiting: list[Waiting], now: float) -> Decision | None:
        for w in waiting:
            if w.deadline <= now:
                self._give_up(w, "none")
        waiting = [w for w in waiting if not w.answered]
        try:
            return self._decide(task_id, waiting) if waiting else None
        except Exception as error:
            # A task that cannot be decided must not take the others with it.
            self._report(f"no decision on the task {task_id!r}", error)
            for w in waiting:
                self._give_up(w, "none")
            return None

    def _decide(self, task_id: str, waiting: list[Waiting]) -> Decision | None:
        state, rules = self._folded.state(task_id), rules_of(task_id)
        now = max(self._clock(), state.recorded_at, *[w.ask.due_at for w in waiting])
        if len(waiting) > 1 and len({w.ask.actor for w in waiting if type(w.ask.command) is not Wake}) > 1:
            waiting = self._put_back_other_actors(task_id, waiting)
        version = state.version
        drafted = state
        accepted: list[tuple[Waiting, Decided]] = []
        for w in waiting:
            ask = w.ask
            context = Context(now, self._seed() if ask.seed is None else ask.seed, ask.actor, ask.key, ask.if_match)
            try:
                decided = rules.decide(drafted, ask.command, context, self._policy)
            except DomainError as error:
                if drafted is state:
                    self._refuse(w, error)
                else:
                    # What it was refused for is not on the log yet.
                    self._enqueue(w)
                continue
            drafted = decided.state
            accepted.append((w, decided))
        if len(accepted) == 1:
            events = accepted[0][1].events
        else:
            events = tuple(itertools.chain.from_iterable(decided.events for _, decided in accepted))
        if not events:
            for w, decided in accepted:
                if w.barrier_passed or decided.replayed is not None or isinstance(w.ask.command, _SAFE_TO_REPEAT):
                    self._reply(w, decided, self._folded.token(task_id))
                else:
                    self._to_barrier(w)
            return None
        first = next((w.ask for w, _ in accepted if type(w.ask.command) is not Wake), accepted[0][0].ask)
        record = Record(
            stream=stream_of(task_id),
            record_id=next(self._record_ids),
            expected_version=version,
            recorded_at=now,
            wakeup=rules.wakeup(drafted),
            valid_until=now + VALID_FOR,
            actor=first.actor,
            cause=first.cause,
            trace=first.trace,
            events=events,
        )
        return Decision(record, state, _after(drafted, version + 1, now), accepted)

    @staticmethod
    def _report(message: str, error: Exception) -> None:
        asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})

    def _put_back_other_actors(self, task_id: str, waiting: list[Waiting]) -> list[Waiting]:
        # A record names one actor: what another one asked goes into the next decision.
        actor = next(w.ask.actor for w in waiting if type(w.ask.command) is not Wake)
        mine: list[Waiting] = []
        for w in waiting:
            if w.ask.actor == actor or type(w.ask.command) is Wake:
                mine.append(w)
            else:
                self._enqueue(w)
        return mine

    def _refuse(self, waiting: Waiting, error: DomainError) -> None:
        if waiting.barrier_passed:
            self._count(waiting.ask, "refused")
            waiting.answer(error)
            return
        self._to_barrier(waiting)

    def _to_barrier(self, waiting: Waiting) -> None:
        # Another instance may be ahead: what it decided is folded before anybody hears that nothing is to be done.
        waiting.barrier_passed = True
        self._spawn(self._when_caught_up(waiting))

    async def _when_caught_up(self, waiting: Waiting) -> None:
        try:
            async with asyncio.timeout_at(waiting.deadline):
                await self._folded.caught_up(waiting.ask.task_id)
        except (TimeoutError, LogUnavailable):
            self._give_up(waiting, "none")
            return
        self._again(waiting)

    async def _commit(self, decisions: list[Decision]) -> None:
        deadlines = Deadlines(decisions, self._give_up)
        try:
            for decision, (receipt, verdict) in zip(decisions, await self._append(decisions), strict=True):
                self._conclude(decision, receipt, verdict)
        except asyncio.CancelledError:
            if not deadlines.all_passed:
                raise
        except Exception as error:
            if not isinstance(error, LogUnavailable):
                self._report("no verdict on a batch of decisions", error)
            why = str(error) if isinstance(error, LogUnavailable) else None
            for waiting in waiting_for(decisions):
                self._give_up(waiting, "unknown", why)
        finally:
            deadlines.stop()
            self._in_flight -= 1
            self._busy.difference_update(d.task_id for d in decisions)
            if self._pending or self._wakes:
                self._schedule()

    async def _append(self, decisions: list[Decision]) -> list[tuple[Receipt, Verdict]]:
        expected = asyncio.ensure_future(self._folded.expect([d.record.record_id for d in decisions]))
        for decision in decisions:
            self._folded.drafted(decision.record, decision.before, decision.after)
        try:
            receipts = await self._log.append([d.record for d in decisions])
            if all(receipt.position is not None for receipt in receipts):
                return list(zip(receipts, await expected, strict=True))
            landed = max((r.position for r in receipts if r.position is not None), default=None)
            if landed is not None:
                await self._folded.caught_up(decisions[0].task_id)
            return [(receipt, receipt.verdict) for receipt in receipts]
        finally:
            expected.cancel()

    def _conclude(self, decision: Decision, receipt: Receipt, verdict: Verdict) -> None:
        if verdict is Verdict.ACCEPTED:
            token = f"{receipt.partition}:{receipt.position}"
            after = decision.after
            for waiting, decided in decision.accepted[:-1]:
                state = _after(decided.state, after.version, after.recorded_at)
                self._reply(waiting, msgspec.structs.replace(decided, state=state), token)
            waiting, decided = decision.accepted[-1]
            self._reply(waiting, msgspec.structs.replace(decided, state=after), token)
            return
        for waiting, _ in decision.accepted:
            if not waiting.answered:
                self._count(waiting.ask, str(verdict))
                waiting.barrier_passed = False
                self._spawn(self._when_caught_up(waiting))

    def _again(self, waiting: Waiting) -> None:
        if waiting.answered:
            return
        self._enqueue(waiting)
        self._schedule()

    def _reply(self, waiting: Waiting, decided: Decided, token: str) -> None:
        if waiting.answered:
            return
        if decided.refused is not None:
            self._count(waiting.ask, "refused")
            waiting.answer(decided.refused)
            return
        self._count(waiting.ask, "replayed" if decided.replayed is not None else "accepted")
        waiting.answer(Done(decided, token))

    def _give_up(self, waiting: Waiting, outcome: Literal["none", "unknown"], why: str | None = None) -> None:
        if waiting.answered:
            return
        self._count(waiting.ask, "unavailable")
        said = "whether it happened is unknown" if outcome == "unknown" else "nothing was changed"
        cause = why or f"no verdict within {self._timeout:g} s"
        detail = f"{cause}: {said}; repeat it under the same Idempotency-Key"
        waiting.answer(Unavailable(detail, outcome))

    def _count(self, ask: Ask, result: str) -> None:
        if self._observe is not None:
            self._observe(type(ask.command).__name__.lower(), result)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _after(drafted: Entity, version: int, recorded_at: Instant) -> Entity:
    after: Entity = msgspec.structs.replace(drafted, version=version, recorded_at=recorded_at)
    return after
