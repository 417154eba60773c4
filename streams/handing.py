"""Runs that somebody waits for are claimed in the decision that makes them.

A trigger makes a run, which waits in a lane, which wakes a holder, which claims: two decisions, one after the other.
Where a holder has found nothing to take and the state says which run will be made, its claim goes along in place of
the trigger, since every command first settles what is due. That is one decision, and the run begins a write sooner.

What turns out otherwise is refused, changes nothing, and is triggered and claimed as ever. Where limits are defined, or
the task names one, slots have to be granted first, and nothing is handed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from taskscheduler.commands.handler import Answer, Ask, CommandHandler, Unavailable
from taskscheduler.domain.definition import Lane, lane_of
from taskscheduler.domain.entities import Entity
from taskscheduler.domain.errors import DomainError
from taskscheduler.domain.ids import run_id
from taskscheduler.domain.state import Task
from taskscheduler.domain.values import Instant
from taskscheduler.streams.claimable import Claimable
from taskscheduler.streams.limiter import Limiter

MOST = 1_024
"""Runs of a lane that are handed over from one batch of triggers."""


class Handed(NamedTuple):
    """A claim on a run that was not made yet, and what became of it."""

    lane: Lane
    item: Claimable
    ask: Ask
    answer: Answer


class Hands:
    """A holder that waits, with room for so many runs. `claim` makes its claim on one; `told` hears what became of all.

    It keeps itself ready until it was told.
    """

    __slots__ = ("claim", "room", "told")

    def __init__(
        self, room: int, claim: Callable[[Lane, Claimable], Ask], told: Callable[[Sequence[Handed]], None]
    ) -> None:
        self.room = room
        self.claim = claim
        self.told = told


class Taker(Protocol):
    """Knows the holders of some lanes."""

    def hands(self, lane: Lane) -> Hands | None:
        """One that waits for runs of the lane and has room, if there is one. At least one claim follows at once."""
        ...


class Spare(Protocol):
    """Knows what waits to be claimed."""

    def spare(self, lane: Lane, most: int) -> int:
        """How many runs of the lane, up to `most`, would be taken before all that wait and are held up by nothing."""
        ...


class Handing:
    """Turns triggers into claims where somebody waits for what they will make."""

    def __init__(self, handler: CommandHandler, waiting: Spare, limiter: Limiter, *, seed: Callable[[], int]) -> None:
        self._handler = handler
        self._waiting = waiting
        self._limiter = limiter
        self._seed = seed
        self.takers: list[Taker] = []

    def submit(self, wakes: Sequence[Ask], done: Callable[[list[Ask]], None]) -> None:
        """Have at least one trigger decided; `done` is called with those that still are to be.

        That are those for which a claim was refused, and those without a verdict.
        """
        asks, claims = list(wakes), list[_Claim]()
        if self.takers and not self._limiter.defined:
            claims = self._claims(asks)

        def answered(answers: list[Answer]) -> None:
            left = [wake for wake, answer in zip(wakes, answers, strict=True) if isinstance(answer, Unavailable)]
            told: dict[Hands, list[Handed]] = {}
            for place, hands, lane, item in claims:
                answer = answers[place]
                told.setdefault(hands, []).append(Handed(lane, item, asks[place], answer))
                if isinstance(answer, DomainError):
                    left.append(wakes[place])
            for hands, given in told.items():
                hands.told(given)
            done(left)

        self._handler.submit(asks, answered)

    async def ask(self, wakes: Sequence[Ask]) -> list[Ask]:
        """The same, for who waits for it. Being cancelled parts nobody from what was claimed for them."""
        left: asyncio.Future[list[Ask]] = asyncio.get_running_loop().create_future()
        self.submit(wakes, lambda asks: None if left.done() else left.set_result(asks))
        return await left

    def _claims(self, asks: list[Ask]) -> list[_Claim]:
        """Put claims in the place of those asks for which there are hands."""
        claims: list[_Claim] = []
        spare: dict[Lane, int] = {}
        ready: dict[Lane, Hands] = {}
        for place, wake in enumerate(asks):
            lane = _foreseen(self._handler.entity(wake.task_id), wake.due_at)
            if lane is None:
                continue
            left = spare[lane] if lane in spare else self._waiting.spare(lane, MOST)
            spare[lane] = max(0, left - 1)
            if left <= 0:
                continue
            hands = ready.get(lane)
            if hands is None or not hands.room:
                hands = self._hands(lane)
                if hands is None:
                    spare[lane] = 0
                    continue
                ready[lane] = hands
            hands.room -= 1
            seed = self._seed()
            item = Claimable(wake.due_at, wake.task_id, run_id(wake.due_at, seed, 0))
            asks[place] = replace(hands.claim(lane, item), due_at=wake.due_at, seed=seed, cause=wake.cause)
            claims.append(_Claim(place, hands, lane, item))
        return claims

    def _hands(self, lane: Lane) -> Hands | None:
        for taker in self.takers:
            if (hands := taker.hands(lane)) is not None:
                return hands
        return None


class _Claim(NamedTuple):
    place: int
    hands: Hands
    lane: Lane
    item: Claimable


def _foreseen(task: Entity, due_at: Instant) -> Lane | None:
    """Where the one run would wait that the task will make when it is due, where it is as simple as that."""
    if not isinstance(task, Task) or (definition := task.definition) is None:
        return None
    if task.next_fire != due_at or task.pause is not None or task.runs:
        return None
    lane = lane_of(definition)
    return None if lane.key else lane
