"""The OpenAPI document, put together from what stands beside the routes, and a page that shows it offline."""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby
from typing import Any

import msgspec
from litestar import Litestar, get
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from taskscheduler.api import docs_page
from taskscheduler.api.metrics import release
from taskscheduler.api.operations import OPTION, RESPONSE_HEADERS, Operation, Response, documented, problem_response
from taskscheduler.api.problems import KINDS
from taskscheduler.api.reply import Reply, encode
from taskscheduler.api.routes.common import Request
from taskscheduler.api.schemas import (
    actuator,
    backfill,
    bulk,
    calendar,
    dead_letter,
    ledger,
    limit,
    preview,
    task,
    views,
    work,
    worker,
)
from taskscheduler.api.schemas.shapes import Schema

TAGS = {
    "tasks": "What is to run, and when.",
    "runs": "What ran.",
    "dead letters": "What failed for good: to be looked at, run again or taken off the list.",
    "events": "The history of a task, and what happens now.",
    "schedules": "When a schedule would fire.",
    "calendars": "Days that schedules may leave out.",
    "operations": "Something that is done to many tasks, in the background.",
    "limits": "How many attempts may be active at once, and how fast they may begin.",
    "workers": "How workers get work from queues and report.",
    "actuator": "Health, metrics and build information, in the shapes of Spring Boot's actuator.",
    "documentation": "This document.",
}
COMPONENTS: dict[str, Schema] = {
    **task.COMPONENTS,
    **backfill.COMPONENTS,
    **work.COMPONENTS,
    **worker.COMPONENTS,
    **preview.COMPONENTS,
    **calendar.COMPONENTS,
    **bulk.COMPONENTS,
    **limit.COMPONENTS,
    **views.COMPONENTS,
    **dead_letter.COMPONENTS,
    **ledger.COMPONENTS,
    **actuator.COMPONENTS,
}
DESCRIPTION = """\
Instants are RFC 3339 with an offset, in replies UTC with milliseconds and `Z`. Durations are ISO 8601 (`PT1M30S`), \
short (`1m30s`, `500ms`, `2d`) or a number of seconds, in replies ISO 8601. Unknown fields are refused, never ignored. \
Every error is `application/problem+json`; for 422 `errors` names every field that is wrong."""


def document(app: Litestar) -> Schema:
    """The OpenAPI 3.1 document of the routes that carry an operation."""
    paths: dict[str, Schema] = {}
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for handler in route.route_handlers:
            operation = operation_of(handler)
            if operation is not None:
                for method in handler.http_methods:
                    paths.setdefault(route.path_format, {})[method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Task scheduler",
            "version": release(),
            "description": DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": COMPONENTS, "headers": RESPONSE_HEADERS, "responses": _problems(paths)},
    }


def operation_of(handler: HTTPRouteHandler) -> Operation | None:
    """What is said of a handler; the actuator's are described apart from their routes."""
    found = handler.opt.get(OPTION)
    return found if isinstance(found, Operation) else actuator.OPERATIONS.get(str(handler.operation_id))


def _operation(operation: Operation) -> Schema:
    described: Schema = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": _responses(operation),
    }
    if operation.description:
        described["description"] = operation.description
    if operation.parameters:
        described["parameters"] = list(operation.parameters)
    if operation.body is not None:
        schema = COMPONENTS[operation.body]
        content: Schema = {"schema": {"$ref": f"#/components/schemas/{operation.body}"}}
        if "examples" in schema:
            content["examples"] = {f"example{n}": {"value": value} for n, value in enumerate(schema["examples"], 1)}
        described["requestBody"] = {
            "required": operation.body_required,
            "content": dict.fromkeys(operation.body_types, content),
        }
    return described


def _responses(operation: Operation) -> Schema:
    responses = {str(status): _response(response) for status, response in operation.responses.items()}
    kinds = [kind for kind in KINDS if kind in operation.all_problems]
    for status, of_status in groupby(kinds, key=lambda kind: KINDS[kind].status):
        responses.setdefault(str(status), {"$ref": f"#/components/responses/{'-or-'.join(of_status)}"})
    return dict(sorted(responses.items()))


def _problems(paths: dict[str, Schema]) -> Schema:
    """The responses for errors that the operations refer to."""
    names = {
        response["$ref"].rsplit("/", 1)[-1]
        for operations in paths.values()
        for operation in operations.values()
        for response in operation["responses"].values()
        if "$ref" in response
    }
    return {name: problem_response(name.split("-or-")) for name in sorted(names)}


def _response(response: Response) -> Schema:
    described: Schema = {"description": response.description}
    if response.schema is not None:
        types = [response.media_type] if isinstance(response.media_type, str) else response.media_type
        described["content"] = {media_type: {"schema": response.schema} for media_type in types}
    if response.headers:
        described["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in response.headers}
    return described


def handlers() -> list[HTTPRouteHandler]:
    """The routes of the document and of the page that shows it."""

    @lru_cache(maxsize=1)
    def rendered(app: Litestar) -> tuple[bytes, bytes]:
        made = document(app)
        return msgspec.json.format(encode(made), indent=2), docs_page.render(made)

    def served(id: str, summary: str, media_type: str, schema: Schema) -> dict[str, Any]:
        responses = {200: Response("The document.", schema, (), media_type)}
        return documented(Operation(id, "documentation", summary, responses))

    @get(
        ["/openapi.json", "/schema/openapi.json"],
        opt=served("openapi", "This document", "application/json", {"type": "object"}),
        sync_to_thread=False,
    )
    def openapi(request: Request) -> Reply:
        return Reply(200, rendered(request.app)[0])

    @get(
        "/docs",
        opt=served("docs", "The API reference as a page", "text/html", {"type": "string"}),
        sync_to_thread=False,
    )
    def docs(request: Request) -> Reply:
        policy = b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
        headers = ((b"content-security-policy", policy),)
        return Reply(200, rendered(request.app)[1], media_type=b"text/html; charset=utf-8", headers=headers)

    return [openapi, docs]
