"""Gives back the slots of attempts that have ended, and takes back those that nobody claimed with.

What is to be released follows from state: a grant stands in the state of a limit, and the state of its task says that
no attempt is active under it or can be any more. What passes by on the log only says where to look: ends of attempts,
and grants, at once and again when they should have been claimed with. A process that starts, or is given more
partitions, looks at all grants there.

A slot that was not claimed with is first revoked by a decision on the task's stream, so that a claim that is still on
its way loses by its version; only then is it released.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from taskscheduler.commands.handler import Ask, CommandHandler, Unavailable
from taskscheduler.domain import events as ev
from taskscheduler.domain.decision import Accepted, AnyAccepted
from taskscheduler.domain.entities import Other
from taskscheduler.domain.limit import UNCLAIMED_FOR, Limit, Slot, fate_of
from taskscheduler.domain.limit_definition import LIMIT_STREAM, limit_id
from taskscheduler.domain.messages import ReleaseSlots, Revoke
from taskscheduler.domain.state import Run
from taskscheduler.domain.values import SECOND, Instant
from taskscheduler.streams.looking import ACTOR, LOOK, PAUSE, set_within

BATCH = 256
"""Slots looked at in one go: others have their turn in between."""

_ENDS = (ev.AttemptSucceeded, ev.AttemptFailed, ev.AttemptReleased, ev.RunFailed, ev.RunCancelled)


class Releasing:
    """An observer of every replica. `run` releases slots of the limits in the partitions that are `mine`.

    `limits` gives what stands in a partition that is no task.
    """

    def __init__(
        self,
        handler: CommandHandler,
        limits: Mapping[int, Callable[[str], Iterable[Other]]],
        partition_of: Callable[[str], int],
        mine: Callable[[], Collection[int]],
        *,
        clock: Callable[[], Instant],
    ) -> None:
        self._handler = handler
        self._limits = limits
        self._partition_of = partition_of
        self._mine = mine
        self._clock = clock
        self._marked: dict[str, dict[str, None]] = {}
        """By the name of a limit, the grants to look at."""
        self._later: list[tuple[Instant, str, str]] = []
        self._changed = asyncio.Event()
        self.released = self.revoked = 0

    def apply(self, accepted: Sequence[AnyAccepted]) -> None:
        """Note where to look."""
        for change in accepted:
            if isinstance(change, Accepted):
                for event in change.record.events:
                    if isinstance(event, _ENDS) and (run := _run_of(change, event.run_id)) is not None:
                        self._ended(run)
            elif isinstance(change.after, Limit):
                for event in change.record.events:
                    if isinstance(event, ev.SlotsGranted) and event.held:
                        for grant in event.grants:
                            # The end may have been folded before: then nobody else says where to look.
                            self._mark(change.after.name, grant.id)

    async def run(self) -> None:
        """Until cancelled."""
        mine: frozenset[int] = frozenset()
        while True:
            now_mine = frozenset(self._mine())
            for partition in now_mine - mine:
                for limit in self._limits[partition](LIMIT_STREAM):
                    if isinstance(limit, Limit):
                        for id in limit.slots:
                            self._mark(limit.name, id)
            mine = now_mine
            self._wake_up()
            if not await self._work(mine):
                await asyncio.sleep(PAUSE)
                continue
            await set_within(self._changed, self._sleep())
            self._changed.clear()

    async def _work(self, mine: Collection[int]) -> bool:
        """Look at all that is marked; whether everything could be decided."""
        while self._marked:
            looked: list[tuple[str, str]] = []
            while self._marked and len(looked) < BATCH:
                name, ids = self._marked.popitem()
                if self._partition_of(limit_id(name)) in mine:
                    looked += [(name, id) for id in ids]
            if not await self._look(looked):
                for name, id in looked:
                    self._mark(name, id)
                return False
        return True

    async def _look(self, looked: Sequence[tuple[str, str]]) -> bool:
        now, over, unclaimed = self._clock(), dict[str, list[Slot]](), list[tuple[str, Slot]]()
        for name, id in looked:
            slot = self._handler.limit(name).slots.get(id)
            if slot is None:
                continue
            match fate_of(self._handler.state(slot.grant.task_id), name, slot.grant):
                case "over":
                    over.setdefault(name, []).append(slot)
                case "waiting" if slot.at + UNCLAIMED_FOR <= now:
                    unclaimed.append((name, slot))
                case "waiting":
                    heapq.heappush(self._later, (slot.at + UNCLAIMED_FOR, name, id))
        return await self._release(over) and await self._revoke(unclaimed)

    async def _release(self, over: Mapping[str, Sequence[Slot]]) -> bool:
        asks, count = [], 0
        for name, slots in over.items():
            ids = [slot.grant.id for slot in slots if await self._is_over(name, slot)]
            count += len(ids)
            asks.append(Ask(limit_id(name), ReleaseSlots(tuple(ids)), ACTOR, cause="ended"))
        if any(isinstance(answer, Unavailable) for answer in await self._handler.handle_many(asks)):
            return False
        self.released += count
        return True

    async def _is_over(self, name: str, slot: Slot) -> bool:
        """The same again on a state that is as new as the grant: what has not come yet looks as what has gone."""
        grant = slot.grant
        if grant.run_id not in self._handler.state(grant.task_id).runs:
            try:
                await self._handler.caught_up(grant.task_id)
            except Unavailable:
                heapq.heappush(self._later, (self._clock() + SECOND, name, grant.id))
                return False
        # Also where the run has come meanwhile: it was found over because it had not.
        if fate_of(self._handler.state(grant.task_id), name, grant) != "over":
            heapq.heappush(self._later, (slot.at + UNCLAIMED_FOR, name, grant.id))
            return False
        return True

    async def _revoke(self, unclaimed: Sequence[tuple[str, Slot]]) -> bool:
        asks = []
        for name, slot in unclaimed:
            revoke = Revoke(slot.grant.run_id, slot.grant.number, slot.grant.revoked)
            asks.append(Ask(slot.grant.task_id, revoke, ACTOR, cause=limit_id(name)))
        answers = await self._handler.handle_many(asks)
        for name, slot in unclaimed:
            if fate_of(self._handler.state(slot.grant.task_id), name, slot.grant) == "over":
                self.revoked += 1
                self._mark(name, slot.grant.id)
            else:  # this process has not seen yet what the one that asked for the slot had
                heapq.heappush(self._later, (self._clock() + SECOND, name, slot.grant.id))
        return not any(isinstance(answer, Unavailable) for answer in answers)

    def _ended(self, run: Run) -> None:
        for attempt in run.attempts[-1:]:
            for name, id in attempt.grants.items():
                self._mark(name, id)

    def _mark(self, name: str, id: str) -> None:
        self._marked.setdefault(name, {})[id] = None
        self._changed.set()

    def _wake_up(self) -> None:
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            _, name, id = heapq.heappop(self._later)
            self._mark(name, id)

    def _sleep(self) -> float:
        if not self._later:
            return LOOK
        return min(LOOK, max(0.0, (self._later[0][0] - self._clock()) / SECOND))


def _run_of(change: Accepted, run_id: str) -> Run | None:
    """The run that an event ended, or whose attempt it did, with that attempt."""
    run = change.before.runs.get(run_id)
    if run is not None and run.status == "running":
        return run
    last = change.after.last_finished
    return last if last is not None and last.id == run_id else change.after.runs.get(run_id)
