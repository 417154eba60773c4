"""An http target in requests."""

from __future__ import annotations

import re
from collections.abc import Callable

from taskscheduler.api.body import join
from taskscheduler.api.schemas.fields import Fields
from taskscheduler.api.schemas.shapes import ID, Schema, array, request, text, words
from taskscheduler.domain.definition import PAYLOAD_LIMIT, HttpAuth, HttpTarget, HttpTls
from taskscheduler.streams.dispatch.http import RESERVED, SIGNATURE

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
LONGEST_URL = 2_000
LONGEST_USER = 200
MOST_HEADERS = 50
MOST_HEADER_BYTES = 16 * 1024
MOST_EXPECTED = 20

_CREDENTIALS = {
    "authorization",
    "cookie",
    "api-key",
    "apikey",
    "x-api-key",
    "x-apikey",
    "x-auth-token",
    "x-access-token",
    "private-token",
    "x-vault-token",
}
"""Headers that hold nothing but what must not be known: as text they would stand in events for ever."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_RANGE = re.compile(r"([1-5][0-9]{2})-([1-5][0-9]{2})", re.ASCII)


def read_http(fields: Fields, wrong_with_url: Callable[[str], str | None]) -> HttpTarget:
    """The target; its errors are collected in `fields.errors`."""
    url = fields.text("url", 1, LONGEST_URL, required=True)
    empty = fields.raw("expect") == []
    expect = fields.each("expect", MOST_EXPECTED, _expected)
    if url is not None and (wrong := wrong_with_url(url)) is not None:
        fields.error("url", wrong)
    if empty:
        fields.error("expect", "must name at least one status; left out, it is 200-299")
    auth, sign, tls = (_read_auth(fields), _read_sign(fields), _read_tls(fields))
    headers, secret_headers = _read_headers(fields, taken=_taken(auth, sign))
    return HttpTarget(
        url=url or "",
        method=fields.choice("method", METHODS, "POST"),
        headers=headers,
        body=fields.json("body", PAYLOAD_LIMIT),
        expect=expect or HttpTarget("").expect,
        secret_headers=secret_headers,
        auth=auth,
        sign=sign,
        tls=tls,
    )


def _taken(auth: HttpAuth | None, sign: str | None) -> dict[str, str]:
    """Headers that are set by other fields, and which."""
    by_auth = {} if auth is None else {"authorization": "auth"}
    return by_auth if sign is None else {**by_auth, **dict.fromkeys(SIGNATURE, "sign")}


def _read_auth(fields: Fields) -> HttpAuth | None:
    given = fields.object("auth")
    if given is None:
        return None
    both = {"bearer", "basic"} & set(given.names())
    if len(both) != 1:
        fields.error("auth", 'must be {"bearer": SECRET} or {"basic": {"user": NAME, "password": SECRET}}')
    bearer, basic = given.id("bearer"), given.object("basic")
    given.end()
    if basic is None:
        return HttpAuth(bearer=bearer)
    user, password = basic.label("user", 0, LONGEST_USER, required=True), basic.id("password", required=True)
    if user is not None and ":" in user:
        basic.error("user", "must not hold a colon")
    basic.end()
    return HttpAuth(user=user, password=password)


def _read_sign(fields: Fields) -> str | None:
    given = fields.object("sign")
    if given is None:
        return None
    secret = given.id("secret", required=True)
    given.end()
    return secret


def _read_tls(fields: Fields) -> HttpTls | None:
    given = fields.object("tls")
    if given is None:
        return None
    tls = HttpTls(given.id("cert"), given.id("key"), given.id("ca"))
    if tls.key is not None and tls.cert is None:
        given.error("key", "is the key of a certificate: name `cert` too")
    given.end()
    return None if tls == HttpTls() else tls


def _read_headers(fields: Fields, taken: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Those with a value, and those with the name of a secret. `taken` are set by other fields."""
    given = fields.take("headers")
    if given is None:
        return {}, {}
    if not isinstance(given, dict) or len(given) > MOST_HEADERS:
        fields.error("headers", f"must be an object of at most {MOST_HEADERS} headers")
        return {}, {}
    pointer = join(fields.pointer, "headers")
    headers: dict[str, str] = {}
    secret: dict[str, str] = {}
    seen: set[str] = set()
    size = 0
    for name, value in given.items():
        wrong = _wrong_with_name(name, seen, taken)
        if wrong is None and isinstance(value, dict):
            reader = Fields(value, join(pointer, name), fields.errors)
            secret[name] = reader.id("secret", required=True) or ""
            reader.end()
        elif wrong is None and (wrong := _wrong_with_value(name, value)) is None:
            headers[name] = value
            size += len(name) + len(value)
        if wrong is not None:
            fields.errors.add(join(pointer, name), wrong)
        seen.add(name.lower())
    if size > MOST_HEADER_BYTES:
        fields.error("headers", f"must not be longer than {MOST_HEADER_BYTES} bytes together")
    return headers, secret


def _wrong_with_name(name: str, seen: set[str], taken: dict[str, str]) -> str | None:
    if not _NAME.fullmatch(name):
        return "is not the name of a header"
    if name.lower() in RESERVED:
        return "is set by the scheduler"
    if name.lower() in taken:
        return f"is set by `{taken[name.lower()]}`; leave one of them out"
    if name.lower() in seen:
        return "is there twice"
    return None


def _wrong_with_value(name: str, value: object) -> str | None:
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        return 'must be a string of printable ASCII characters, or {"secret": NAME}'
    if name.lower() in _CREDENTIALS:
        return (
            "would be kept in events, where everyone reads it: name a secret of the server instead, "
            'as {"secret": NAME}, or in `auth`'
        )
    return None


def _expected(value: object) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:
        return value
    match = _RANGE.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[1] > match[2]:
        raise ValueError('must be a status such as 304 or a range such as "200-299"')
    return match[0]


_SECRET: Schema = {**ID, "description": "Name of a secret of the server.", "examples": ["example-token"]}
SCHEMA: Schema = request(
    {
        "type": {"const": "http"},
        "url": text(8, LONGEST_URL, pattern=r"^https?://[^\s@\\]+$", examples=["https://example.com/jobs/report"]),
    },
    {
        "method": words(*METHODS, default="POST"),
        "headers": {
            "type": "object",
            "maxProperties": MOST_HEADERS,
            "additionalProperties": {
                "anyOf": [{"type": "string", "pattern": "^[\\t -~]*$"}, request({"secret": _SECRET})],
            },
            "propertyNames": {"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$"},
            "description": "A header that holds a credential is given as the name of a secret.",
            "examples": [{"X-Team": "billing", "X-Api-Key": {"secret": "example-token"}}],
        },
        "body": {"description": "Sent as JSON, a string as it stands. Left out, the payload is sent."},
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
        "auth": {
            "oneOf": [
                request({"bearer": _SECRET}),
                request({"basic": request({"user": text(0, LONGEST_USER, pattern="^[^:]*$"), "password": _SECRET})}),
            ],
            "description": "The `Authorization` header, made of a secret.",
        },
        "sign": request(
            {"secret": _SECRET},
            description="Sign each request by the Standard Webhooks specification (`webhook-id`, the same for all "
            "attempts of a run, `webhook-timestamp`, `webhook-signature`). Each key that the secret holds signs.",
        ),
        "tls": request(
            {},
            {"cert": _SECRET, "key": _SECRET, "ca": _SECRET},
            description="Secrets that are PEM files: the client's certificate, its key, whom to trust.",
        ),
    },
    title="An HTTP request",
    description="Headers sent: `Task-Id`, `Run-Id`, `Attempt`, `Scheduled-For`. Redirects are not followed.",
)
