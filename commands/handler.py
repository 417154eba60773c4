"""The command handler: load the state, decide, append, await the verdict of the replica, reply.

Commands that wait for the same task are merged into one decision. Decisions that are made at the same time are
appended together. A refusal on state is only given after a read barrier, since another instance may be ahead.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from taskscheduler.commands.ports import DecisionLog, Folded, LogUnavailable, Receipt
from taskscheduler.domain.decide import Decided, decide
from taskscheduler.domain.decision import Record, Verdict, stream_of
from taskscheduler.domain.errors import DomainError
from taskscheduler.domain.messages import Command, Context, Key, Policy, Wake
from taskscheduler.domain.state import Task, wakeup
from taskscheduler.domain.values import Instant, Millis

BATCH = 256
"""Decisions made in one go: enough to share an fsync, few enough to keep the loop responsive."""

IN_FLIGHT = 4
"""Batches that wait for the log at once."""

VALID_FOR: Millis = 30_000
"""After this a record that arrives late is refused by every reader."""


class Unavailable(Exception):
    """The command got no verdict in time. `outcome` is `none` when nothing can have happened, else `unknown`."""

    def __init__(self, detail: str, outcome: Literal["none", "unknown"], retry_after: float = 1.0) -> None:
        super().__init__(detail)
        self.detail = detail
        self.outcome = outcome
        self.retry_after = retry_after


class Ask(msgspec.Struct, frozen=True):
    """One command for one task. `due_at` keeps a trigger's decision from being made on an earlier clock."""

    task_id: str
    command: Command
    actor: str = "anonymous"
    key: Key | None = None
    if_match: int | None = None
    trace: str | None = None
    cause: str | None = None
    due_at: Instant = 0


class Done(msgspec.Struct, frozen=True):
    """An accepted command. `token` says up to where a reader must be to see it."""

    decided: Decided
    token: str | None = None


Answer = Done | DomainError | Unavailable


class _Group:
    """Asks that came in together and are answered together."""

    __slots__ = ("answers", "future", "left")

    def __init__(self, size: int, future: asyncio.Future[list[Answer]]) -> None:
        self.answers: list[Answer] = [_PENDING] * size
        self.left = size
        self.future = future

    def answer(self, index: int, answer: Answer) -> None:
        self.answers[index] = answer
        self.left -= 1
        if self.left == 0 and not self.future.done():
            self.future.set_result(self.answers)


class _Waiting:
    __slots__ = ("ask", "barrier_passed", "deadline", "group", "index")

    def __init__(self, ask: Ask, group: _Group, index: int, deadline: float) -> None:
        self.ask = ask
        self.group = group
        self.index = index
        self.deadline = deadline
        self.barrier_passed = False

    def answer(self, answer: Answer) -> None:
        self.group.answer(self.index, answer)


class _Decision:
    """A record on its way, and who waits for it."""

    __slots__ = ("accepted", "after", "before", "record", "task_id")

    def __init__(
        self, record: Record, before: Task, after: Task, accepted: list[tuple[_Waiting, Decided]]
    ) -> None:
        self.task_id = before.id
        self.before = before
        self.after = after
        self.record = record
        self.accepted = accepted


_PENDING = Unavailable("not decided yet", "unknown")


class CommandHandler:
    """Takes commands on one event loop. `observe(verb, result)` is told of each answer."""

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
        observe: Callable[[str, str], None] | None = None,
    ) -> None:
        self._log = log
        self._folded = folded
        self._clock = clock
        self._seed = seed
        self._policy = policy
        self._timeout = timeout
        self._observe = observe
        self._record_ids = (f"{instance}-{n:x}" for n in itertools.count(1))
        self._pending: dict[str, list[_Waiting]] = {}
        self._busy: set[str] = set()
        self._in_flight = 0
        self._scheduled = False
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
        loop = asyncio.get_running_loop()
        group = _Group(len(asks), loop.create_future())
        deadline = loop.time() + self._timeout
        for index, ask in enumerate(asks):
            self._pending.setdefault(ask.task_id, []).append(_Waiting(ask, group, index, deadline))
        self._schedule()
        return await group.future

    def state(self, task_id: str) -> Task:
        """The state of a task as far as the replica has folded the log."""
        return self._folded.state(task_id)

    async def drain(self) -> None:
        """Returns when no decision is on its way."""
        while self._tasks or self._scheduled:
            await asyncio.sleep(0)
            if self._tasks:
                await asyncio.wait(self._tasks)

    def _schedule(self) -> None:
        # One turn of the loop later, so that what arrives in the same turn is decided together.
        if not self._scheduled and self._in_flight < IN_FLIGHT:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._decide_pending)

    def _decide_pending(self) -> None:
        self._scheduled = False
        decisions: list[_Decision] = []
        ready = (task_id for task_id in self._pending if task_id not in self._busy)
        for task_id in list(itertools.islice(ready, BATCH)):
            decision = self._decide(task_id, self._pending.pop(task_id))
            if decision is not None:
                decisions.append(decision)
                self._busy.add(task_id)
        if decisions:
            self._in_flight += 1
            self._spawn(self._commit(decisions))
        if self._pending and any(task_id not in self._busy for task_id in self._pending):
            self._schedule()

    def _decide(self, task_id: str, waiting: list[_Waiting]) -> _Decision | None:
        task = self._folded.state(task_id)
        now = max(self._clock(), task.recorded_at, *(w.ask.due_at for w in waiting))
        if len({w.ask.actor for w in waiting if type(w.ask.command) is not Wake}) > 1:
            waiting = self._put_back_other_actors(task_id, waiting)
        version = task.version
        drafted = task
        accepted: list[tuple[_Waiting, Decided]] = []
        for w in waiting:
            ask = w.ask
            context = Context(now, self._seed(), ask.actor, ask.key, ask.if_match)
            try:
                decided = decide(drafted, ask.command, context, self._policy)
            except DomainError as error:
                self._refuse(w, error)
                continue
            drafted = decided.task
            accepted.append((w, decided))
        events = tuple(itertools.chain.from_iterable(decided.events for _, decided in accepted))
        if not events:
            for w, decided in accepted:
                self._reply(w, decided, None)
            return None
        first = next((w.ask for w, _ in accepted if type(w.ask.command) is not Wake), accepted[0][0].ask)
        record = Record(
            stream=stream_of(task_id),
            record_id=next(self._record_ids),
            expected_version=version,
            recorded_at=now,
            wakeup=wakeup(drafted),
            valid_until=now + VALID_FOR,
            actor=first.actor,
            cause=first.cause,
            trace=first.trace,
            events=events,
        )
        after = msgspec.structs.replace(drafted, version=version + 1, recorded_at=now)
        return _Decision(record, task, after, accepted)

    def _put_back_other_actors(self, task_id: str, waiting: list[_Waiting]) -> list[_Waiting]:
        # A record names one actor: what another one asked goes into the next decision.
        actor = next(w.ask.actor for w in waiting if type(w.ask.command) is not Wake)
        mine = [w for w in waiting if w.ask.actor == actor or type(w.ask.command) is Wake]
        self._pending[task_id] = [w for w in waiting if w not in mine]
        return mine

    def _refuse(self, waiting: _Waiting, error: DomainError) -> None:
        if waiting.barrier_passed:
            self._count(waiting.ask, "refused")
            waiting.answer(error)
            return
        waiting.barrier_passed = True
        self._spawn(self._pass_barrier(waiting))

    async def _pass_barrier(self, waiting: _Waiting) -> None:
        try:
            async with asyncio.timeout_at(waiting.deadline):
                await self._folded.caught_up(waiting.ask.task_id)
        except (TimeoutError, LogUnavailable):
            self._give_up(waiting, "none")
            return
        self._again(waiting)

    async def _commit(self, decisions: list[_Decision]) -> None:
        deadline = min(w.deadline for d in decisions for w, _ in d.accepted)
        try:
            async with asyncio.timeout_at(deadline):
                verdicts = await self._append(decisions)
        except (TimeoutError, LogUnavailable):
            for decision in decisions:
                for waiting, _ in decision.accepted:
                    self._give_up(waiting, "unknown")
        else:
            for decision, (receipt, verdict) in zip(decisions, verdicts, strict=True):
                self._conclude(decision, receipt, verdict)
        finally:
            self._in_flight -= 1
            self._busy.difference_update(d.task_id for d in decisions)
            if self._pending:
                self._schedule()

    async def _append(self, decisions: list[_Decision]) -> list[tuple[Receipt, Verdict]]:
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

    def _conclude(self, decision: _Decision, receipt: Receipt, verdict: Verdict) -> None:
        if verdict is Verdict.ACCEPTED:
            token = f"{receipt.partition}:{receipt.position}"
            after = decision.after
            for waiting, decided in decision.accepted[:-1]:
                task = msgspec.structs.replace(decided.task, version=after.version, recorded_at=after.recorded_at)
                self._reply(waiting, msgspec.structs.replace(decided, task=task), token)
            waiting, decided = decision.accepted[-1]
            self._reply(waiting, msgspec.structs.replace(decided, task=after), token)
            return
        for waiting, _ in decision.accepted:
            self._count(waiting.ask, str(verdict))
            self._spawn(self._decide_again(waiting))

    async def _decide_again(self, waiting: _Waiting) -> None:
        try:
            async with asyncio.timeout_at(waiting.deadline):
                await self._folded.caught_up(waiting.ask.task_id)
        except (TimeoutError, LogUnavailable):
            self._give_up(waiting, "none")
            return
        waiting.barrier_passed = False
        self._again(waiting)

    def _again(self, waiting: _Waiting) -> None:
        if asyncio.get_running_loop().time() >= waiting.deadline:
            self._give_up(waiting, "none")
            return
        self._pending.setdefault(waiting.ask.task_id, []).append(waiting)
        self._schedule()

    def _reply(self, waiting: _Waiting, decided: Decided, token: str | None) -> None:
        if decided.refused is not None:
            self._count(waiting.ask, "refused")
            waiting.answer(decided.refused)
            return
        self._count(waiting.ask, "replayed" if decided.replayed is not None else "accepted")
        waiting.answer(Done(decided, token))

    def _give_up(self, waiting: _Waiting, outcome: Literal["none", "unknown"]) -> None:
        self._count(waiting.ask, "unavailable")
        said = "whether it happened is unknown" if outcome == "unknown" else "nothing was changed"
        detail = f"no verdict within {self._timeout:g} s: {said}; repeat it under the same Idempotency-Key"
        waiting.answer(Unavailable(detail, outcome))

    def _count(self, ask: Ask, result: str) -> None:
        if self._observe is not None:
            self._observe(type(ask.command).__name__.lower(), result)

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

