"""Questions to the read models. Nothing here looks at the log or at the state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from taskscheduler.domain.calendar_days import calendars_of
from taskscheduler.domain.ids import run_id_floor
from taskscheduler.projections import calendars, cursors, limits, operations
from taskscheduler.projections.calendars import CALENDARS, CalendarView
from taskscheduler.projections.counters import BY_STATUS, COUNTERS, TOTALS, day_scope
from taskscheduler.projections.events import EVENTS, DecisionView
from taskscheduler.projections.filters import (
    ANY_RUN,
    ANY_TASK,
    DEFAULT_LIMIT,
    Page,
    RunFilter,
    TaskFilter,
)
from taskscheduler.projections.graphs import Graphs
from taskscheduler.projections.ledgers import Ledgers
from taskscheduler.projections.letters import Letters
from taskscheduler.projections.limits import LIMITS, LimitView
from taskscheduler.projections.operations import OPERATIONS, OperationView
from taskscheduler.projections.pages import CHUNK, EVERYTHING, Pages, check_limit
from taskscheduler.projections.ports import ViewReader
from taskscheduler.projections.runs import RUNS, RunView
from taskscheduler.projections.tables import Key, Table, Value
from taskscheduler.projections.task_list import (
    ALL,
    BY_CREATED,
    BY_NAME,
    BY_NEXT_FIRE,
    NEVER,
    calendar_list,
    status_list,
    tag_list,
)
from taskscheduler.projections.task_view import TASKS, TaskView
from taskscheduler.projections.whys import Whys
from taskscheduler.projections.workers import ALL as ALL_WORKERS
from taskscheduler.projections.workers import WORKERS, WorkerView

T = TypeVar("T")


class Queries(Pages):
    """Answers from a store. A `limit` outside 1 to 200 and a cursor of another query raise Invalid."""

    def __init__(self, store: ViewReader, *, examined: int | None = None) -> None:
        super().__init__(store, examined=examined)
        self.letters = Letters(store, examined=examined)
        self.ledgers = Ledgers(store)
        self.whys = Whys(store)
        self.graphs = Graphs(store)

    async def task(self, task_id: str) -> TaskView | None:
        """A task; one that was deleted has `deleted_at`. None when it never was or was purged."""
        return await self._store.get(TASKS, (task_id,))

    async def tasks(
        self, filter: TaskFilter = ANY_TASK, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> Page[TaskView]:
        """The tasks for which the filter holds, in its order."""
        check_limit(limit)
        query = "tasks " + _text(filter)
        tables: dict[str, Table[Any]] = {"created_at": BY_CREATED, "next_fire_at": BY_NEXT_FIRE, "name": BY_NAME}
        table = tables[filter.sort.removeprefix("-")]
        after = None if cursor is None else cursors.decode(query, cursor, table)
        part = None if filter.name_contains is None else filter.name_contains.casefold()
        backwards = filter.sort[0] == "-"

        async def wanted(ids: Sequence[str]) -> list[TaskView | None]:
            views = await self._many(TASKS, [(id,) for id in ids])
            return [view if view is not None and _wanted(view, filter, part) else None for view in views]

        if part is not None and self._far is not None:
            ids = await self._far.containing(BY_NAME, part)
            if ids is not None:
                views = [view for view in await wanted(ids) if view is not None]
                return _sorted(query, table, views, after, backwards=backwards, limit=limit)
        # The choice between lists may fall otherwise next time, but a cursor is a place in one of them.
        chosen = await self._list(filter) if after is None else str(after[0])
        until = (filter.due_before,) if filter.due_before is not None and table is BY_NEXT_FIRE else None

        async def pick(rows: Sequence[Any]) -> list[TaskView | None]:
            return await wanted([row.id for row in rows])

        return await self._page(
            query, table, [(chosen,)], pick, end=until, reverse=backwards, limit=limit, cursor=cursor
        )

    async def _list(self, filter: TaskFilter) -> str:
        """The list in which the fewest rows have to be looked at, as far as that is known."""
        if filter.calendar is not None:
            return calendar_list(filter.calendar)
        if filter.status is not None:
            by_status = status_list(filter.status)
            if not filter.tags:
                return by_status
            counts = await self.status_counts()
            if counts.get(filter.status, 0) <= CHUNK:
                return by_status
        if not filter.tags:
            return ALL
        by_tag = [tag_list(*tag) for tag in filter.tags]
        if len(by_tag) == 1:
            return by_tag[0]
        lengths = [len(await self._store.scan(BY_CREATED, (name,), limit=CHUNK)) for name in by_tag]
        return by_tag[lengths.index(min(lengths))]

    async def calendar(self, id: str) -> CalendarView | None:
        """A calendar, None when there is none."""
        return await self._store.get(CALENDARS, (id,))

    async def calendars(self, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[CalendarView]:
        """All calendars by name."""

        async def pick(rows: Sequence[calendars.ById]) -> list[CalendarView | None]:
            return await self._many(CALENDARS, [(row.id,) for row in rows])

        return await self._page("calendars", calendars.BY_ID, [(calendars.ALL,)], pick, limit=limit, cursor=cursor)

    async def worker(self, id: str) -> WorkerView | None:
        """A worker, None when none of that name is known."""
        return await self._store.get(WORKERS, (ALL_WORKERS,), (id,))

    async def workers(
        self, asked: Callable[[WorkerView], bool], query: str, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> Page[WorkerView]:
        """The workers that are `asked` for, by name; `query` says in words which these are."""

        async def pick(rows: Sequence[WorkerView]) -> list[WorkerView | None]:
            return [row if asked(row) else None for row in rows]

        return await self._page(f"workers {query}", WORKERS, [(ALL_WORKERS,)], pick, limit=limit, cursor=cursor)

    async def operation(self, id: str) -> OperationView | None:
        """An operation, None when there is none."""
        return await self._store.get(OPERATIONS, (id,))

    async def operations(self, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[OperationView]:
        """All operations, the newest first."""

        async def pick(rows: Sequence[operations.ByStart]) -> list[OperationView | None]:
            return await self._many(OPERATIONS, [(row.id,) for row in rows])

        return await self._page(
            "operations", operations.BY_START, [(operations.ALL,)], pick, limit=limit, cursor=cursor
        )

    async def limit(self, id: str) -> LimitView | None:
        """A limit that is defined or in use, None for any other."""
        return await self._store.get(LIMITS, (id,))

    async def limits(self, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[LimitView]:
        """All of them by name."""

        async def pick(rows: Sequence[limits.ById]) -> list[LimitView | None]:
            return await self._many(LIMITS, [(row.id,) for row in rows])

        return await self._page("limits", limits.BY_ID, [(limits.ALL,)], pick, limit=limit, cursor=cursor)

    async def run(self, task_id: str, run_id: str) -> RunView | None:
        """One run with its result, or None."""
        return await self._store.get(RUNS, (task_id,), (run_id,))

    async def runs(
        self,
        task_id: str,
        filter: RunFilter = ANY_RUN,
        *,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[RunView]:
        """The runs of a task, the one scheduled last first."""

        async def pick(rows: Sequence[RunView]) -> list[RunView | None]:
            return [
                run
                if (filter.status is None or run.status == filter.status)
                and (filter.cause is None or run.cause == filter.cause)
                else None
                for run in rows
            ]

        # No id equals a floor, so it makes no difference that the order of the table is turned around.
        start = None if filter.until is None else (run_id_floor(filter.until),)
        end = None if filter.since is None else (run_id_floor(filter.since),)
        query = f"runs {task_id} {_text(filter)}"
        return await self._page(query, RUNS, [(task_id,)], pick, start=start, end=end, limit=limit, cursor=cursor)

    async def events(
        self, task_id: str, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> Page[DecisionView]:
        """The decisions on a task, oldest first."""

        async def pick(rows: Sequence[DecisionView]) -> Sequence[DecisionView]:
            return rows

        return await self._page(f"events {task_id}", EVENTS, [(task_id,)], pick, limit=limit, cursor=cursor)

    async def status_counts(self) -> dict[str, int]:
        """How many tasks there are in each status that any ever had; deleted ones are not counted."""
        return await self._counts(BY_STATUS)

    async def totals(self) -> dict[str, int]:
        """How many runs ended how, of all times: `succeeded`, `cancelled`, `failed:<reason>`, `skipped:<reason>`."""
        return await self._counts(TOTALS)

    async def daily_totals(self, instant: int) -> dict[str, int]:
        """The same for the day (UTC) in which `instant` lies."""
        return await self._counts(day_scope(instant))

    async def _counts(self, scope: str) -> dict[str, int]:
        counts: dict[str, int] = {}
        for row in await self._store.scan(COUNTERS, (scope,), limit=EVERYTHING):
            counts[row.name] = counts.get(row.name, 0) + row.value
        return counts


def _sorted(
    query: str, table: Table[Any], views: Sequence[TaskView], after: Key | None, *, backwards: bool, limit: int
) -> Page[TaskView]:
    """The page of these tasks behind a place in the order of the table."""
    places = {view.id: (_place(table, view), view.id) for view in views}
    ordered = sorted(views, key=lambda view: places[view.id], reverse=backwards)
    if after is not None:
        last = after[1:]
        ordered = [view for view in ordered if (places[view.id] < last if backwards else last < places[view.id])]
    items = ordered[:limit]
    if len(ordered) <= limit:
        return Page(items)
    return Page(items, cursors.encode(query, (ALL, *places[items[-1].id])))


def _place(table: Table[Any], view: TaskView) -> Value:
    if table is BY_CREATED:
        return view.created_at
    if table is BY_NEXT_FIRE:
        return NEVER if view.next_fire_at is None else view.next_fire_at
    return view.definition.name


def _wanted(view: TaskView, filter: TaskFilter, part: str | None) -> bool:
    """Whether the whole filter holds: a row of a list may be older than the task it leads to."""
    return (
        view.deleted_at is None
        and (filter.status is None or view.status == filter.status)
        and (part is None or part in view.definition.name.casefold())
        and _tagged(view.definition.tags, filter.tags)
        and (filter.calendar is None or _uses(view, filter.calendar))
        and (filter.due_before is None or (view.next_fire_at is not None and view.next_fire_at < filter.due_before))
    )


def _tagged(tags: dict[str, str], wanted: Sequence[tuple[str, str]]) -> bool:
    return all(tags.get(key) == value for key, value in wanted)


def _uses(view: TaskView, calendar: str) -> bool:
    return any(one.calendar == calendar for one in calendars_of(view.definition.schedule))


def _text(filter: msgspec.Struct) -> str:
    return msgspec.json.encode(filter).decode()
