"""The client for asyncio."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from datetime import date, datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from taskscheduler.client import batch, requests
from taskscheduler.client.async_letters import AsyncLetters
from taskscheduler.client.backoff import Reply, Tries
from taskscheduler.client.exchange import Exchange
from taskscheduler.client.models import (
    BackfilledTask,
    Calendar,
    CalendarSpec,
    CalendarSummary,
    Created,
    Event,
    Graph,
    Health,
    Ledger,
    Limit,
    LiveEvent,
    Operation,
    OperationPreview,
    Page,
    Preview,
    Run,
    SeenWorker,
    StartedTask,
    Task,
    TaskSpec,
    Why,
)
from taskscheduler.client.requests import Call
from taskscheduler.client.sse import EventStream
from taskscheduler.client.transport import ERRORS, Http, read

Result = TypeVar("Result")


class AsyncClient(AsyncLetters):
    """Talks to a server; `timeout` is how many seconds one call may take, all tries included.

    Every write carries an Idempotency-Key, so it is sent again after a lost connection or a 503 and still happens once.
    All methods raise ApiError (NotFound, Conflict, Invalid, Unavailable, ...). Use it in one event loop, with
    `async with`, or close it.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8080",
        *,
        timeout: float = 30.0,
        idle_timeout: float = 60.0,
        exchange: Exchange | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = Http(base_url)
        self._idle_timeout = idle_timeout
        self._exchange = exchange or Exchange(timeout)
        self._sleep = sleep

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def create_task(self, spec: TaskSpec | None = None, /, **fields: Any) -> Task:
        """Create a task from a spec, from fields as TaskSpec has them, or from a spec with some fields replaced."""
        return await self._call(requests.create_task(requests.task_spec(spec, fields)))

    async def create_tasks(self, specs: Iterable[TaskSpec]) -> list[Created]:
        """Create many tasks, a thousand per request; gives one success or error each, in order."""
        return [created for call in batch.create_tasks(specs) for created in await self._call(call)]

    async def get_task(self, task_id: str) -> Task:
        """Give the task; raises NotFound, or Gone when it was deleted."""
        return await self._call(requests.get_task(task_id))

    async def list_tasks(
        self,
        *,
        status: str | None = None,
        name: str | None = None,
        tags: Mapping[str, str] | None = None,
        calendar: str | None = None,
        due_before: datetime | None = None,
        sort: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Task]:
        """Give one page of tasks; `name` is a part of the name, `calendar` one in use, `sort` such as `-created_at`."""
        return await self._call(requests.list_tasks(status, name, tags, calendar, due_before, sort, limit, cursor))

    async def iter_tasks(
        self,
        *,
        status: str | None = None,
        name: str | None = None,
        tags: Mapping[str, str] | None = None,
        calendar: str | None = None,
        due_before: datetime | None = None,
        sort: str | None = None,
    ) -> AsyncIterator[Task]:
        """Give all tasks, page by page."""
        cursor = None
        while True:
            call = requests.list_tasks(status, name, tags, calendar, due_before, sort, 200, cursor)
            page = await self._call(call)
            for task in page.items:
                yield task
            cursor = page.next_cursor
            if cursor is None:
                return

    async def update_task(
        self,
        task_id: str,
        changes: Mapping[str, Any],
        *,
        if_match: int | str | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Change the definition (None gives a field its default back); `if_match` is the revision it must have."""
        return await self._call(requests.update_task(task_id, changes, if_match, idempotency_key))

    async def cancel(self, task_id: str, *, idempotency_key: str | None = None) -> Task:
        """Cancel the task and its active runs at once; raises Conflict when there is nothing to cancel."""
        return await self._call(requests.change_task(task_id, "cancel", idempotency_key))

    async def pause(self, task_id: str, *, note: str | None = None, idempotency_key: str | None = None) -> Task:
        """Let nothing fire until resumed."""
        return await self._call(requests.change_task(task_id, "pause", idempotency_key, note=note))

    async def resume(
        self, task_id: str, *, note: str | None = None, missed: str | None = None, idempotency_key: str | None = None
    ) -> Task:
        """End a pause; of the fire times that came in it `missed` runs the `latest`, `all` or none (`skip`)."""
        return await self._call(requests.change_task(task_id, "resume", idempotency_key, note=note, missed=missed))

    async def purge_owed(self, task_id: str, *, idempotency_key: str | None = None) -> Task:
        """Skip the fire times that wait to be caught up or for the end of a run; raises Conflict when none does."""
        return await self._call(requests.change_task(task_id, "owed/purge", idempotency_key))

    async def backfill(
        self,
        task_id: str,
        since: datetime,
        until: datetime,
        *,
        overlap: str | None = None,
        idempotency_key: str | None = None,
    ) -> BackfilledTask:
        """Run for the fire times with since ≤ time < until, which are over: one after another, or `allow_all`."""
        return await self._call(requests.backfill(task_id, since, until, overlap, idempotency_key))

    async def cancel_backfill(self, task_id: str, backfill_id: str, *, idempotency_key: str | None = None) -> Task:
        """Cancel a backfill and its active runs; raises Conflict when it has ended."""
        verb = f"backfill/{requests.segment(backfill_id)}/cancel"
        return await self._call(requests.change_task(task_id, verb, idempotency_key))

    async def retry(self, task_id: str, *, idempotency_key: str | None = None) -> StartedTask:
        """Run the last failed run again, as `run_id`; raises Conflict when there is none."""
        return await self._call(requests.start_task(task_id, "retry", idempotency_key))

    async def trigger(self, task_id: str, *, idempotency_key: str | None = None) -> StartedTask:
        """Run the task now, as `run_id`, whatever its schedule says."""
        return await self._call(requests.start_task(task_id, "trigger", idempotency_key))

    async def delete(self, task_id: str, *, idempotency_key: str | None = None) -> None:
        """Delete the task; its history is kept for the retention time."""
        await self._call(requests.delete_task(task_id, idempotency_key))

    async def runs(
        self,
        task_id: str,
        *,
        status: str | None = None,
        cause: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Run]:
        """Give one page of the task's runs, newest first, with since ≤ time < until."""
        parameters = {
            "status": status,
            "cause": cause,
            "from": since,
            "to": until,
            "limit": limit,
            "cursor": cursor,
        }
        return await self._call(requests.list_runs(task_id, parameters))

    async def run(self, task_id: str, run_id: str) -> Run:
        """Give one run with its attempts and result."""
        return await self._call(requests.get_run(task_id, run_id))

    async def events(self, task_id: str, *, limit: int | None = None, cursor: str | None = None) -> Page[Event]:
        """Give one page of what happened to the task."""
        return await self._call(requests.list_events(task_id, {"limit": limit, "cursor": cursor}))

    async def ledger(self, task_id: str, *, since: datetime | None = None, until: datetime | None = None) -> Ledger:
        """Give the fire times with since ≤ time < until, and what became of each; by default all until now.

        Raises Invalid for a range with more than 50,000 of them.
        """
        return await self._call(requests.ledger(task_id, since, until))

    async def look_at_operation(
        self,
        action: str,
        filter: Mapping[str, Any] | None = None,
        *,
        all: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> OperationPreview:
        """Count the tasks that `start_operation` would be about; nothing is changed."""
        return await self._call(requests.look_at_operation(action, filter, all, arguments))

    async def start_operation(
        self,
        action: str,
        filter: Mapping[str, Any] | None = None,
        *,
        all: bool = False,
        arguments: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Operation:
        """Do something to all tasks that the filter holds for, in the background; without a filter say `all`."""
        return await self._call(requests.start_operation(action, filter, all, arguments, idempotency_key))

    async def operation(self, operation_id: str) -> Operation:
        """Read an operation and how far it is."""
        return await self._call(requests.get_operation(operation_id))

    async def iter_operations(self) -> AsyncIterator[Operation]:
        """Give all operations, the newest first."""
        cursor = None
        while True:
            page = await self._call(requests.list_operations(None, cursor))
            for operation in page.items:
                yield operation
            cursor = page.next_cursor
            if cursor is None:
                return

    async def cancel_operation(self, operation_id: str, *, idempotency_key: str | None = None) -> Operation:
        """Let an operation go no further; raises Conflict when it has ended."""
        return await self._call(requests.cancel_operation(operation_id, idempotency_key))

    async def graph(self, task_id: str, *, hops: int | None = None) -> Graph:
        """Read what runs before and after the task, `hops` tasks far (3, if left out)."""
        return await self._call(requests.graph(task_id, hops))

    async def why(self, task_id: str, at: datetime) -> Why:
        """Say why the task did or did not run at an instant."""
        return await self._call(requests.why(task_id, at))

    async def preview(
        self,
        schedule: Mapping[str, Any],
        count: int = 10,
        *,
        after: datetime | None = None,
        until: datetime | None = None,
        task_id: str | None = None,
    ) -> Preview:
        """Give the next fire times of a schedule, with after < time ≤ until; `task_id` is for `H` in a cron."""
        return await self._call(requests.preview(schedule, count, after, until, task_id))

    async def put_calendar(
        self,
        name: str,
        spec: CalendarSpec | None = None,
        /,
        *,
        if_match: int | str | None = None,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Calendar:
        """Make a calendar, or let it be another one, from fields as CalendarSpec has them; tasks that use it follow.

        Raises Invalid for what the server cannot take, such as a country whose holidays it does not know.
        """
        wanted = requests.calendar_spec(spec, fields)
        return await self._call(requests.put_calendar(name, wanted, if_match, idempotency_key))

    async def get_calendar(
        self, name: str, *, since: date | str | None = None, until: date | str | None = None
    ) -> Calendar:
        """Give a calendar with its days from `since` to `until`, both included; raises NotFound."""
        return await self._call(requests.get_calendar(name, since, until))

    async def list_calendars(self, *, limit: int | None = None, cursor: str | None = None) -> Page[CalendarSummary]:
        """Give one page of calendars by name."""
        return await self._call(requests.list_calendars(limit, cursor))

    async def iter_calendars(self) -> AsyncIterator[CalendarSummary]:
        """Give all calendars, page by page."""
        cursor = None
        while True:
            page = await self._call(requests.list_calendars(200, cursor))
            for calendar in page.items:
                yield calendar
            cursor = page.next_cursor
            if cursor is None:
                return

    async def delete_calendar(
        self, name: str, *, if_match: int | str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Delete the calendar; raises Conflict while tasks use it."""
        await self._call(requests.delete_calendar(name, if_match, idempotency_key))

    async def list_workers(
        self,
        *,
        queue: str | None = None,
        status: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[SeenWorker]:
        """Give one page of workers by name; `status` is online, draining or gone."""
        return await self._call(requests.list_workers(queue, status, limit, cursor))

    async def get_worker(self, name: str) -> SeenWorker:
        """Give a worker as it was seen last; raises NotFound."""
        return await self._call(requests.get_worker(name))

    async def drain_worker(self, name: str) -> SeenWorker:
        """Let a worker end what runs, take no more, and leave; raises NotFound, and Conflict when it has left."""
        return await self._call(requests.drain_worker(name))

    async def put_limit(
        self,
        name: str,
        *,
        concurrency: int | None = None,
        rate: dict[str, Any] | None = None,
        note: str = "",
        if_match: int | str | None = None,
        idempotency_key: str | None = None,
    ) -> Limit:
        """Define a limit such as `queue:mail`, or let it be another; `rate` is `{"count": 100, "per": "1m"}`."""
        return await self._call(requests.put_limit(name, concurrency, rate, note, if_match, idempotency_key))

    async def get_limit(self, name: str) -> Limit:
        """Give a limit and how much of it is in use; raises NotFound."""
        return await self._call(requests.get_limit(name))

    async def list_limits(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Limit]:
        """Give one page of limits by name: those that are defined or in use."""
        return await self._call(requests.list_limits(limit, cursor))

    async def iter_limits(self) -> AsyncIterator[Limit]:
        """Give all limits, page by page."""
        cursor = None
        while True:
            page = await self._call(requests.list_limits(200, cursor))
            for limit in page.items:
                yield limit
            cursor = page.next_cursor
            if cursor is None:
                return

    async def delete_limit(
        self, name: str, *, if_match: int | str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Take a limit away; raises NotFound."""
        await self._call(requests.delete_limit(name, if_match, idempotency_key))

    async def health(self) -> Health:
        """Give the server's health, whether it is well or not; raises Unreachable when it does not answer."""
        return await self._call(requests.health())

    async def watch(
        self, *, task_id: str | None = None, event_type: str | list[str] | None = None, last_event_id: str | None = None
    ) -> AsyncIterator[LiveEvent]:
        """Give events as they happen, for ever; reconnects, and then goes on after the last event it gave.

        Raises Unreachable when the server is away for longer than the client's timeout.
        """
        stream = EventStream(last_event_id)
        tries: Tries | None = None
        while True:
            call = requests.live_events(task_id, event_type, stream.last_id)
            outcome: Reply | Exception = ConnectionError("the stream of events ended")
            try:
                connecting = self._http.stream(call.path, call.headers, self._exchange.timeout, self._idle_timeout)
                async with connecting as response:
                    if response.status == 200:
                        async for chunk in response.content.iter_any():
                            tries = None
                            for event in stream.feed(chunk):
                                yield event
                    else:
                        outcome = await read(response)
            except ERRORS as error:
                outcome = error
            stream.reconnected()
            tries = tries or self._exchange.tries()
            wait = self._exchange.wait_after(call, outcome, tries)
            if wait is None:
                self._exchange.finish(call, outcome)
                return
            await self._sleep(max(wait, stream.retry or 0.0))

    async def _call(self, call: Call[Result]) -> Result:
        tries = self._exchange.tries()
        while True:
            outcome = await self._send(call, tries.time_limit())
            wait = self._exchange.wait_after(call, outcome, tries)
            if wait is None:
                return self._exchange.finish(call, outcome)
            await self._sleep(wait)

    async def _send(self, call: Call[Result], seconds: float) -> Reply | Exception:
        try:
            return await self._http.send(call.method, call.path, call.body, self._exchange.headers(call), seconds)
        except ERRORS as error:
            return error
