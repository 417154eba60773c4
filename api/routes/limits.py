"""Limits: how many attempts may be active at once, and how fast they may begin."""

from __future__ import annotations

from urllib.parse import quote, unquote

from litestar import delete, get, put
from litestar.handlers import HTTPRouteHandler

from taskscheduler.api import operations as op
from taskscheduler.api import render_limit as render
from taskscheduler.api.body import read_object
from taskscheduler.api.headers import idempotency_key, key_of
from taskscheduler.api.node import Node
from taskscheduler.api.reply import Reply, json_reply
from taskscheduler.api.routes.common import Request, etag, next_link, put_headers, version_asked, was_made, written
from taskscheduler.api.schemas.fields import Errors, Fields
from taskscheduler.api.schemas.limit import read_limit, read_name
from taskscheduler.api.schemas.query import PAGE_PARAMETERS, Query
from taskscheduler.api.schemas.shapes import ref
from taskscheduler.api.tracing import trace_parent
from taskscheduler.domain.errors import LimitNotFound
from taskscheduler.domain.events import LimitDefined
from taskscheduler.domain.limit_definition import limit_id
from taskscheduler.domain.messages import DefineLimit, DeleteLimit
from taskscheduler.projections.limits import view_of

NAME = op.path_parameter("name", "`queue:<queue>`, `tag:<key>=<value>`, `key:<concurrency key>` or `host:<host>`.")
_HEADERS = ("ETag", "Consistency-Token", "Idempotent-Replayed")


def handlers(node: Node) -> list[HTTPRouteHandler]:
    """The routes of limits."""

    @put(
        "/api/limits/{name:path}",
        status_code=200,
        opt=op.documented(
            op.Operation(
                "putLimit",
                "limits",
                "Define a limit, or let it be another one",
                {
                    200: op.Response("It was defined already.", ref("Limit"), _HEADERS),
                    201: op.Response("It is defined now.", ref("Limit"), ("Location", *_HEADERS)),
                },
                description="It holds for attempts that are claimed from now on. What runs already goes on; where "
                "more is in use than the limit allows, nothing begins until it fits.",
                parameters=(NAME, op.IF_MATCH, op.KEY, op.TRACE),
                body="LimitIn",
                problems=("not-found", "revision-mismatch", *op.ON_WRITE),
            )
        ),
    )
    async def put_limit(request: Request) -> Reply:
        name = _name(request)
        body, _ = await read_object(request)
        errors = Errors()
        definition = read_limit(Fields(body, "", errors))
        key = key_of(idempotency_key(request, errors), "PUT", f"/api/limits/{name}", body)
        errors.check()
        match = version_asked(request, node.handler.limit(name).in_force)
        command = DefineLimit(definition)
        done = await node.handler.handle(limit_id(name), command, key=key, if_match=match, trace=trace_parent.get())
        limit = done.decided.limit
        if not limit.exists:  # it was deleted since the request was made that this one repeats
            raise LimitNotFound(f"there is no limit {name!r} any more")
        created = was_made(done, limit.created_version, LimitDefined)
        headers = put_headers(f"/api/limits/{quote(name, safe=':=')}", done, limit.defined, created=created)
        return json_reply(201 if created else 200, render.limit(view_of(limit)), headers=headers)

    @get(
        "/api/limits",
        opt=op.documented(
            op.Operation(
                "listLimits",
                "limits",
                "List limits by name",
                {200: op.Response("A page of limits.", ref("LimitPage"), ("Link",))},
                description="Those that are defined, and those that tasks name themselves while they are in use.",
                parameters=(*PAGE_PARAMETERS, op.TOKEN),
                problems=("invalid", "unavailable"),
            )
        ),
    )
    async def list_limits(request: Request) -> Reply:
        query = Query(request.scope["query_string"])
        limit, cursor = query.page()
        page = await node.queries.limits(limit=limit, cursor=cursor)
        content = {"items": [render.limit(view) for view in page.items], "next_cursor": page.next_cursor}
        return json_reply(200, content, headers=next_link(request, query.pairs, page.next_cursor))

    @get(
        "/api/limits/{name:path}",
        opt=op.documented(
            op.Operation(
                "getLimit",
                "limits",
                "Read a limit, and how much of it is in use",
                {200: op.Response("The limit.", ref("Limit"), ("ETag",))},
                parameters=(NAME, op.TOKEN),
                problems=("not-found", "unavailable"),
            )
        ),
    )
    async def get_limit(request: Request) -> Reply:
        name = _name(request)
        view = await node.queries.limit(limit_id(name))
        if view is None:
            raise LimitNotFound(f"there is no limit {name!r}, and no task that names it runs")
        return json_reply(200, render.limit(view), headers=etag(view.version))

    @delete(
        "/api/limits/{name:path}",
        status_code=200,
        opt=op.documented(
            op.Operation(
                "deleteLimit",
                "limits",
                "Take a limit away",
                {204: op.Response("Nothing is limited by it any more.", None, _HEADERS[1:])},
                description="What tasks say about themselves (`concurrency`) holds again.",
                parameters=(NAME, op.IF_MATCH, op.KEY, op.TRACE),
                problems=("not-found", "revision-mismatch", *op.ON_WRITE),
            )
        ),
    )
    async def delete_limit(request: Request) -> Reply:
        name = _name(request)
        errors = Errors()
        key = key_of(idempotency_key(request, errors), "DELETE", f"/api/limits/{name}", None)
        errors.check()
        match, command = version_asked(request, node.handler.limit(name).in_force), DeleteLimit()
        done = await node.handler.handle(limit_id(name), command, key=key, if_match=match, trace=trace_parent.get())
        return Reply(204, headers=written(done))

    return [put_limit, list_limits, get_limit, delete_limit]


def _name(request: Request) -> str:
    """What stands in the path as it was sent: the router makes one slash of several, and drops one at the end."""
    return read_name(unquote(request.scope["raw_path"].decode()).partition("/limits/")[2])
