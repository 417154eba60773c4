"""Pieces of JSON Schema that several bodies share."""

from __future__ import annotations

from typing import Any, TypeAlias

from taskscheduler.api.durations import LONGEST
from taskscheduler.domain.ids import ID_PATTERN
from taskscheduler.domain.values import SECOND

Schema: TypeAlias = dict[str, Any]

_PART = r"[0-9]{1,15}(\.[0-9]{1,9})?"
_TIME = rf"T(?=[0-9])({_PART}H)?({_PART}M)?({_PART}S)?"

ID: Schema = {"type": "string", "pattern": ID_PATTERN, "examples": ["nightly-report"]}
INSTANT: Schema = {"type": "string", "format": "date-time", "examples": ["2030-01-31T08:00:00.000Z"]}
# Not `format: duration`: that of RFC 3339 has no fractions of a second.
DURATION_OUT: Schema = {"type": "string", "pattern": rf"^P(?=.)([0-9]+D)?({_TIME})?$", "examples": ["PT5M"]}
STEPS_OUT: Schema = {"type": "string", "pattern": "^P[0-9]+[DMY]$", "examples": ["P1M"]}
DURATION: Schema = {
    "anyOf": [
        {
            "type": "string",
            "maxLength": 64,
            "pattern": rf"^(({_PART}(ms|[wdhms]))+|P{_PART}W|P(?=.)({_PART}D)?({_TIME})?)$",
        },
        {"type": "number", "minimum": 0, "maximum": LONGEST // SECOND},
    ],
    "description": "ISO 8601 (`PT1M30S`), short (`1m30s`, `500ms`, `2d`) or a number of seconds; at most 36525 days.",
    "examples": ["1m30s", "PT1M30S", 90],
}
ANY: Schema = {"description": "Any JSON."}
COUNT: Schema = {"type": "integer", "minimum": 0}
TEXT: Schema = {"type": "string"}

LABEL = r"^[^\x00-\x1f\x7f]*$"
"""What can be shown on a line."""


def ref(name: str) -> Schema:
    """A reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: Schema) -> Schema:
    """The same, or null."""
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    if "enum" in schema:
        return {**schema, "type": ["string", "null"], "enum": [*schema["enum"], None]}
    return {"anyOf": [schema, {"type": "null"}]}


def text(low: int, high: int, **more: Any) -> Schema:
    """A string of so many characters."""
    return {"type": "string", "minLength": low, "maxLength": high, **more}


def whole(low: int, high: int, **more: Any) -> Schema:
    """A whole number within bounds."""
    return {"type": "integer", "minimum": low, "maximum": high, **more}


def words(*choices: str, **more: Any) -> Schema:
    """One of some words."""
    return {"type": "string", "enum": list(choices), **more}


def array(items: Schema, high: int | None = None, **more: Any) -> Schema:
    """A list."""
    bounds: Schema = {} if high is None else {"maxItems": high}
    return {"type": "array", "items": items, **bounds, **more}


def request(required: dict[str, Schema], optional: dict[str, Schema] | None = None, **more: Any) -> Schema:
    """An object in a request: nothing else is taken, and null stands for what is left out."""
    properties = {**required, **{name: nullable(schema) for name, schema in (optional or {}).items()}}
    shape: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**shape, **({"required": list(required)} if required else {}), **more}


def response(properties: dict[str, Schema], optional: dict[str, Schema] | None = None, **more: Any) -> Schema:
    """An object in a response: all properties are there, but for the optional ones."""
    return {
        "type": "object",
        "properties": {**properties, **(optional or {})},
        "required": list(properties),
        "additionalProperties": False,
        **more,
    }
