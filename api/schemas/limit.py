"""Limits in requests and replies."""

from __future__ import annotations

import re

from taskscheduler.api.durations import format_duration
from taskscheduler.api.problems import Problem
from taskscheduler.api.schemas.fields import CONTROL, Fields
from taskscheduler.api.schemas.shapes import (
    COUNT,
    DURATION,
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
)
from taskscheduler.domain.definition import Concurrency, host_of
from taskscheduler.domain.ids import is_id
from taskscheduler.domain.limit_definition import MOST_SLOTS, LimitDefinition, Rate
from taskscheduler.domain.values import DAY, SECOND

LONGEST_NAME = 300
LONGEST_KEY = 200
LONGEST_NOTE = 1_000
MOST_STARTS = 1_000_000
KINDS = ("queue", "tag", "key", "host")
_TAG = re.compile("[^:=]+=")
_KINDS_HINT = "queue:<queue>, tag:<key>=<value>, key:<concurrency key> or host:<host>"


def read_name(value: str) -> str:
    """The name of a limit in a path; hosts as they are compared. Raises Problem 404 for what could limit nothing."""
    kind, colon, rest = value.partition(":")
    fits = kind in KINDS and colon and rest and len(value) <= LONGEST_NAME and not CONTROL.search(value)
    if not fits or (kind == "tag" and not _TAG.match(rest)) or (kind == "queue" and not is_id(rest)):
        raise Problem("not-found", f"no limit has such a name: one is called {_KINDS_HINT}")
    return f"host:{_host(rest)}" if kind == "host" else value


def _host(text: str) -> str:
    bare = text.removeprefix("[").removesuffix("]")
    host = host_of(f"http://[{bare}]" if ":" in bare else f"http://{bare}")
    if not host or host != bare.lower().rstrip("."):
        raise Problem(
            "not-found", f"no limit has such a name: a host stands without scheme, port and path, not as {text!r}"
        )
    return host


def read_limit(fields: Fields) -> LimitDefinition:
    """A limit; errors are collected in `fields.errors`."""
    if fields.raw("concurrency") is None and fields.raw("rate") is None:
        fields.errors.add(fields.pointer, "must hold concurrency, rate or both; DELETE takes a limit away")
    definition = LimitDefinition(
        concurrency=fields.optional_integer("concurrency", 1, MOST_SLOTS),
        rate=_rate(fields.object("rate")),
        note=fields.text("note", 0, LONGEST_NOTE) or "",
    )
    fields.end()
    return definition


def read_concurrency(fields: Fields | None) -> Concurrency | None:
    """What a task says about itself."""
    if fields is None:
        return None
    fields.required("limit")
    key = fields.label("key", 1, LONGEST_KEY, required=True) or ""
    concurrency = Concurrency(key, fields.integer("limit", 1, MOST_SLOTS, 1))
    fields.end()
    return concurrency


def _rate(fields: Fields | None) -> Rate | None:
    if fields is None:
        return None
    fields.required("count")
    count = fields.integer("count", 1, MOST_STARTS, 1)
    per = fields.duration("per", 1, DAY, SECOND)
    burst = fields.integer("burst", 1, MOST_STARTS, count)
    if count > per * 1_000:
        fields.error("count", f"is more than a run each microsecond of {format_duration(per)}")
    fields.end()
    return Rate(count, per, burst)


CONCURRENCY_SCHEMA: Schema = request(
    {
        "key": text(1, LONGEST_KEY, examples=["customer-42"]),
        "limit": whole(1, MOST_SLOTS, examples=[2]),
    },
    description="At most `limit` attempts of all tasks with this key are active at once. A limit `key:<key>` that is "
    "put goes before what tasks say.",
)
_NAME = text(3, LONGEST_NAME, description=f"{_KINDS_HINT}.", examples=["queue:mail"])
_RATE_IN = request(
    {"count": whole(1, MOST_STARTS, examples=[100])},
    {
        "per": {**DURATION, "default": format_duration(SECOND), "description": "At most a day."},
        "burst": whole(1, MOST_STARTS, description="How many may begin at once after a lull; `count` by default."),
    },
    description="How many attempts begin in which time, evenly.",
)
COMPONENTS: dict[str, Schema] = {
    "ConcurrencyIn": CONCURRENCY_SCHEMA,
    "LimitIn": request(
        {},
        {
            "concurrency": whole(1, MOST_SLOTS, description="How many attempts may be active at once."),
            "rate": _RATE_IN,
            "note": text(0, LONGEST_NOTE),
        },
        description="At least one of concurrency and rate.",
        examples=[{"concurrency": 5}, {"rate": {"count": 100, "per": "1m", "burst": 10}}],
    ),
    "Limit": response(
        {
            "name": _NAME,
            "concurrency": nullable(whole(1, MOST_SLOTS)),
            "rate": {
                "anyOf": [
                    response({"count": COUNT, "per": DURATION, "burst": COUNT}),
                    {"type": "null"},
                ]
            },
            "note": TEXT,
            "in_use": {**COUNT, "description": "Slots that are held: by active attempts, and those about to begin."},
            "own": {
                **nullable(whole(1, MOST_SLOTS)),
                "description": "What tasks with this key say, which holds where no concurrency is put.",
            },
            "version": {**COUNT, "description": "Of its definition; 0 where only tasks name it."},
            "created_at": nullable(INSTANT),
            "updated_at": nullable(INSTANT),
        },
        description="How many attempts may be active at once, and how fast they may begin.",
    ),
    "LimitPage": response({"items": array(ref("Limit")), "next_cursor": nullable(TEXT)}),
}
