"""Operations over many tasks: what is asked, and what is shown."""

from __future__ import annotations

from typing import get_args

import msgspec

from taskscheduler.api.schemas.fields import CONTROL, ID_HINT, Fields
from taskscheduler.api.schemas.query import TASK_STATUSES
from taskscheduler.api.schemas.shapes import (
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
    words,
)
from taskscheduler.api.schemas.task import LONGEST_NOTE, LONGEST_TAG, MOST_TAGS, read_note
from taskscheduler.domain.events import Missed
from taskscheduler.domain.ids import is_id
from taskscheduler.domain.operation_definition import Action, OperationDefinition, OperationStatus, Selection

ACTIONS: tuple[Action, ...] = get_args(Action)
MISSED: tuple[Missed, ...] = get_args(Missed)
MOST_IDS = 1_000
COUNTED = 10_000
"""Tasks that a dry run counts."""
SAMPLE = 10


class BulkRequest(msgspec.Struct, frozen=True):
    """An operation to be started, or to be looked at only."""

    definition: OperationDefinition
    execute: bool


def read_bulk(fields: Fields) -> BulkRequest:
    """What is to be done to which tasks; errors are collected in `fields.errors`."""
    fields.required("action")
    action: Action = fields.choice("action", ACTIONS, "cancel")
    selection = _selection(fields.object("filter"))
    everything = fields.flag("all", False)
    if selection == Selection() and not everything and not fields.errors.found:
        fields.error("filter", 'says nothing: with "all": true every task is meant')
    if selection != Selection() and everything:
        fields.error("all", "is true, and `filter` says something: leave one of them out")
    arguments = fields.object("arguments") or Fields({}, "/arguments", fields.errors)
    definition = OperationDefinition(
        action,
        selection,
        note=read_note(arguments) if action in ("pause", "resume") else "",
        missed=arguments.choice("missed", MISSED, "skip") if action == "resume" else "skip",
        tags=_tags(arguments, action) if action in ("tag", "untag") else {},
    )
    arguments.end()
    asked = BulkRequest(definition, fields.flag("execute", False))
    fields.end()
    return asked


def _selection(fields: Fields | None) -> Selection:
    if fields is None:
        return Selection()
    tags = fields.object("tags")
    selection = Selection(
        status=fields.word("status", TASK_STATUSES),
        name_contains=fields.text("name", 1, 200),
        tags={} if tags is None else {key: tags.text(key, 0, LONGEST_TAG) or "" for key in tags.names()},
        due_before=fields.instant("due_before"),
        ids=tuple(dict.fromkeys(fields.each("ids", MOST_IDS, _id))),
    )
    fields.end()
    return selection


def _tags(fields: Fields, action: Action) -> dict[str, str]:
    if action == "untag":
        fields.required("tags")
        return dict.fromkeys(fields.each("tags", MOST_TAGS, _tag, low=1), "")
    given = fields.object("tags", required=True)
    if given is None:
        return {}
    tags: dict[str, str] = {}
    for key in given.names():
        try:
            _tag(key)
        except ValueError as error:
            given.error(key, str(error))
        tags[key] = given.text(key, 0, LONGEST_TAG) or ""
    if not 1 <= len(tags) <= MOST_TAGS:
        fields.error("tags", f"must be 1 to {MOST_TAGS} tags")
    return tags


def _id(value: object) -> str:
    if isinstance(value, str) and is_id(value):
        return value
    raise ValueError(ID_HINT)


def _tag(value: object) -> str:
    if isinstance(value, str) and 1 <= len(value) <= LONGEST_TAG and ":" not in value and not CONTROL.search(value):
        return value
    raise ValueError(f"is no name of a tag: 1 to {LONGEST_TAG} characters, no colon")


_TAGS: Schema = {"type": "object", "additionalProperties": text(0, LONGEST_TAG), "maxProperties": MOST_TAGS}
_ACTION = words(*ACTIONS)
_SELECTION = request(
    {},
    {
        "status": words(*TASK_STATUSES),
        "name": text(1, 200, description="Part of the name, in any case."),
        "tags": {**_TAGS, "description": "All of them must hold."},
        "due_before": {**INSTANT, "description": "The next fire time is before."},
        "ids": array(ID, MOST_IDS),
    },
    description="Everything given must hold.",
)
_SHOWN = {
    "id": ID,
    "action": _ACTION,
    "filter": response(
        {},
        {"status": TEXT, "name": TEXT, "tags": _TAGS, "due_before": INSTANT, "ids": array(ID)},
    ),
    "arguments": response(
        {},
        {
            "note": TEXT,
            "missed": words(*MISSED),
            "tags": {"anyOf": [_TAGS, array(TEXT)]},
        },
    ),
    "status": words(*get_args(OperationStatus)),
    "by": TEXT,
    "started_at": INSTANT,
    "ended_at": nullable(INSTANT),
    "cancelled_by": {**nullable(TEXT), "description": "Set while it is running, too: it ends with the present page."},
    "expected": {**COUNT, "description": "Tasks that there were when it was started."},
    "expected_more": {"type": "boolean", "description": "There were more; they were not counted."},
    "matched": {**COUNT, "description": "Tasks found so far."},
    "done": {**COUNT, "description": "Those of which it is known what became of them: the next three together."},
    "changed": COUNT,
    "unchanged": {**COUNT, "description": "They were so already."},
    "refused": {
        "type": "object",
        "additionalProperties": response({"count": COUNT, "example": TEXT}),
        "description": "By reason: `no_longer_selected`, `wrong_state`, `not_found`, `deleted`, `invalid`.",
    },
}

COMPONENTS: dict[str, Schema] = {
    "OperationIn": request(
        {"action": _ACTION},
        {
            "filter": _SELECTION,
            "all": {"type": "boolean", "default": False, "description": "Every task; needed without a filter."},
            "arguments": request(
                {},
                {
                    "note": text(0, LONGEST_NOTE, description="Of pause and resume."),
                    "missed": words(*MISSED, default="skip", description="Of resume."),
                    "tags": {
                        "anyOf": [{**_TAGS, "minProperties": 1}, array(text(1, LONGEST_TAG), MOST_TAGS, minItems=1)],
                        "description": "Of tag: those to set. Of untag: the keys of those to take off.",
                    },
                },
            ),
            "execute": {"type": "boolean", "default": False, "description": "false: only count and show."},
        },
        examples=[
            {"action": "pause", "filter": {"tags": {"team": "billing"}}, "arguments": {"note": "migration"}},
            {"action": "tag", "all": True, "arguments": {"tags": {"env": "prod"}}, "execute": True},
        ],
    ),
    "OperationPreview": response(
        {
            "matched": {**COUNT, "description": "Tasks that are meant, as far as they were counted."},
            "more": {"type": "boolean", "description": f"There are more: {COUNTED:,} are counted at most."},
            "sample": array(response({"id": ID, "name": TEXT, "status": TEXT}), SAMPLE),
        },
        description="What an operation would be about; nothing was changed.",
    ),
    "Operation": response(_SHOWN, description="Something that is done to many tasks, in the background."),
    "OperationPage": response({"items": array(ref("Operation")), "next_cursor": nullable(TEXT)}),
}
