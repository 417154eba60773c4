"""Operations over many tasks: looked at, started, watched, cancelled."""

from __future__ import annotations

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from msgspec.structs import replace

from taskscheduler.api import operations as op
from taskscheduler.api import render_bulk
from taskscheduler.api.body import read_object
from taskscheduler.api.headers import id_of_key, idempotency_key, key_of, new_id
from taskscheduler.api.node import Node
from taskscheduler.api.reply import Reply, json_reply
from taskscheduler.api.routes.changing import no_fields
from taskscheduler.api.routes.common import REPLAYED, Request, consistency, next_link, path_id
from taskscheduler.api.schemas.bulk import COUNTED, SAMPLE, read_bulk
from taskscheduler.api.schemas.fields import Errors, Fields
from taskscheduler.api.schemas.query import PAGE_PARAMETERS, Query
from taskscheduler.api.schemas.shapes import ref
from taskscheduler.api.tracing import trace_parent
from taskscheduler.commands.handler import Done
from taskscheduler.domain.errors import OperationNotFound
from taskscheduler.domain.messages import CancelOperation, StartOperation
from taskscheduler.domain.operation import operation_id
from taskscheduler.domain.operation_definition import OperationDefinition
from taskscheduler.domain.selecting import holds
from taskscheduler.projections.filters import MAX_LIMIT
from taskscheduler.projections.operations import view_of
from taskscheduler.projections.task_view import TaskView
from taskscheduler.streams.operations import filter_of

ID = op.path_parameter("operation_id", "The id of the operation.")
_HEADERS = ("Consistency-Token", "Idempotent-Replayed")


def handlers(node: Node) -> list[HTTPRouteHandler]:
    """The routes of operations."""

    async def look(definition: OperationDefinition) -> tuple[int, bool, list[TaskView]]:
        """How many tasks are meant, whether there are more than were counted, and some of them."""
        selection, filter = definition.selection, filter_of(definition)
        if selection.ids:
            states = [node.handler.state(task_id) for task_id in selection.ids]
            meant = [state.id for state in states if holds(selection, state, node.clock())]
            views = [await node.queries.task(task_id) for task_id in meant[:SAMPLE]]
            return len(meant), False, [view for view in views if view is not None]
        matched, cursor, sample = 0, None, list[TaskView]()
        while matched < COUNTED:
            page = await node.queries.tasks(filter, limit=MAX_LIMIT, cursor=cursor)
            sample += page.items[: SAMPLE - len(sample)]
            matched += len(page.items)
            if (cursor := page.next_cursor) is None:
                break
        return matched, cursor is not None, sample

    @post(
        "/api/operations",
        status_code=200,
        opt=op.documented(
            op.Operation(
                "startOperation",
                "operations",
                "Do something to many tasks, or see to how many it would be done",
                {
                    200: op.Response("What it would be about: nothing was changed.", ref("OperationPreview")),
                    202: op.Response("It was started.", ref("Operation"), ("Location", *_HEADERS)),
                },
                description="Without `execute` nothing is changed. With it the operation goes on in the background, in "
                "the order in which the tasks were made; tasks that are made later, or that the filter does not hold "
                "for any more when their turn comes, are left alone.",
                parameters=(op.KEY, op.TRACE, op.TOKEN),
                body="OperationIn",
                problems=("conflict", *op.ON_WRITE),
            )
        ),
    )
    async def start_operation(request: Request) -> Reply:
        body, deep = await read_object(request)
        errors = Errors(deep)
        asked = read_bulk(Fields(body, "", errors))
        given = idempotency_key(request, errors)
        errors.check()
        matched, more, sample = await look(asked.definition)
        if not asked.execute:
            return json_reply(200, render_bulk.preview(matched, more, sample))
        name = new_id(node.clock()) if given is None else id_of_key(given)
        definition = replace(asked.definition, expected=matched, expected_more=more)
        done = await node.handler.handle(
            operation_id(name),
            StartOperation(definition),
            key=key_of(given, "POST", "/api/operations", body),
            trace=trace_parent.get(),
        )
        return _changed(done, 202)

    def _changed(done: Done, status: int) -> Reply:
        operation = done.decided.operation
        if not operation.exists:  # it was forgotten since the request was made that this one repeats
            raise OperationNotFound(f"the operation {operation.name!r} is no longer kept")
        headers = consistency(done.token) + (REPLAYED if done.decided.replayed is not None else ())
        if status == 202:
            headers += ((b"location", f"/api/operations/{operation.name}".encode()),)
        return json_reply(status, render_bulk.operation(view_of(operation)), headers=headers)

    @get(
        "/api/operations",
        opt=op.documented(
            op.Operation(
                "listOperations",
                "operations",
                "List operations, the newest first",
                {200: op.Response("A page of operations.", ref("OperationPage"), ("Link",))},
                description="Those that have ended are kept as long as finished runs are.",
                parameters=(*PAGE_PARAMETERS, op.TOKEN),
                problems=("invalid", "unavailable"),
            )
        ),
    )
    async def list_operations(request: Request) -> Reply:
        query = Query(request.scope["query_string"])
        limit, cursor = query.page()
        page = await node.queries.operations(limit=limit, cursor=cursor)
        content = {"items": [render_bulk.operation(view) for view in page.items], "next_cursor": page.next_cursor}
        return json_reply(200, content, headers=next_link(request, query.pairs, page.next_cursor))

    @get(
        "/api/operations/{operation_id:str}",
        opt=op.documented(
            op.Operation(
                "getOperation",
                "operations",
                "Read an operation and how far it is",
                {200: op.Response("The operation.", ref("Operation"))},
                parameters=(ID, op.TOKEN),
                problems=("not-found", "unavailable"),
            )
        ),
    )
    async def get_operation(request: Request) -> Reply:
        name = path_id(request, "operation_id", "operation")
        view = await node.queries.operation(operation_id(name))
        if view is None:
            raise OperationNotFound(f"there is no operation {name!r}, or it is no longer kept")
        return json_reply(200, render_bulk.operation(view))

    @post(
        "/api/operations/{operation_id:str}/cancel",
        status_code=200,
        opt=op.documented(
            op.Operation(
                "cancelOperation",
                "operations",
                "Let an operation go no further",
                {200: op.Response("The operation.", ref("Operation"), _HEADERS)},
                description="Up to 100 tasks of which it has begun are still done; what was done stays.",
                parameters=(ID, op.KEY, op.TRACE),
                body="EmptyIn",
                body_required=False,
                problems=("not-found", "conflict", *op.ON_WRITE),
            )
        ),
    )
    async def cancel_operation(request: Request) -> Reply:
        name = path_id(request, "operation_id", "operation")
        body = await no_fields(request)
        errors = Errors()
        key = key_of(idempotency_key(request, errors), "POST", f"/api/operations/{name}/cancel", body)
        errors.check()
        done = await node.handler.handle(operation_id(name), CancelOperation(), key=key, trace=trace_parent.get())
        return _changed(done, 200)

    return [start_operation, list_operations, get_operation, cancel_operation]
