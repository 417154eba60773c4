"""The runs and the history of a task."""

from __future__ import annotations

from typing import Any

from litestar import get
from litestar.handlers import HTTPRouteHandler

from taskscheduler.api import operations as op
from taskscheduler.api import render
from taskscheduler.api.node import Node
from taskscheduler.api.problems import Problem
from taskscheduler.api.render_dead_letters import late_reports
from taskscheduler.api.reply import Reply, json_reply
from taskscheduler.api.routes.common import Request, kept_task, next_link, path_id
from taskscheduler.api.schemas.query import (
    EVENT_PARAMETERS,
    RUN_PARAMETERS,
    Query,
    read_run_filter,
)
from taskscheduler.api.schemas.shapes import Schema, ref

_KEPT = "Those of a deleted task can be read as long as they are kept."


def handlers(node: Node) -> list[HTTPRouteHandler]:
    """The routes of runs and events."""

    async def kept(request: Request) -> str:
        return (await kept_task(node, request)).id

    @get(
        "/api/tasks/{task_id:str}/runs",
        opt=_listing("listRuns", "runs", "List the runs of a task, newest first", "RunPage", RUN_PARAMETERS, True),
    )
    async def list_runs(request: Request) -> Reply:
        task_id = await kept(request)
        query = Query(request.scope["query_string"])
        filter = read_run_filter(query)
        limit, cursor = query.page()
        page = await node.queries.runs(task_id, filter, limit=limit, cursor=cursor)
        return _page(request, query, [render.run(view) for view in page.items], page.next_cursor)

    @get(
        "/api/tasks/{task_id:str}/runs/{run_id:str}",
        opt=op.documented(
            op.Operation(
                "getRun",
                "runs",
                "Read a run",
                {200: op.Response("The run.", ref("RunDetails"))},
                description=_KEPT,
                parameters=(op.TASK_ID, op.path_parameter("run_id", "The id of the run."), op.TOKEN),
                problems=("not-found", "unavailable"),
            )
        ),
    )
    async def get_run(request: Request) -> Reply:
        task_id, run_id = await kept(request), path_id(request, "run_id", "run")
        view = await node.queries.run(task_id, run_id)
        if view is None:
            raise Problem("not-found", f"the task has no run {run_id!r}, or it is no longer kept")
        late = await node.queries.letters.late(task_id, run_id)
        return json_reply(200, {**render.run(view), "late_reports": late_reports(late)})

    @get(
        "/api/tasks/{task_id:str}/events",
        opt=_listing(
            "listEvents",
            "events",
            "List the events of a task, oldest first",
            "EventPage",
            EVENT_PARAMETERS,
            True,
            "`limit` counts decisions: the events of one are never torn apart. ",
        ),
    )
    async def list_events(request: Request) -> Reply:
        task_id = await kept(request)
        query = Query(request.scope["query_string"])
        limit, cursor = query.page()
        page = await node.queries.events(task_id, limit=limit, cursor=cursor)
        items = [event for decision in page.items for event in render.events(decision)]
        return _page(request, query, items, page.next_cursor)

    return [list_runs, get_run, list_events]


def _listing(
    id: str, tag: str, summary: str, schema: str, parameters: list[Schema], of_task: bool, description: str = ""
) -> dict[str, Any]:
    return op.documented(
        op.Operation(
            id,
            tag,
            summary,
            {200: op.Response("A page.", ref(schema), ("Link",))},
            description=description + (_KEPT if of_task else ""),
            parameters=(*((op.TASK_ID,) if of_task else ()), *parameters, op.TOKEN),
            problems=("invalid", "unavailable", *(("not-found",) if of_task else ())),
        )
    )


def _page(request: Request, query: Query, items: list[dict[str, Any]], cursor: str | None) -> Reply:
    return json_reply(200, render.page(items, cursor), headers=next_link(request, query.pairs, cursor))
