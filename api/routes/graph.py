"""The graph that chains make of tasks."""

from __future__ import annotations

from typing import Any

from litestar import get
from litestar.handlers import HTTPRouteHandler

from taskscheduler.api import operations as op
from taskscheduler.api import render_chain
from taskscheduler.api.node import Node
from taskscheduler.api.reply import Reply, json_reply
from taskscheduler.api.routes.common import Request, kept_task
from taskscheduler.api.schemas.query import Query, parameter
from taskscheduler.api.schemas.shapes import ref, whole
from taskscheduler.projections.graphs import MOST_HOPS

HOPS = 3


def handlers(node: Node) -> list[HTTPRouteHandler]:
    """The route of graphs."""

    @get(
        "/api/tasks/{task_id:str}/graph",
        opt=op.documented(
            op.Operation(
                "getGraph",
                "tasks",
                "What runs before and after a task",
                {200: op.Response("The tasks around it, and what leads from one to another.", ref("Graph"))},
                description="At most 500 tasks.",
                parameters=(
                    op.TASK_ID,
                    parameter("hops", whole(0, MOST_HOPS, default=HOPS), "How far to look, in either direction."),
                    op.TOKEN,
                ),
                problems=("invalid", "not-found", "unavailable"),
            )
        ),
    )
    async def get_graph(request: Request) -> Reply:
        view = await kept_task(node, request)
        query = Query(request.scope["query_string"])
        hops = _hops(query)
        query.end()
        query.errors.check()
        return json_reply(200, render_chain.graph(await node.queries.graphs.around(view, hops)))

    return [get_graph]


def _hops(query: Query) -> int:
    value: Any = query.take("hops")
    if value is None:
        return HOPS
    if value.isascii() and value.isdigit() and int(value[:3]) <= MOST_HOPS:
        return int(value[:3])
    query.error("hops", f"must be a whole number from 0 to {MOST_HOPS}")
    return HOPS
