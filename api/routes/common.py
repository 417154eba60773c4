"""What routes share: reading ids from paths, the headers of a write, links to the next page."""

from __future__ import annotations

from typing import Any, TypeAlias
from urllib.parse import urlencode

from litestar import Request as LitestarRequest

from taskscheduler.api.problems import Problem
from taskscheduler.api.reply import Headers
from taskscheduler.domain.ids import is_id

Request: TypeAlias = LitestarRequest[Any, Any, Any]

REPLAYED: Headers = ((b"idempotent-replayed", b"true"),)


def path_id(request: Request, name: str, what: str) -> str:
    """An id in the path. Raises Problem 404 for what can be none."""
    value: str = request.path_params[name]
    if not is_id(value):
        raise Problem("not-found", f"no {what} has such an id")
    return value


def etag(revision: int) -> Headers:
    """The entity tag of a task."""
    return ((b"etag", b'"r%d"' % revision),)


def consistency(token: str) -> Headers:
    """Up to where a reader must be to see the write."""
    return ((b"consistency-token", token.encode()),)


def next_link(request: Request, parameters: list[tuple[str, str]], cursor: str | None) -> Headers:
    """The link to the next page (RFC 8288)."""
    if cursor is None:
        return ()
    query = urlencode([(name, value) for name, value in parameters if name != "cursor"] + [("cursor", cursor)])
    return ((b"link", f'<{request.scope["path"]}?{query}>; rel="next"'.encode()),)
