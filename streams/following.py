"""When a calendar changes, every task that uses it follows.

What is left to do is derived from state, never from notifications: a task follows when it goes by an older version
than the calendar has. That shows when the later of the two records is folded, the calendar's or the task's, whichever
that is; and a process that starts, or is given more partitions, looks at all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping

from taskscheduler.commands.handler import Ask, CommandHandler, Unavailable
from taskscheduler.domain.excluded import ExceptCalendar
from taskscheduler.domain.messages import Follow
from taskscheduler.streams.calendar_uses import CalendarUses
from taskscheduler.streams.looking import ACTOR, PAUSE, set_within

BATCH = 32
"""Tasks that are asked at once: others have their turn in between, and one that leaves out a lot takes a while."""


class Following:
    """Brings the tasks of some partitions up to the calendars that they use. `run` is its loop."""

    def __init__(
        self, uses: Mapping[int, CalendarUses], handler: CommandHandler, mine: Callable[[], Collection[int]]
    ) -> None:
        self._uses = uses
        self._handler = handler
        self._mine = mine
        self._marked: dict[str, None] = {}
        self._changed = asyncio.Event()
        for one in uses.values():
            one.defined = self._mark
            one.used = self._used

    async def run(self) -> None:
        """Until cancelled."""
        mine: frozenset[int] = frozenset()
        while True:
            now_mine = frozenset(self._mine())
            for partition in now_mine - mine:
                self._marked |= dict.fromkeys(self._uses[partition].calendars())
            mine = now_mine
            if not await self._work(mine):
                await asyncio.sleep(PAUSE)
                continue
            await set_within(self._changed)
            self._changed.clear()

    async def _work(self, mine: Collection[int]) -> bool:
        """Bring up all tasks that are behind; whether that could be done."""
        while self._marked:
            calendar = next(iter(self._marked))
            del self._marked[calendar]
            for partition in mine:
                if not await self._bring_up(calendar, self._uses[partition]):
                    self._mark(calendar)
                    return False
        return True

    async def _bring_up(self, calendar: str, uses: CalendarUses) -> bool:
        after = ""
        while some := uses.of(calendar, after, BATCH):
            after = some[-1].task_id
            state = self._handler.calendar(calendar)
            if state.resolved is None:
                return True  # it was deleted: tasks keep the days that it had
            newest = ExceptCalendar(calendar, state.defined, state.resolved.days)
            cause = f"{state.id}@{state.defined}"
            asks = [
                Ask(use.task_id, Follow(newest), ACTOR, cause=cause) for use in some if use.version < newest.version
            ]
            answers = await self._handler.handle_many(asks)
            if any(isinstance(answer, Unavailable) for answer in answers):
                return False
        return True

    def _used(self, calendar: str, version: int) -> None:
        if self._handler.calendar(calendar).defined > version:
            self._mark(calendar)

    def _mark(self, calendar: str) -> None:
        self._marked[calendar] = None
        self._changed.set()
