"""Questions about dead letters: lists, groups by error, the whole story of one, how many there are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import msgspec

from taskscheduler.domain.definition import Definition
from taskscheduler.domain.values import Instant
from taskscheduler.projections import cursors
from taskscheduler.projections.calendar import month_of
from taskscheduler.projections.dead_letters import (
    ALL_MONTHS,
    ALL_TYPES,
    BY_ERROR,
    DEAD_LETTERS,
    DEAD_LETTERS_OF_TASK,
    ERROR_TYPES,
    MEANT,
    MONTHS,
    RETRIED,
    DeadLetter,
    ErrorType,
    Retried,
)
from taskscheduler.projections.filters import DEFAULT_LIMIT, DeadLetterFilter, Page
from taskscheduler.projections.late_reports import LATE_REPORTS, LateReport
from taskscheduler.projections.pages import CHUNK, EVERYTHING, Pages
from taskscheduler.projections.runs import RUNS, RunView
from taskscheduler.projections.tables import Key, Table

MOST_LATE = 1_000


class DeadLetterView(msgspec.Struct, frozen=True, gc=False):
    """A run that failed for good, what its task was called and tagged with then, and the run made of it since."""

    letter: DeadLetter
    run: RunView
    retried: Retried | None = None


class Story(msgspec.Struct, frozen=True, gc=False):
    """All that is known of a dead letter. `again` is the run that was made of it last."""

    view: DeadLetterView
    definition: Definition | None
    late: tuple[LateReport, ...]
    again: RunView | None


class Group(msgspec.Struct, frozen=True, gc=False):
    """The dead letters with one type of error. `exact` is False where there are more than were counted."""

    error_type: str
    count: int
    exact: bool
    tasks: int
    first_seen: Instant
    last_seen: Instant
    last: DeadLetter


class Counted(NamedTuple):
    """How many there are; more where it is not `exact`."""

    number: int
    exact: bool


class _Where(NamedTuple):
    """The rows among which those are that a filter asks for."""

    table: Table[DeadLetter]
    partitions: Sequence[Key]
    start: Key | None = None
    end: Key | None = None


class Letters(Pages):
    """Answers from a store."""

    async def page(
        self,
        filter: DeadLetterFilter,
        *,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        oldest_first: bool = False,
    ) -> Page[DeadLetterView]:
        """Those the filter asks for, the one that failed last first; those of one task by when they were scheduled."""

        async def pick(rows: Sequence[DeadLetter]) -> list[DeadLetterView | None]:
            wanted = [row for row in rows if _asked(row, filter)]
            retried = await self._retried(wanted)
            runs = await self._many(RUNS, [(row.task_id, row.run_id) for row in wanted])
            found = {
                (row.task_id, row.run_id): DeadLetterView(row, run, since)
                for row, run, since in zip(wanted, runs, retried, strict=True)
                if run is not None and filter.retried in (None, since is not None)
            }
            return [found.get((row.task_id, row.run_id)) for row in rows]

        where = await self._where(filter)
        return await self._page(
            _query(filter, oldest_first=oldest_first),
            where.table,
            [*where.partitions][::-1] if oldest_first else where.partitions,
            pick,
            start=where.start,
            end=where.end,
            reverse=oldest_first,
            limit=limit,
            cursor=cursor,
        )

    async def story(self, task_id: str, run_id: str) -> Story | None:
        """One of them; None where the run is none, or was purged."""
        letter = await self._store.get(DEAD_LETTERS_OF_TASK, (task_id,), (run_id,))
        run = None if letter is None else await self._store.get(RUNS, (task_id,), (run_id,))
        if letter is None or run is None:
            return None
        meant = await self._store.get(MEANT, (task_id,), (run_id,))
        retried = await self._store.get(RETRIED, (task_id,), (run_id,))
        again = None if retried is None else await self._store.get(RUNS, (task_id,), (retried.by_run,))
        view = DeadLetterView(letter, run, retried)
        definition = None if meant is None else meant.definition
        return Story(view, definition, await self.late(task_id, run_id), again)

    async def late(self, task_id: str, run_id: str) -> tuple[LateReport, ...]:
        """What was reported too late about a run, by attempt."""
        behind = run_id + "\0"
        return tuple(await self._store.scan(LATE_REPORTS, (task_id,), start=(run_id,), end=(behind,), limit=MOST_LATE))

    async def count(self, filter: DeadLetterFilter, *, cursor: str | None = None) -> Counted:
        """How many the filter asks for, as far as one call looks.

        `cursor` is one of a page with the oldest first and with no word on retries: those behind it are counted.
        """
        count = examined = 0
        place: Key | None = None
        if cursor is not None:
            asked = msgspec.structs.replace(filter, retried=None)
            place = cursors.decode(_query(asked, oldest_first=True), cursor, (await self._where(filter)).table)
        async for rows, wanted in self._chunks(filter, oldest_first=cursor is not None, behind=place):
            count += len(wanted)
            examined += len(rows)
            if examined >= self._examined:
                return Counted(count, False)
        return Counted(count, True)

    async def groups(
        self, filter: DeadLetterFilter, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> Page[Group]:
        """Those the filter asks for, by the type of their error."""

        async def pick(rows: Sequence[ErrorType]) -> list[Group | None]:
            most = max(CHUNK, self._examined // len(rows))
            return [await self._group(_of_type(filter, row.error_type), most) for row in rows]

        if filter.error_type is not None:
            one = await self._group(filter, self._examined)
            return Page([] if one is None else [one])
        query = "groups of dead letters " + msgspec.json.encode(filter).decode()
        return await self._page(query, ERROR_TYPES, [(ALL_TYPES,)], pick, limit=limit, cursor=cursor)

    async def _group(self, filter: DeadLetterFilter, most: int) -> Group | None:
        last: DeadLetter | None = None
        first_seen = count = examined = 0
        exact, tasks = True, set[str]()
        async for rows, wanted in self._chunks(filter):
            for row in wanted:
                last = row if last is None or row.finished_at > last.finished_at else last
                first_seen = min(first_seen or row.finished_at, row.finished_at)
                tasks.add(row.task_id)
            count += len(wanted)
            examined += len(rows)
            if examined >= most:
                exact = False
                break
        if last is None:
            return None
        if not exact and filter.task_id is None:
            # What was not counted is older.
            async for _, wanted in self._chunks(filter, oldest_first=True):
                if wanted:
                    first_seen = wanted[0].finished_at
                    break
        return Group(filter.error_type or "", count, exact, len(tasks), first_seen, last.finished_at, last)

    async def _chunks(
        self, filter: DeadLetterFilter, *, oldest_first: bool = False, behind: Key | None = None
    ) -> AsyncIterator[tuple[list[DeadLetter], list[DeadLetter]]]:
        """Rows as they lie, and those among them that the filter asks for; those behind a whole key, if it is given."""
        where = await self._where(filter)
        width = len(where.table.partition)
        partitions = [*where.partitions][::-1] if oldest_first else [*where.partitions]
        if behind is not None:
            partitions = partitions[partitions.index(behind[:width]) :] if behind[:width] in partitions else []
        for partition in partitions:
            after = None if behind is None or partition != behind[:width] else behind[width:]
            while True:
                rows = await self._store.scan(
                    where.table,
                    partition,
                    start=where.start,
                    end=where.end,
                    after=after,
                    reverse=oldest_first,
                    limit=CHUNK,
                )
                wanted = [row for row in rows if _asked(row, filter)]
                if filter.retried is not None:
                    retried = await self._retried(wanted)
                    pairs = zip(wanted, retried, strict=True)
                    wanted = [row for row, since in pairs if filter.retried == (since is not None)]
                if rows:
                    yield rows, wanted
                if len(rows) < CHUNK:
                    break
                after = where.table.key(rows[-1])[width:]
                await asyncio.sleep(0)  # a long look must not hold up what is due

    async def _retried(self, rows: Sequence[DeadLetter]) -> list[Retried | None]:
        return await self._many(RETRIED, [(row.task_id, row.run_id) for row in rows])

    async def _where(self, filter: DeadLetterFilter) -> _Where:
        if filter.task_id is not None:
            return _Where(DEAD_LETTERS_OF_TASK, [(filter.task_id,)])
        since, until = filter.since, filter.until
        # Within a partition the latest come first.
        start, end = None if until is None else (until - 1,), None if since is None else (since - 1,)
        if filter.error_type is not None:
            return _Where(BY_ERROR, [(filter.error_type,)], start, end)
        months = [row.month for row in await self._store.scan(MONTHS, (ALL_MONTHS,), limit=EVERYTHING)]
        partitions: list[Key] = [
            (month,)
            for month in months
            if (since is None or month >= month_of(since)) and (until is None or month <= month_of(until))
        ]
        return _Where(DEAD_LETTERS, partitions, start, end)


def _asked(row: DeadLetter, filter: DeadLetterFilter) -> bool:
    return (
        (filter.error_type is None or row.error_type == filter.error_type)
        and (filter.since is None or row.finished_at >= filter.since)
        and (filter.until is None or row.finished_at < filter.until)
        and all(row.tags.get(key) == value for key, value in filter.tags)
    )


def _query(filter: DeadLetterFilter, *, oldest_first: bool) -> str:
    return f"dead letters {'oldest ' if oldest_first else ''}{msgspec.json.encode(filter).decode()}"


def _of_type(filter: DeadLetterFilter, error_type: str) -> DeadLetterFilter:
    return msgspec.structs.replace(filter, error_type=error_type)
