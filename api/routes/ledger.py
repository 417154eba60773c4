"""The ledger of a task's fire times, and why it did or did not run at an instant."""

from __future__ import annotations

from litestar import get
from litestar.handlers import HTTPRouteHandler

from taskscheduler.api import operations as op
from taskscheduler.api import render_ledger
from taskscheduler.api.node import Node
from taskscheduler.api.problems import FieldError, invalid
from taskscheduler.api.reply import Reply, json_reply
from taskscheduler.api.routes.common import Request, kept_task
from taskscheduler.api.schemas.ledger import LEDGER_PARAMETERS, WHY_PARAMETERS
from taskscheduler.api.schemas.query import Query
from taskscheduler.api.schemas.shapes import ref
from taskscheduler.api.values import format_instant
from taskscheduler.domain.errors import TaskNotFound
from taskscheduler.projections.ledgers import TooMany


def handlers(node: Node) -> list[HTTPRouteHandler]:
    """The routes that explain what became of fire times."""

    @get(
        "/api/tasks/{task_id:str}/ledger",
        opt=op.documented(
            op.Operation(
                "getLedger",
                "tasks",
                "Hold the fire times that a task's schedules name against what became of them",
                {200: op.Response("The ledger.", ref("Ledger"))},
                description=(
                    "`nominal` counts the fire times in from ≤ t < to that follow from the definitions alone. Each is "
                    "fired, caught up, skipped, `owed` (it waits in a backlog), `pending` (it has come, and is settled "
                    "next, or when a pause ends) or `to_come`; where one is none of these, or more than one, "
                    "`differences` names it. Ranges with more than 50,000 fire times are refused."
                ),
                parameters=(op.TASK_ID, *LEDGER_PARAMETERS, op.TOKEN),
                problems=("invalid", "not-found", "unavailable"),
            )
        ),
    )
    async def get_ledger(request: Request) -> Reply:
        view = await kept_task(node, request)
        query = Query(request.scope["query_string"])
        start, end = query.instant("from"), query.instant("to")
        query.end()
        query.errors.check()
        try:
            found = await node.queries.ledgers.ledger(view, start, end, node.clock())
        except TooMany as error:
            part = f"{error.detail}; ask for a part of it, such as up to {format_instant(error.until)}"
            raise invalid([FieldError("/to", part)]) from None
        if found is None:
            raise TaskNotFound(f"there is no task {view.id!r}")
        return json_reply(200, render_ledger.ledger(view.id, found))

    @get(
        "/api/tasks/{task_id:str}/why",
        opt=op.documented(
            op.Operation(
                "getWhy",
                "tasks",
                "Why a task did or did not run at an instant",
                {200: op.Response("The answer, and the events behind it.", ref("Why"))},
                description="`at` is a fire time, by its name or as jitter put it off, or any other instant.",
                parameters=(op.TASK_ID, *WHY_PARAMETERS, op.TOKEN),
                problems=("invalid", "not-found", "unavailable"),
            )
        ),
    )
    async def get_why(request: Request) -> Reply:
        view = await kept_task(node, request)
        query = Query(request.scope["query_string"])
        query.required("at")
        at = query.instant("at")
        query.end()
        query.errors.check()
        assert at is not None
        found = await node.queries.whys.why(view, at, node.clock())
        return json_reply(200, render_ledger.why(found, view))

    return [get_ledger, get_why]
