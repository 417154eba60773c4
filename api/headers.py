"""Request headers with a meaning of their own: Idempotency-Key and If-Match, and the ids made here."""

from __future__ import annotations

import re
import secrets
from typing import Any

import msgspec
from litestar import Request

from taskscheduler.api.problems import Problem
from taskscheduler.api.schemas.fields import Errors
from taskscheduler.domain.ids import digest
from taskscheduler.domain.messages import Key
from taskscheduler.domain.values import Instant

LONGEST_KEY = 255

_KEY = re.compile(rf"[\x20-\x7e]{{1,{LONGEST_KEY}}}")
_TAGS = re.compile(r'\s*(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"\s*(?:,\s*(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"\s*)*')
_REVISION = re.compile(r'(?<!W/)"r([1-9][0-9]{0,17})"')

_canonical = msgspec.json.Encoder(order="deterministic").encode

NO_REVISION = -1
"""What nothing is ever at, not even what is not there: for an `If-Match` that matches nothing."""


def idempotency_key(request: Request[Any, Any, Any], errors: Errors) -> str | None:
    """The Idempotency-Key; one that cannot be is an error at `/headers/idempotency-key`."""
    value: str | None = request.headers.get("idempotency-key")
    if value is None or is_key(value):
        return value
    errors.add("/headers/idempotency-key", KEY_HINT)
    return None


KEY_HINT = f"must be 1 to {LONGEST_KEY} printable ASCII characters"


def is_key(value: object) -> bool:
    """Whether it can be an Idempotency-Key."""
    return isinstance(value, str) and _KEY.fullmatch(value) is not None


def key_of(value: str | None, method: str, path: str, body: object) -> Key | None:
    """The key and what was sent under it, as the domain remembers them."""
    if value is None:
        return None
    return Key(digest("key", value), digest(method, path, _canonical(body).decode()))


def if_match(request: Request[Any, Any, Any]) -> list[int] | None:
    """The revisions that `If-Match` names (maybe none that can exist), None for any. Raises Problem 400.

    Weak tags never match (RFC 9110 section 13.1.1).
    """
    value: str | None = request.headers.get("if-match")
    if value is None or value.strip() == "*":
        return None
    if not _TAGS.fullmatch(value):
        raise Problem("malformed", 'If-Match must be entity tags such as "r3", or *')
    return [int(revision) for revision in _REVISION.findall(value)] or [NO_REVISION]


def new_id(now: Instant) -> str:
    """An id for a task that its client did not name. Ids made later sort after."""
    return f"{now:012x}-{secrets.token_hex(8)}"


def id_of_key(value: str) -> str:
    """The id of a task that was made under an Idempotency-Key and no id."""
    return digest("id", value)
