"""Targets in requests."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from taskscheduler.api.body import join
from taskscheduler.api.schemas import exec_target
from taskscheduler.api.schemas.fields import NOT_YET, Fields
from taskscheduler.api.schemas.shapes import ID, Schema, array, request, text, words
from taskscheduler.domain.definition import PAYLOAD_LIMIT, HttpTarget, NoopTarget, QueueTarget, Target

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
LONGEST_URL = 2_000
MOST_HEADERS = 50
MOST_HEADER_BYTES = 16 * 1024
MOST_EXPECTED = 20

Forbidden = Callable[[str], str | None]
"""Why a host may not be called, or None."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_RANGE = re.compile(r"([1-5][0-9]{2})-([1-5][0-9]{2})", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f\\]")
_OURS = {"task-id", "run-id", "attempt", "scheduled-for"}
_CONNECTION = {"connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding"}
_RESERVED = _OURS | _CONNECTION | {"upgrade", "proxy-authorization", "proxy-connection"}
_TYPES = ("noop", "http", "queue", "exec")
_LATER = ("kafka",)


def read_target(fields: Fields | None, forbidden: Forbidden) -> Target:
    """The target; `noop` where there is an error."""
    if fields is None:
        return NoopTarget()
    kind = fields.take("type", required=True)
    target: Target = NoopTarget()
    if kind == "http":
        target = _read_http(fields, forbidden)
    elif kind == "queue":
        queue, name = fields.id("queue", required=True), fields.id("kind", required=True)
        target = QueueTarget(queue=queue or "", kind=name or "")
    elif kind == "exec":
        target = exec_target.read_exec(fields)
    elif kind != "noop":
        if kind in _LATER:
            fields.error("type", NOT_YET)
        elif kind is not None:
            fields.error("type", f"must be one of {', '.join(_TYPES)}")
        return target
    fields.end()
    return target


def _read_http(fields: Fields, forbidden: Forbidden) -> HttpTarget:
    url = fields.text("url", 1, LONGEST_URL, required=True)
    empty = fields.raw("expect") == []
    expect = fields.each("expect", MOST_EXPECTED, _expected)
    if url is not None and (wrong := _wrong_with(url, forbidden)) is not None:
        fields.error("url", wrong)
    if empty:
        fields.error("expect", "must name at least one status; left out, it is 200-299")
    return HttpTarget(
        url=url or "",
        method=fields.choice("method", METHODS, "POST"),
        headers=_read_headers(fields),
        body=fields.json("body", PAYLOAD_LIMIT),
        expect=expect or HttpTarget("").expect,
    )


def _wrong_with(url: str, forbidden: Forbidden) -> str | None:
    if _UNPRINTABLE.search(url):
        return "must not hold spaces, control characters or backslashes"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is not a valid URL"
    if parts.scheme not in ("http", "https"):
        return "must begin with http:// or https://"
    if "@" in parts.netloc:
        return "must not carry credentials; send a header instead"
    if not host or port == 0 or parts.netloc.endswith(":"):
        return "is not a valid URL"
    if (reason := forbidden(host)) is not None:
        return f"names a host that may not be called: it {reason}"
    return None


def _read_headers(fields: Fields) -> dict[str, str]:
    value = fields.take("headers")
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > MOST_HEADERS:
        fields.error("headers", f"must be an object of at most {MOST_HEADERS} strings")
        return {}
    pointer = join(fields.pointer, "headers")
    seen: set[str] = set()
    size = 0
    for name, content in value.items():
        if wrong := _wrong_with_header(name, content, seen):
            fields.errors.add(join(pointer, name), wrong)
        else:
            seen.add(name.lower())
            size += len(name) + len(content)
    if size > MOST_HEADER_BYTES:
        fields.error("headers", f"must not be longer than {MOST_HEADER_BYTES} bytes together")
    return value


def _wrong_with_header(name: str, content: object, seen: set[str]) -> str | None:
    if not _NAME.fullmatch(name):
        return "is not the name of a header"
    if name.lower() in _RESERVED:
        return "is set by the scheduler"
    if name.lower() in seen:
        return "is there twice"
    if not isinstance(content, str) or not _VALUE.fullmatch(content):
        return "must be a string of printable ASCII characters"
    return None


def _expected(value: object) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:
        return value
    match = _RANGE.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[1] > match[2]:
        raise ValueError('must be a status such as 304 or a range such as "200-299"')
    return match[0]


SCHEMA: Schema = {
    "description": "What runs.",
    "oneOf": [
        request({"type": {"const": "noop"}}, title="Nothing", description="Succeeds at once."),
        request(
            {
                "type": {"const": "http"},
                "url": text(
                    8, LONGEST_URL, pattern=r"^https?://[^\s@\\]+$", examples=["https://example.com/jobs/report"]
                ),
            },
            {
                "method": words(*METHODS, default="POST"),
                "headers": {
                    "type": "object",
                    "maxProperties": MOST_HEADERS,
                    "additionalProperties": {"type": "string", "pattern": "^[\\t -~]*$"},
                    "propertyNames": {"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$"},
                },
                "body": {
                    "description": "Sent as JSON, a string as it stands. Left out, the payload is sent.",
                },
                "expect": array(
                    {
                        "anyOf": [
                            {"type": "integer", "minimum": 100, "maximum": 599},
                            {"type": "string", "pattern": "^[1-5][0-9]{2}-[1-5][0-9]{2}$"},
                        ]
                    },
                    MOST_EXPECTED,
                    minItems=1,
                    description="Statuses that count as success.",
                    examples=[["200-299", 304]],
                ),
            },
            title="An HTTP request",
            description="Headers sent: `Task-Id`, `Run-Id`, `Attempt`, `Scheduled-For`. Redirects are not followed.",
        ),
        request(
            {"type": {"const": "queue"}, "queue": ID, "kind": ID},
            title="A worker",
            description="A worker that pulls from `queue` runs its handler named `kind`.",
        ),
        exec_target.SCHEMA,
    ],
    "examples": [
        {"type": "http", "url": "https://example.com/jobs/report"},
        {"type": "queue", "queue": "mail", "kind": "send-welcome"},
        {"type": "exec", "queue": "backups", "argv": ["rsync", "-a", "/data/", "/backup/"]},
        {"type": "noop"},
    ],
}
