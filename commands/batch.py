"""Decisions on their way to the log together, and how long anybody waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Literal

from taskscheduler.commands.asks import Waiting
from taskscheduler.domain.decided import Decided
from taskscheduler.domain.decision import Record
from taskscheduler.domain.entities import Entity


class Decision:
    """A record on its way, and who waits for it."""

    __slots__ = ("accepted", "after", "before", "record", "task_id")

    def __init__(self, record: Record, before: Entity, after: Entity, accepted: list[tuple[Waiting, Decided]]) -> None:
        self.task_id = before.id
        self.before = before
        self.after = after
        self.record = record
        self.accepted = accepted


def waiting_for(decisions: list[Decision]) -> Iterator[Waiting]:
    """Everybody who waits for one of them."""
    return (waiting for decision in decisions for waiting, _ in decision.accepted)


class Deadlines:
    """Tells who waits for a batch when their time is up, and cancels its task when nobody waits any more."""

    def __init__(self, decisions: list[Decision], give_up: Callable[[Waiting, Literal["unknown"]], None]) -> None:
        self._left = list(waiting_for(decisions))
        self._give_up = give_up
        self._task = asyncio.current_task()
        self.all_passed = False
        self._arm()

    def _arm(self) -> None:
        first = min(waiting.deadline for waiting in self._left)
        self._timer = asyncio.get_running_loop().call_at(first, self._pass)

    def _pass(self) -> None:
        now = asyncio.get_running_loop().time()
        for waiting in self._left:
            if waiting.deadline <= now:
                self._give_up(waiting, "unknown")
        self._left = [waiting for waiting in self._left if waiting.deadline > now]
        if self._left:
            self._arm()
        elif self._task is not None:
            self.all_passed = True
            self._task.cancel()

    def stop(self) -> None:
        """The batch has its verdicts."""
        self._timer.cancel()
