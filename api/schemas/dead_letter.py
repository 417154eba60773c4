"""Dead letters in requests and replies."""

from __future__ import annotations

import msgspec

from taskscheduler.api.schemas.fields import Fields
from taskscheduler.api.schemas.query import MOST_TAGS, Query
from taskscheduler.api.schemas.shapes import (
    ANY,
    COUNT,
    ID,
    INSTANT,
    TEXT,
    Schema,
    array,
    nullable,
    ref,
    request,
    response,
    text,
    whole,
    words,
)
from taskscheduler.api.schemas.task import TAGS_SCHEMA
from taskscheduler.api.schemas.views import RESULT, RUN, page_of
from taskscheduler.projections.filters import DeadLetterFilter

MOST_AT_ONCE = 1_000
DEFAULT_AT_ONCE = 200
MOST_REFUSALS = 100
LONGEST_CURSOR = 4_096


class Bulk(msgspec.Struct, frozen=True):
    """What is to be done to all dead letters of a filter: counted only, unless `execute` says otherwise."""

    filter: DeadLetterFilter
    execute: bool
    limit: int
    cursor: str | None


def read_bulk(fields: Fields, *, retried: bool | None) -> Bulk:
    """A request about many; `retried` is what the filter says of it by default. Errors are collected."""
    inner = fields.object("filter")
    bulk = Bulk(
        DeadLetterFilter(retried=retried) if inner is None else _filter(inner, retried),
        fields.flag("execute", False),
        fields.integer("limit", 1, MOST_AT_ONCE, DEFAULT_AT_ONCE),
        fields.text("cursor", 1, LONGEST_CURSOR),
    )
    fields.end()
    return bulk


def _filter(fields: Fields, retried: bool | None) -> DeadLetterFilter:
    found = DeadLetterFilter(
        task_id=fields.id("task_id"),
        tags=_tags(fields.object("tags")),
        error_type=fields.text("error_type", 1, 100),
        since=fields.instant("from"),
        until=fields.instant("to"),
        retried=fields.flag("retried", False) if fields.raw("retried") is not None else retried,
    )
    fields.end()
    return found


def _tags(fields: Fields | None) -> tuple[tuple[str, str], ...]:
    if fields is None:
        return ()
    names = fields.names()
    if len(names) > MOST_TAGS:
        fields.errors.add(fields.pointer, f"must be at most {MOST_TAGS}")
    return tuple([(name, fields.text(name, 0, 100, required=True) or "") for name in names])


def read_filter(query: Query) -> DeadLetterFilter:
    """Which dead letters to list."""
    return DeadLetterFilter(
        task_id=query.id("task_id"),
        tags=query.tags(),
        error_type=query.text("error_type", 1, 100),
        since=query.instant("from"),
        until=query.instant("to"),
        retried={"true": True, "false": False}.get(query.one_of("retried", ("true", "false"))),
    )


_FILTER = request(
    {},
    {
        "task_id": ID,
        "tags": {**TAGS_SCHEMA, "additionalProperties": {"type": "string", "maxLength": 100}},
        "error_type": text(1, 100),
        "from": INSTANT,
        "to": INSTANT,
        "retried": {"type": "boolean", "description": "Whether a run was made of it since; retry leaves those out."},
    },
    description="All that is given must hold.",
    examples=[{"error_type": "http_503", "from": "2030-01-31T08:00:00Z"}],
)
_AGAIN = response({"run_id": ID, "at": INSTANT, "by": TEXT, "status": nullable(TEXT)})
_LETTER: dict[str, Schema] = {
    **RUN,
    **RESULT,
    "task_name": TEXT,
    "tags": {"type": "object", "additionalProperties": TEXT},
    "retried": {"anyOf": [_AGAIN, {"type": "null"}], "description": "The last run that was made of it since."},
}

COMPONENTS: dict[str, Schema] = {
    "DeadLetterFilterIn": _FILTER,
    "DeadLettersIn": request(
        {},
        {
            "filter": ref("DeadLetterFilterIn"),
            "execute": {"type": "boolean", "default": False, "description": "Without it they are only counted."},
            "limit": whole(1, MOST_AT_ONCE, default=DEFAULT_AT_ONCE, description="How many at most, the oldest first."),
            "cursor": text(1, LONGEST_CURSOR, description="`next_cursor` of the reply before, with the same filter."),
        },
        examples=[{"filter": {"error_type": "http_503"}, "execute": True}],
    ),
    "DeadLetter": response(
        _LETTER, description="A run that failed for good, with the name and tags that its task had then."
    ),
    "DeadLetterPage": page_of("DeadLetter"),
    "DeadLetterStory": response(
        {
            **_LETTER,
            "definition": {
                **ANY,
                "description": "The task as it was defined when the run failed, in the fields of a task.",
            },
            "late_reports": array(ref("LateReport")),
        },
        description="All that is known of a dead letter.",
    ),
    "LateReport": response(
        {
            "attempt": whole(1, 2**31),
            "at": INSTANT,
            "outcome": words("succeeded", "failed"),
            "result": ANY,
            "error": {"anyOf": [ref("Error"), {"type": "null"}]},
        },
        description="What the holder of an attempt said after that had ended otherwise: evidence, never applied.",
    ),
    "DeadLetterGroup": response(
        {
            "error_type": TEXT,
            "count": COUNT,
            "exact": {"type": "boolean", "description": "false: there are more than were counted."},
            "tasks": {**COUNT, "description": "Of how many tasks those that were counted are."},
            "first_seen": INSTANT,
            "last_seen": INSTANT,
            "last": response({"task_id": ID, "run_id": ID, "task_name": TEXT, "reason": TEXT}),
        },
        description="Dead letters with the same type of error.",
    ),
    "DeadLetterGroupPage": page_of("DeadLetterGroup"),
    "DeadLettersDone": response(
        {
            "execute": {"type": "boolean"},
            "done": COUNT,
            "refused": array(response({"task_id": ID, "run_id": ID, "detail": TEXT}), MOST_REFUSALS),
            "refused_count": COUNT,
            "remaining": {**COUNT, "description": "Those that the filter asks for and that were not come to."},
            "exact": {"type": "boolean", "description": "false: there remain more than were counted."},
            "next_cursor": {**nullable(TEXT), "description": "Send it to go on with those that remain."},
        },
        description="What became of them; without `execute` nothing, and `remaining` counts them all.",
    ),
}
