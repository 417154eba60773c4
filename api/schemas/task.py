"""The definition of a task in requests: created, or patched."""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from taskscheduler.api.durations import LONGEST, format_duration
from taskscheduler.api.schemas.chain import SCHEMAS as CHAIN_SCHEMAS
from taskscheduler.api.schemas.chain import read_after, read_names
from taskscheduler.api.schemas.fields import Fields
from taskscheduler.api.schemas.limit import read_concurrency
from taskscheduler.api.schemas.policies import CATCH_UP_SCHEMA, RETRY_SCHEMA, read_catch_up, read_retry
from taskscheduler.api.schemas.schedule import MANUAL, read_schedule
from taskscheduler.api.schemas.schedule_shape import SCHEMA as SCHEDULE_SCHEMA
from taskscheduler.api.schemas.shapes import (
    ANY,
    DURATION,
    ID,
    INSTANT,
    LABEL,
    Schema,
    array,
    nullable,
    ref,
    request,
    text,
    whole,
    words,
)
from taskscheduler.api.schemas.target import SCHEMA as TARGET_SCHEMA
from taskscheduler.api.schemas.target import Rules, read_target
from taskscheduler.api.schemas.unique import SCHEMA as UNIQUE_SCHEMA
from taskscheduler.api.schemas.unique import read_unique
from taskscheduler.domain.definition import PAYLOAD_LIMIT, CatchUp, Definition, DefinitionPatch, Overlap
from taskscheduler.domain.events import Missed
from taskscheduler.domain.messages import Update
from taskscheduler.domain.values import MINUTE, SECOND, Instant, Millis

TIMEOUT = 5 * MINUTE
PRIORITY = 5
LONGEST_NAME = 200
MOST_TAGS = 16
RESERVED = ("batch",)
LONGEST_TAG = 100
LONGEST_NOTE = 1_000
MOST_FAILURES = 1_000

TIMEOUTS: dict[str, Millis] = {"queue_timeout": 1, "heartbeat_timeout": SECOND, "deadline": 1}
"""Those that a task may do without, and how short each may be."""

OVERLAPS: tuple[Overlap, ...] = get_args(Overlap)


class NewTask(msgspec.Struct, frozen=True):
    """A task to be made. `key` is the one of its own that a task in a batch may have."""

    id: str | None
    definition: Definition
    key: str | None = None


def read_new_task(fields: Fields, now: Instant, rules: Rules, *, in_batch: bool = False) -> NewTask:
    """A task to be made; errors are collected in `fields.errors`."""
    task_id = fields.id("id")
    if task_id in RESERVED:
        fields.error("id", "is part of a path of the API; choose another")
    after = read_after(fields)
    scheduled = fields.raw("schedule") is not None or after is None
    task = NewTask(
        task_id,
        Definition(
            name=fields.label("name", 1, LONGEST_NAME, required=True) or "",
            schedule=read_schedule(fields.object("schedule"), now) if scheduled else MANUAL,
            target=read_target(fields.object("target", required=True), rules),
            payload=fields.json("payload", PAYLOAD_LIMIT),
            retry=read_retry(fields.object("retry")),
            timeout=fields.duration("timeout", 1, LONGEST, TIMEOUT),
            overlap=fields.choice("overlap", OVERLAPS, "skip"),
            catch_up=read_catch_up(fields.object("catch_up")),
            priority=fields.integer("priority", 1, 9, PRIORITY),
            tags=_tags(fields, {}),
            pause_on_failure=fields.optional_integer("pause_on_failure", 1, MOST_FAILURES),
            concurrency=read_concurrency(fields.object("concurrency")),
            queue_timeout=fields.duration("queue_timeout", TIMEOUTS["queue_timeout"], LONGEST, None),
            heartbeat_timeout=fields.duration("heartbeat_timeout", TIMEOUTS["heartbeat_timeout"], LONGEST, None),
            deadline=fields.duration("deadline", TIMEOUTS["deadline"], LONGEST, None),
            then=read_names(fields, "then"),
            on_failure=read_names(fields, "on_failure"),
            after=after,
            unique=read_unique(fields.object("unique")),
        ),
        fields.take("idempotency_key") if in_batch else None,
    )
    fields.take("schedule")
    fields.end()
    return task


def needs_base(body: dict[str, Any]) -> bool:
    """Whether a patch can only be made whole by looking at the task: tags and catch-up are merged member by member."""
    return isinstance(body.get("tags"), dict) or isinstance(body.get("catch_up"), dict)


def read_note(fields: Fields) -> str:
    """Why something is done, for others to read."""
    return fields.text("note", 0, LONGEST_NOTE) or ""


def read_update(fields: Fields, now: Instant, rules: Rules, base: Definition | None) -> Update:
    """A change of a task; errors are collected in `fields.errors`."""
    effective_from = fields.instant("effective_from")
    drops = "pending_schedule" in fields
    if drops and fields.take("pending_schedule") is not None:
        fields.error("pending_schedule", "can only be taken back, with null; send `schedule` and `effective_from`")
    if effective_from is not None and "schedule" not in fields:
        fields.error("effective_from", "goes with `schedule`: name the one that is to hold from then on")
    if drops and effective_from is not None:
        fields.error("pending_schedule", "cannot be taken back and planned at once")
    return Update(_read_patch(fields, now, rules, base), effective_from, drops)


def _read_patch(fields: Fields, now: Instant, rules: Rules, base: Definition | None) -> DefinitionPatch:
    """A merge patch (RFC 7396), made whole with the definition of the task."""
    catch_up, tags = (CatchUp(), {}) if base is None else (base.catch_up, base.tags)
    given: dict[str, Any] = {}
    for name in ("name", "target"):
        if name in fields:
            fields.required(name)
    if "name" in fields:
        given["name"] = fields.label("name", 1, LONGEST_NAME) or ""
    for name in ("then", "on_failure"):
        if name in fields:
            given[name] = read_names(fields, name)
    if "after" in fields:
        given["after"] = read_after(fields)
    if "schedule" in fields:
        follows = given.get("after", None if base is None else base.after) is not None
        manual = fields.raw("schedule") is None and follows
        given["schedule"] = MANUAL if manual else read_schedule(fields.object("schedule"), now)
        fields.take("schedule")
    if "target" in fields:
        given["target"] = read_target(fields.object("target"), rules)
    if "payload" in fields:
        given["payload"] = fields.json("payload", PAYLOAD_LIMIT)
    if "retry" in fields:
        given["retry"] = read_retry(fields.object("retry"))
    if "timeout" in fields:
        given["timeout"] = fields.duration("timeout", 1, LONGEST, TIMEOUT)
    if "overlap" in fields:
        given["overlap"] = fields.choice("overlap", OVERLAPS, "skip")
    if "catch_up" in fields:
        given["catch_up"] = read_catch_up(fields.object("catch_up"), catch_up)
    if "priority" in fields:
        given["priority"] = fields.integer("priority", 1, 9, PRIORITY)
    if "tags" in fields:
        given["tags"] = _tags(fields, tags)
    if "concurrency" in fields:
        given["concurrency"] = read_concurrency(fields.object("concurrency"))
    if "pause_on_failure" in fields:
        given["pause_on_failure"] = fields.optional_integer("pause_on_failure", 1, MOST_FAILURES)
    for name, shortest in TIMEOUTS.items():
        if name in fields:
            given[name] = fields.duration(name, shortest, LONGEST, None)
    if "unique" in fields:
        fields.take("unique")
        fields.error("unique", "is fixed when the task is made; cancel it and make another one")
    fields.end()
    return DefinitionPatch(**given)


def _tags(fields: Fields, base: dict[str, str]) -> dict[str, str]:
    given = fields.object("tags")
    if given is None:
        return {}
    tags = dict(base)
    for key in given.names():
        if not 1 <= len(key) <= LONGEST_TAG or ":" in key:
            given.error(key, f"is no name of a tag: 1 to {LONGEST_TAG} characters, no colon")
            given.take(key)
        elif (value := given.text(key, 0, LONGEST_TAG)) is None:
            tags.pop(key, None)
        else:
            tags[key] = value
    if len(tags) > MOST_TAGS:
        fields.error("tags", f"must be at most {MOST_TAGS}")
    return tags


TAGS_SCHEMA: Schema = {
    "type": "object",
    "maxProperties": MOST_TAGS,
    "propertyNames": {"minLength": 1, "maxLength": LONGEST_TAG, "pattern": "^[^:]+$"},
    "additionalProperties": {"type": ["string", "null"], "maxLength": LONGEST_TAG},
    "examples": [{"team": "billing"}],
}

_NAME = text(1, LONGEST_NAME, pattern=LABEL, examples=["Nightly report"])
_OPTIONAL: dict[str, Schema] = {
    "schedule": ref("ScheduleIn"),
    "payload": {**ANY, "description": "Any JSON, at most 256 KiB encoded and nested 64 levels."},
    "retry": ref("RetryIn"),
    "timeout": {**DURATION, "default": format_duration(TIMEOUT), "description": "From claim to end of an attempt."},
    "overlap": words(
        *OVERLAPS,
        default="skip",
        description="What becomes of a fire time that comes while a run is active: it is skipped; waits (`buffer_one`: "
        "one at a time, `buffer_all`: up to 1,000); cancels what is active; or runs beside it (up to 1,000 at a time).",
    ),
    "catch_up": ref("CatchUpIn"),
    "priority": whole(1, 9, default=PRIORITY, description="1 is first."),
    "tags": TAGS_SCHEMA,
    "concurrency": ref("ConcurrencyIn"),
    "pause_on_failure": whole(
        1, MOST_FAILURES, description="After so many runs in a row that failed for good the task pauses itself."
    ),
    "queue_timeout": {
        **DURATION,
        "description": "How long a run may wait to be claimed, counted anew for each retry; then it fails for good.",
    },
    "heartbeat_timeout": {
        **DURATION,
        "description": "An attempt ends when its holder is not heard from for so long, or for its lease where that is "
        "shorter; at least 1 s. It is retried like any other.",
    },
    "deadline": {
        **DURATION,
        "description": "From when a run was made to its end, retries included; then what runs is ended too.",
    },
    **CHAIN_SCHEMAS,
}
_EFFECTIVE_FROM: Schema = {
    **INSTANT,
    "description": "`schedule` holds for nominal times from this instant on: a future one, at most 3,660 days ahead.",
}
_EXAMPLE = {
    "name": "Nightly report",
    "schedule": {"cron": "0 2 * * *", "timezone": "Europe/Berlin"},
    "target": {"type": "http", "url": "https://example.com/jobs/report"},
    "payload": {"format": "pdf"},
    "retry": {"max_attempts": 5},
    "tags": {"team": "billing"},
}
_NOTE = text(0, LONGEST_NOTE)
_REQUIRED = {"name": _NAME, "target": ref("TargetIn")}

COMPONENTS: dict[str, Schema] = {
    "ScheduleIn": SCHEDULE_SCHEMA,
    "TargetIn": TARGET_SCHEMA,
    "RetryIn": RETRY_SCHEMA,
    "CatchUpIn": CATCH_UP_SCHEMA,
    "UniqueIn": UNIQUE_SCHEMA,
    "TaskIn": request(
        _REQUIRED,
        {"id": ID, "unique": ref("UniqueIn"), **_OPTIONAL},
        examples=[_EXAMPLE, {"name": "Now", "target": {"type": "noop"}}],
    ),
    "TaskInBatch": request(
        _REQUIRED,
        {
            "id": ID,
            "idempotency_key": text(1, 255, pattern="^[ -~]+$"),
            "unique": ref("UniqueIn"),
            **_OPTIONAL,
        },
        examples=[{**_EXAMPLE, "idempotency_key": "report-2030-01-31"}],
    ),
    "BatchIn": request(
        {"tasks": array(ref("TaskInBatch"), 1_000)},
        examples=[{"tasks": [{**_EXAMPLE, "idempotency_key": "report-2030-01-31"}]}],
    ),
    "EmptyIn": request({}, examples=[{}]),
    "NoteIn": request({}, {"note": _NOTE}, examples=[{"note": "until the mail server is back"}]),
    "ResumeIn": request(
        {},
        {
            "note": _NOTE,
            "missed": words(
                *get_args(Missed),
                default="skip",
                description="Which of the fire times that came in the pause run now: none, the latest, or all, at most "
                "`catch_up.limit` of them. The others are skipped with reason `paused`.",
            ),
        },
        examples=[{"note": "the mail server is back", "missed": "latest"}],
    ),
    "TaskPatch": {
        **request({}, _OPTIONAL),
        "description": "A merge patch (RFC 7396): `schedule`, `target`, `payload`, `retry` and `concurrency` are "
        "replaced whole, `catch_up` and `tags` member by member; null gives the default back.",
        "examples": [
            {"schedule": {"every": "1h"}},
            {"tags": {"team": None}},
            {"schedule": {"every": "2h"}, "effective_from": "2030-01-31T00:00:00Z"},
        ],
    },
}
COMPONENTS["TaskPatch"]["properties"] |= _REQUIRED | {
    "effective_from": nullable(_EFFECTIVE_FROM),
    "pending_schedule": {"type": "null", "description": "null takes a planned change of the schedule back."},
}
