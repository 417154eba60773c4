"""`task runs`, `task events` and `task watch`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from taskscheduler.api.cli.common import COMMON, Common, Limit
from taskscheduler.api.cli.output import Columns, cell, format_of, show, show_all
from taskscheduler.api.cli.views import EVENTS, RUNS

if TYPE_CHECKING:
    from taskscheduler.client import Page

_ATTEMPTS: Columns = {"attempts": lambda run: run.attempts, "result": lambda run: run.result}


def runs(
    task_id: str,
    /,
    *,
    run: Annotated[str | None, Parameter(help="Only this one, with its attempts and its result.")] = None,
    status: Annotated[str | None, Parameter(help="Such as failed.")] = None,
    cause: Annotated[str | None, Parameter(help="Such as manual or chain.")] = None,
    limit: Limit = 50,
    common: Common = COMMON,
) -> None:
    """List the runs of a task, newest first."""
    with common.client() as client:
        if run is not None:
            show(client.run(task_id, run), {**RUNS, **_ATTEMPTS}, common.output)
            return
        found = _pages(
            lambda cursor, size: client.runs(task_id, status=status, cause=cause, limit=size, cursor=cursor), limit
        )
        show_all(found, RUNS, common.output)


def events(task_id: str, /, *, limit: Limit = 200, common: Common = COMMON) -> None:
    """List what happened to a task."""
    with common.client() as client:
        found = _pages(lambda cursor, size: client.events(task_id, limit=size, cursor=cursor), limit)
        show_all(found, EVENTS, common.output)


def watch(
    task_id: Annotated[str | None, Parameter(help="Only of this task.")] = None,
    /,
    *,
    type: Annotated[str | None, Parameter(help="Only of this type, such as run.queued.v1.")] = None,
    last_event_id: Annotated[str | None, Parameter(help="Go on after this event.")] = None,
    common: Common = COMMON,
) -> None:
    """Show events as they happen, until Ctrl-C: a line each, or with `-o` something else than a table, JSON lines."""
    format = format_of(common.output)
    with common.client() as client:
        for event in client.watch(task_id=task_id, event_type=type, last_event_id=last_event_id):
            show_all([event], {}, "jsonl") if format != "table" else _line(event)


def _line(event: Any) -> None:
    from rich.console import Console
    from rich.text import Text

    data = event.data if isinstance(event.data, dict) else {}
    time, task_id, detail = data.get("time", ""), data.get("task_id", ""), data.get("data", event.data)
    Console().print(
        Text.assemble(f"{cell(time)} ", (cell(event.type), "bold"), f" {cell(task_id)} {cell(detail)}"), soft_wrap=True
    )


def _pages(page: Callable[[str | None, int], Page[Any]], limit: int) -> Iterator[Any]:
    def items() -> Iterator[Any]:
        cursor = None
        while True:
            found = page(cursor, min(limit, 200))
            yield from found.items
            cursor = found.next_cursor
            if cursor is None:
                return

    return islice(items(), limit)
