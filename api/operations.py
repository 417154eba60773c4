"""What OpenAPI says of a route, written beside the route."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taskscheduler.api.headers import LONGEST_KEY
from taskscheduler.api.problems import KINDS
from taskscheduler.api.schemas.shapes import ID, TEXT, Schema, ref, text

OPTION = "operation"
"""Under this name a route handler carries its operation."""

EVERYWHERE = ("malformed", "internal")
WITH_BODY = ("too-large", "not-json", "invalid")
ON_WRITE = ("key-reused", "too-many", "unavailable")


@dataclass(frozen=True)
class Response:
    """A response that is no error. `schema` None is no content."""

    description: str
    schema: Schema | None = None
    headers: Sequence[str] = ()
    media_type: str | Sequence[str] = "application/json"
    examples: Sequence[Any] = ()


@dataclass(frozen=True)
class Operation:
    """One method of one path. `problems` are kinds of errors beside those that every route has."""

    id: str
    tag: str
    summary: str
    responses: Mapping[int, Response]
    description: str = ""
    parameters: Sequence[Schema] = ()
    body: str | None = None
    body_required: bool = True
    body_types: Sequence[str] = ("application/json",)
    problems: Sequence[str] = ()
    all_problems: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        also = WITH_BODY if self.body is not None else ()
        object.__setattr__(self, "all_problems", frozenset((*EVERYWHERE, *also, *self.problems)))


def documented(operation: Operation) -> dict[str, Any]:
    """The `opt` of a route handler."""
    return {OPTION: operation}


def path_parameter(name: str, description: str, schema: Schema = ID) -> Schema:
    """A parameter in the path."""
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": description}


def header(name: str, description: str, schema: Schema) -> Schema:
    """A request header."""
    return {"name": name, "in": "header", "schema": schema, "description": description}


TASK_ID = path_parameter("task_id", "The id of the task.")
BACKFILL_ID = path_parameter("backfill_id", "The id of the backfill, as `backfills` of the task shows it.")
KEY = header(
    "Idempotency-Key",
    "The same key with the same request does nothing again and gets the same answer, for at least 24 hours.",
    text(1, LONGEST_KEY, pattern="^[ -~]+$", examples=["9f0c3a"]),
)
IF_MATCH = header(
    "If-Match",
    'Only when it is at this revision (of a calendar: version), such as `"r3"`; several may be listed, `*` is any.',
    {"type": "string", "pattern": r'^(\*|"r[1-9][0-9]{0,8}"(, ?"r[1-9][0-9]{0,8}")*)$', "examples": ['"r3"']},
)
TRACE = header(
    "traceparent",
    "W3C trace context, kept with the decision; one that cannot be read is replaced.",
    {**TEXT, "examples": ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]},
)
TOKEN = header(
    "Consistency-Token",
    "Tokens of writes that the answer must show, separated by commas. One process always shows them all.",
    {"type": "string", "pattern": r"^[0-9]{1,9}:[0-9]{1,18}(, ?[0-9]{1,9}:[0-9]{1,18})*$"},
)

RESPONSE_HEADERS: dict[str, Schema] = {
    "ETag": {
        "description": "The revision of the task, or the version of the calendar, for `If-Match`.",
        "schema": {"type": "string", "pattern": '^"r[1-9][0-9]*"$'},
    },
    "Location": {
        "description": "Where the task, or the calendar, is.",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Unique-Existing": {
        "description": "There when the task had the unique key already, and none was made.",
        "schema": {"type": "string", "const": "true"},
    },
    "Idempotent-Replayed": {
        "description": "There when the answer is a repeated one.",
        "schema": {"type": "string", "const": "true"},
    },
    "Consistency-Token": {
        "description": "There when something was written: send it with a query that must show it.",
        "schema": {"type": "string", "pattern": "^[0-9]+:[0-9]+(,[0-9]+:[0-9]+)*$"},
    },
    "Link": {"description": '`rel="next"`: the next page.', "schema": {"type": "string"}},
    "Retry-After": {
        "description": "Seconds to wait.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Allow": {"description": "The methods that the path takes.", "schema": {"type": "string"}},
}


def problem_response(kinds: Sequence[str]) -> dict[str, Any]:
    """The response for errors of one status."""
    from_kind = KINDS[kinds[0]]
    status = from_kind.status
    example = {
        "type": f"/docs#{kinds[0]}",
        "title": from_kind.title,
        "status": status,
        "detail": "why, in a sentence",
        "instance": "/api/tasks/nightly-report",
    }
    if kinds[0] == "invalid":
        example["errors"] = [{"pointer": "/schedule/cron", "detail": "hour: 25 is outside 0-23"}]
    response: dict[str, Any] = {
        "description": " ".join(KINDS[kind].meaning for kind in kinds),
        "content": {"application/problem+json": {"schema": ref("Problem"), "example": example}},
    }
    if status == 503:
        response["headers"] = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
    return response
