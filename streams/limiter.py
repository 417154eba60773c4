"""Claims under limits: asks for the slots that an attempt needs, claims with them, gives back what was not used.

Slots of several limits are asked for in the order of their names, those of many runs together. Nobody waits for one
while holding another: what is refused gives back what it has, and the run waits until the limit has changed. Runs that
are under no limit that is known here cost nothing: their claims go straight to the handler.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from taskscheduler.commands.handler import Answer, Ask, CommandHandler, Done, Unavailable
from taskscheduler.domain.decision import AcceptedOther, AnyAccepted
from taskscheduler.domain.definition import Lane
from taskscheduler.domain.entities import Other
from taskscheduler.domain.errors import LimitReached
from taskscheduler.domain.limit import Limit, next_allowed, starts_allowed
from taskscheduler.domain.limit_definition import Granted, limit_id, limits_of, own_limit
from taskscheduler.domain.messages import Claim, GrantSlots, ReleaseSlots, Under, Want
from taskscheduler.domain.values import Instant
from taskscheduler.streams.claimable import Claimable, WaitingRuns
from taskscheduler.streams.gates import Room
from taskscheduler.streams.looking import ACTOR

Taken = Sequence[tuple[Lane, Claimable]]

CHANGED = "changed:"
"""What waits under this and the name of a limit waits for another version of it, whatever room there seems to be."""

FIRST = 16
"""Slots that are asked for where a task names a limit that nobody knows yet."""


class _Plan:
    """A claim on its way to its slots."""

    def __init__(self, ask: Ask, under: Under, needed: tuple[str, ...], grant: Granted, own: tuple[str, int] | None):
        self.ask = ask
        self.under = under
        self.needed = needed
        self.grant = grant
        self.own = own
        self.held: dict[str, str] = {}
        self.failed: Answer | None = None
        self.refused: _Refusal | None = None

    def want(self, name: str) -> Want:
        return Want(self.grant, self.own[1] if self.own is not None and self.own[0] == name else None)


class _Refusal(NamedTuple):
    """Which limit had no room, when it stood at which version, and whether only its rate was in the way.

    `asked` says whether the limit itself refused, or was not even asked.
    """

    name: str
    version: int
    by_rate: bool
    asked: bool


class Limiter:
    """An observer of every replica, a gate of the waiting runs, and the way to claims."""

    def __init__(self, handler: CommandHandler, *, clock: Callable[[], Instant], seed: Callable[[], int]) -> None:
        self._handler = handler
        self._clock = clock
        self._seed = seed
        self._defined: dict[str, None] = {}
        self._asked: Counter[str] = Counter()
        """Slots that are being asked for here, by limit: what is granted to them is not free."""
        self._told: list[Callable[[str], None]] = []
        self.granted = self.refused = 0
        """How many slots were granted here, and how many claims held up."""

    @property
    def defined(self) -> int:
        """How many limits are defined."""
        return len(self._defined)

    def begin(self, others: Iterable[Other]) -> None:
        """Know the limits among these, which were there before the start."""
        self._defined |= {one.name: None for one in others if isinstance(one, Limit) and one.exists}

    def apply(self, accepted: Sequence[AnyAccepted]) -> None:
        """Know which are defined, and tell of those that have changed."""
        for change in accepted:
            if isinstance(change, AcceptedOther) and isinstance(limit := change.after, Limit):
                if limit.exists:
                    self._defined[limit.name] = None
                else:
                    self._defined.pop(limit.name, None)
                self._tell(limit.name)
                self._tell(CHANGED + limit.name)

    def watch(self, told: Callable[[str], None]) -> None:
        """`told` hears of every limit that changes."""
        self._told.append(told)

    def room(self, name: str, now: Instant) -> Room | None:
        """How many attempts may be claimed under the limit, as far as is known here."""
        of_tasks = name.startswith("key:")
        if not of_tasks and name not in self._defined:
            return None
        limit, asked = self._handler.limit(name), self._asked[name]
        if of_tasks and not limit.version:
            return Room(FIRST - asked)
        room = None
        if (most := limit.most(limit.own)) is not None:
            room = Room(
                most - len(limit.slots) - asked, None, f"{most} attempts may be active, and {len(limit.slots)} are"
            )
        if (rate := limit.rate) is not None:
            left = starts_allowed(limit.next_start, rate, now) - asked
            if room is None or left < room.left:
                until = next_allowed(limit.next_start, rate) if left + asked <= 0 else None
                room = Room(left, until, f"{rate.count} attempts may begin in {rate.per} ms")
        return room

    def concerns(self, taken: Taken) -> bool:
        """Whether some of these runs may be under a limit."""
        return bool(self._defined) or any(lane.key for lane, _ in taken)

    async def claim(self, waiting: WaitingRuns, taken: Taken, asks: Sequence[Ask]) -> list[Answer]:
        """Claim what was taken: one answer each. What a limit holds up is LimitReached, and waits again already."""
        if not self.concerns(taken):
            return await self._handler.handle_many(asks)
        plans = [self._plan(ask) for ask in asks]
        self._refuse_hopeless(plans)
        for turn in range(max(len(plan.needed) for plan in plans)):
            asking = [plan for plan in plans if plan.failed is None and len(plan.needed) > turn]
            await self._ask_for_slots([(plan.needed[turn], plan) for plan in asking])
        going = [plan for plan in plans if plan.failed is None]
        answers = iter(await self._handler.handle_many([plan.ask for plan in map(_with_slots, going)]))
        outcome = [next(answers) if plan.failed is None else plan.failed for plan in plans]
        self._give_back([plan for plan, answer in zip(plans, outcome, strict=True) if _knows_it_failed(answer)])
        for plan, (lane, item) in zip(plans, taken, strict=True):
            if plan.refused is not None:
                self._wait_again(waiting, lane, item, plan.refused)
        # What was taken may have used up the room without asking for it: whoever was held up by that looks again.
        for name in dict.fromkeys(name for lane, _ in taken for name in (lane.group, *lane.names)):
            self._tell(name)
        return outcome

    def _plan(self, ask: Ask) -> _Plan:
        assert isinstance(ask.command, Claim)
        task, run_id = self._handler.state(ask.task_id), ask.command.run_id
        run = task.runs.get(run_id)
        if run is None or task.definition is None:
            return _Plan(ask, Under(1, 0, ()), (), Granted("", task.id, run_id, 1), None)
        names, own = limits_of(task.definition), own_limit(task.definition)
        needed = tuple(name for name in names if name in self._defined or (own is not None and own[0] == name))
        number = len(run.attempts) + 1
        grant = Granted(f"{self._seed():016x}", task.id, run_id, number, run.revoked)
        return _Plan(ask, Under(number, run.revoked, names), needed, grant, own)

    def _refuse_hopeless(self, plans: Sequence[_Plan]) -> None:
        """Do not ask for any slot of a claim that one of its limits has no room for, as far as is known here."""
        now, rooms, wanted = self._clock(), dict[str, Room | None](), Counter[str]()
        for plan in plans:
            for name in plan.needed:
                if name not in rooms:
                    rooms[name] = self.room(name, now)
                if (room := rooms[name]) is not None and room.left <= wanted[name]:
                    self._refuse(plan, name, self._handler.limit(name), asked=False)
                    break
            else:
                wanted.update(plan.needed)

    async def _ask_for_slots(self, wanted: Sequence[tuple[str, _Plan]]) -> None:
        by_name: dict[str, list[_Plan]] = {}
        for name, plan in wanted:
            by_name.setdefault(name, []).append(plan)
        asks = [
            Ask(limit_id(name), GrantSlots(tuple(plan.want(name) for plan in plans)), ACTOR)
            for name, plans in by_name.items()
        ]
        for name, plans in by_name.items():
            self._asked[name] += len(plans)
        try:
            answers = await self._handler.handle_many(asks)
        finally:
            for name, plans in by_name.items():
                self._asked[name] -= len(plans)
                if not self._asked[name]:
                    del self._asked[name]
                self._tell(name)
        for (name, plans), answer in zip(by_name.items(), answers, strict=True):
            for plan in plans:
                self._note(plan, name, answer)

    def _note(self, plan: _Plan, name: str, answer: Answer) -> None:
        if not isinstance(answer, Done):
            plan.failed = answer
            return
        limit = answer.decided.limit
        if plan.grant.id not in answer.decided.granted:
            self._refuse(plan, name, limit, asked=True)
            return
        self.granted += 1
        if plan.grant.id in limit.slots:
            plan.held[name] = plan.grant.id

    def _refuse(self, plan: _Plan, name: str, limit: Limit, *, asked: bool) -> None:
        self.refused += 1
        plan.failed = LimitReached(f"the limit {name} leaves no room")
        most = limit.most(plan.want(name).own)
        plan.refused = _Refusal(name, limit.version, most is None or len(limit.slots) < most, asked)

    def _give_back(self, plans: Sequence[_Plan]) -> None:
        """Release what these hold: they did not claim with it, and will not."""
        ids: dict[str, list[str]] = {}
        for plan in plans:
            for name, id in plan.held.items():
                ids.setdefault(name, []).append(id)
        if ids:
            asks = [Ask(limit_id(name), ReleaseSlots(tuple(some)), ACTOR) for name, some in ids.items()]
            self._handler.submit(asks, lambda answers: None)  # what is not released now is taken back later

    def _wait_again(self, waiting: WaitingRuns, lane: Lane, item: Claimable, refusal: _Refusal) -> None:
        room = self.room(refusal.name, self._clock())
        changed = self._handler.limit(refusal.name).version != refusal.version
        if changed or room is None or (room.left > 0 and (refusal.by_rate or not refusal.asked)):
            waiting.give_back(lane, item)
        elif room.left > 0:
            # The task allows less than another of the same key did: only a change can help it.
            waiting.park(CHANGED + refusal.name, lane, item)
        else:
            waiting.park(refusal.name, lane, item)

    def _tell(self, name: str) -> None:
        for told in self._told:
            told(name)


def _with_slots(plan: _Plan) -> _Plan:
    assert isinstance(plan.ask.command, Claim)
    under = replace(plan.under, grants=plan.held)
    plan.ask = replace(plan.ask, command=replace(plan.ask.command, under=under))
    return plan


def _knows_it_failed(answer: Answer) -> bool:
    """Whether it is certain that nobody claimed. Where it is not, the slots are taken back in time."""
    return answer.outcome == "none" if isinstance(answer, Unavailable) else not isinstance(answer, Done)
