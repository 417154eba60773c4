"""A check, at a low priority, that every fire time of every task is accounted for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from taskscheduler.api.metrics import Metrics
from taskscheduler.api.settings import LedgerChecks
from taskscheduler.api.values import format_instant
from taskscheduler.domain.ledger import Ledger
from taskscheduler.domain.values import SECOND, Instant
from taskscheduler.projections.filters import MAX_LIMIT, Page, TaskFilter
from taskscheduler.projections.ledgers import TaskLedger, TooMany
from taskscheduler.projections.ports import ViewsUnavailable
from taskscheduler.projections.queries import Queries
from taskscheduler.projections.task_view import TaskView

REST = 19
"""The check rests for so many times as long as it has looked: it takes a twentieth of the time."""

AT_ONCE = 2_000
"""Fire times between two rests."""

RETRY_SECONDS = 5.0

logger = structlog.get_logger("taskscheduler")


class LedgerCheck:
    """Looks at all tasks, again and again. `mine` says which are left to this process."""

    def __init__(
        self,
        queries: Queries,
        metrics: Metrics,
        settings: LedgerChecks,
        *,
        clock: Callable[[], Instant],
        mine: Callable[[str], bool] = lambda task_id: True,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._queries = queries
        self._metrics = metrics
        self._settings = settings
        self._clock = clock
        self._mine = mine
        self._sleep = sleep
        self._found_last = 0
        self._found = 0
        self._checked_at = clock()
        if settings.check_every:
            metrics.watch("ledger_differences", lambda: max(self._found, self._found_last))
            metrics.watch("ledger_check_age_seconds", lambda: max(0, self._clock() - self._checked_at) / SECOND)

    async def run(self) -> None:
        """Check every so often, for ever. Not to be run where the settings want no check."""
        while True:
            await self._sleep(self._settings.check_every / SECOND)
            await self.check()

    async def check(self) -> None:
        """Look at all tasks once."""
        self._found, tasks, cursor = 0, 0, None
        while True:
            page = await self._page(cursor)
            for view in page.items:
                if self._mine(view.id):
                    self._found += await self._look(view.id)
                    self._metrics.count_ledger()
                    tasks += 1
            cursor = page.next_cursor
            if cursor is None:
                break
        self._found_last, self._checked_at = self._found, self._clock()
        logger.debug("the ledger was checked", tasks=tasks, differing=self._found)

    async def _look(self, task_id: str) -> int:
        """How many fire times of a task differ."""
        end = self._clock()
        start, differing = end - self._settings.check_back, 0
        while start < end:
            begun = time.perf_counter()
            try:
                view = await self._queries.task(task_id)
                if view is None or view.deleted_at is not None:
                    break
                start = max(start, view.created_at)
                part, until = await self._part(view, start, end)
            except ViewsUnavailable:
                await self._sleep(RETRY_SECONDS)
                continue
            if part is not None and not part.ledger.balanced:
                differing += part.ledger.differing
                _tell(view, part.ledger)
            start = until
            await self._sleep(REST * (time.perf_counter() - begun))
        return differing

    async def _part(self, view: TaskView, start: Instant, end: Instant) -> tuple[TaskLedger | None, Instant]:
        """The ledger of as much of the range as is looked at in one go, and up to where that is."""
        ledgers, now = self._queries.ledgers, self._clock()
        try:
            return await ledgers.ledger(view, start, end, now, most=AT_ONCE), end
        except TooMany as error:
            end = max(error.until, start + 1)
            return await ledgers.ledger(view, start, end, now), end

    async def _page(self, cursor: str | None) -> Page[TaskView]:
        while True:
            try:
                return await self._queries.tasks(TaskFilter(), limit=MAX_LIMIT, cursor=cursor)
            except ViewsUnavailable:
                await self._sleep(RETRY_SECONDS)


def _tell(view: TaskView, ledger: Ledger) -> None:
    one = ledger.differences[0]
    logger.error(
        "a fire time is not accounted for exactly once",
        task=view.id,
        times=ledger.differing,
        first=format_instant(one.first),
        nominal=one.nominal,
        accounted=one.accounted,
        detail=one.detail,
    )
