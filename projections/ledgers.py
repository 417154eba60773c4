"""Ledgers of tasks, asked of the read models. A question costs by the range it is about, not by the task's past."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from taskscheduler.domain.errors import Invalid
from taskscheduler.domain.events import Backlog
from taskscheduler.domain.ids import run_id_floor
from taskscheduler.domain.ledger import Balance, Era, Ledger, Open, Settled
from taskscheduler.domain.schedule import count_between
from taskscheduler.domain.values import DAY, MINUTE, Instant
from taskscheduler.projections.ledger_rows import (
    BACKFILLED,
    CHANGES,
    FOLLOWED,
    KEPT,
    STRETCHES,
    Backfilled,
    ScheduleChange,
    eras_of,
    settled_in,
    settled_of,
)
from taskscheduler.projections.ports import ViewReader
from taskscheduler.projections.runs import RUNS, RunView
from taskscheduler.projections.tables import Key
from taskscheduler.projections.task_view import TASKS, TaskView

MOST_FIRE_TIMES = 50_000
"""Nominal times in the range of one question."""

MOST_ROWS = 100_000
"""Rows of runs in it, those beside the schedule included."""

LONGEST = 3_653 * DAY
"""The longest range: ten years."""

FORGOTTEN = 15 * MINUTE
"""How long a fire time may have come without a decision: a trigger is given again after ten minutes at the latest."""

MOST_FOLLOWED = 20
"""Changes of calendars before a range that are looked through."""

_CHUNK = 500
_BREATH = 200
"""After so many fire times what is due gets its turn."""

_LOOKS = 3
_BETWEEN = 0.2
"""Seconds until a difference is looked at again: rows of one decision may come one after another."""


class TaskLedger(NamedTuple):
    """The ledger of a task over start <= nominal time < end.

    `known_from` is set where what lies before is no longer kept: the sums begin there. `backfilled` runs made good for
    fire times that had been settled otherwise, and are no part of the sum.
    """

    start: Instant
    end: Instant
    known_from: Instant | None
    ledger: Ledger
    backfilled: int = 0


class _Moved(Exception):
    """The task was changed while it was looked at."""


class Ledgers:
    """Answers from a store of read models."""

    def __init__(self, store: ViewReader) -> None:
        self._store = store

    async def ledger(
        self,
        view: TaskView,
        start: Instant | None,
        end: Instant | None,
        now: Instant,
        *,
        most: int = MOST_FIRE_TIMES,
    ) -> TaskLedger | None:
        """The ledger of a task that was read just now; by default from its creation until now.

        None when the task is gone meanwhile. Raises Invalid for a range that ends before it begins or is too long.
        """
        start, end = view.created_at if start is None else start, now if end is None else end
        if end < start:
            raise Invalid("/to", "lies before `from`")
        if end - start > LONGEST:
            raise Invalid("/to", f"lies more than {LONGEST // DAY} days after `from`; ask for a part of the range")
        found = None
        for look in range(_LOOKS):
            if look:
                await asyncio.sleep(_BETWEEN)
                again = await self._store.get(TASKS, (view.id,))
                if again is None:
                    return None
                view = again
            try:
                found = await self._look(view, start, end, now, most)
            except _Moved:
                continue
            if found.ledger.balanced:
                break
        return found or await self._look(view, start, end, now, most, anyway=True)

    async def changes(self, task_id: str, start: Instant) -> list[ScheduleChange]:
        """What changed when the task should fire, from the last schedule that was given before `start` on.

        One with other days of a calendar has taken over what the one before it owed, so that one is looked for too.
        """
        found: list[ScheduleChange] = []
        followed = 0
        after: Key | None = None
        while True:
            rows = await self._store.scan(CHANGES, (task_id,), end=(start,), after=after, reverse=True, limit=_CHUNK)
            for row in rows:
                found.append(row)
                followed += row.type == FOLLOWED
                if row.schedule is not None and (row.type != FOLLOWED or followed > MOST_FOLLOWED):
                    break
            else:
                if len(rows) == _CHUNK:
                    after = CHANGES.key(rows[-1])[1:]
                    continue
            break
        found.reverse()
        after = None
        while rows := await self._store.scan(CHANGES, (task_id,), start=(start,), after=after, limit=_CHUNK):
            found += rows
            after = CHANGES.key(rows[-1])[1:]
        return found

    async def _look(
        self, view: TaskView, asked: Instant, end: Instant, now: Instant, most: int, anyway: bool = False
    ) -> TaskLedger:
        task_id = view.id
        kept = await self._store.get(KEPT, (task_id,))
        known_from = None if kept is None or kept.since <= asked else kept.since
        start = asked if known_from is None else min(known_from, end)
        changes = await self.changes(task_id, start)
        if changes and changes[-1].version > view.version and not anyway:
            raise _Moved
        eras = eras_of(changes)
        _check_size(eras, start, end, most)
        settled = await self._settled(task_id, eras, start, end)
        if (await self._latest(task_id)) != (changes[-1] if changes else None) and not anyway:
            raise _Moved
        backlog = None if view.owed is None else Backlog(view.owed.since, view.owed.until)
        forgotten = now - FORGOTTEN if view.pause is None else None
        balance = Balance(eras, start, end, Open(now, view.due_at, backlog, forgotten))
        for begin in range(0, len(settled), _BREATH):
            balance.settle(settled[begin : begin + _BREATH])
            await asyncio.sleep(0)
        return TaskLedger(asked, end, known_from, balance.close(), await self._backfilled(task_id, start, end))

    async def _latest(self, task_id: str) -> ScheduleChange | None:
        rows = await self._store.scan(CHANGES, (task_id,), reverse=True, limit=1)
        return rows[0] if rows else None

    async def _settled(self, task_id: str, eras: Sequence[Era], start: Instant, end: Instant) -> list[Settled]:
        settled: list[Settled] = []
        jitter = max((era.schedule.jitter for era in eras), default=0)
        async for run in self.runs(task_id, start, end + jitter):
            if (one := settled_of(run)) is not None:
                settled.append(one)
        after: Key | None = None
        while rows := await self._store.scan(STRETCHES, (task_id,), start=(start,), after=after, limit=_CHUNK):
            settled += [settled_in(row) for row in rows if row.nominal_at < end]
            if rows[-1].nominal_at >= end:
                break
            after = STRETCHES.key(rows[-1])[1:]
        settled.sort(key=lambda one: one.first)
        return settled

    async def backfills(self, task_id: str) -> AsyncIterator[Backfilled]:
        """The backfills of a task that have made runs."""
        after: Key | None = None
        while rows := await self._store.scan(BACKFILLED, (task_id,), after=after, limit=_CHUNK):
            for row in rows:
                yield row
            after = (rows[-1].id,)

    async def _backfilled(self, task_id: str, start: Instant, end: Instant) -> int:
        made = 0
        async for row in self.backfills(task_id):
            made += count_between(row.schedule, max(start, row.start), min(end, row.until))
        return made

    async def runs(self, task_id: str, start: Instant, end: Instant) -> AsyncIterator[RunView]:
        """The runs scheduled at start <= t < end, the earliest first. Raises TooMany."""
        # The order of the table is turned around.
        low, high = (run_id_floor(end),), (run_id_floor(start),)
        after: Key | None = None
        examined = 0
        while True:
            rows = await self._store.scan(
                RUNS, (task_id,), start=low, end=high, after=after, reverse=True, limit=_CHUNK
            )
            for row in rows:
                yield row
            if len(rows) < _CHUNK:
                return
            examined += len(rows)
            if examined >= MOST_ROWS:
                raise TooMany(examined, MOST_ROWS, rows[-1].scheduled_for)
            after = (rows[-1].id,)
            await asyncio.sleep(0)


def _check_size(eras: Sequence[Era], start: Instant, end: Instant, most: int) -> None:
    def count(until: Instant) -> int:
        return sum(era.count(start, until) for era in eras)

    if (total := count(end)) <= most:
        return
    low, high = start, end
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= most else (low, middle)
    raise TooMany(total, most, low)


class TooMany(Invalid):
    """The range holds more than one answer can be about; up to `until` it does not."""

    def __init__(self, found: int, most: int, until: Instant) -> None:
        self.found, self.most, self.until = found, most, until
        super().__init__(
            "/to", f"the range holds {found} fire times or runs and more than {most} are not counted at once"
        )
