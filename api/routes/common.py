"""What routes share: reading ids from paths, the headers of a write, links to the next page."""

from __future__ import annotations

from typing import Any, TypeAlias
from urllib.parse import urlencode

from litestar import Request as LitestarRequest

from taskscheduler.api.headers import NO_REVISION, if_match
from taskscheduler.api.node import Node
from taskscheduler.api.problems import Problem
from taskscheduler.api.reply import Headers
from taskscheduler.commands.handler import Done
from taskscheduler.domain.errors import TaskNotFound
from taskscheduler.domain.events import Event
from taskscheduler.domain.ids import is_id
from taskscheduler.domain.messages import Key
from taskscheduler.projections.task_view import TaskView

Request: TypeAlias = LitestarRequest[Any, Any, Any]

REPLAYED: Headers = ((b"idempotent-replayed", b"true"),)


def path_id(request: Request, name: str, what: str) -> str:
    """An id in the path. Raises Problem 404 for what can be none."""
    value: str = request.path_params[name]
    if not is_id(value):
        said = "1 to 64 letters, digits, dots, dashes and underscores, and begins with a letter or a digit"
        raise Problem("not-found", f"no {what} has such an id: one has {said}")
    return value


async def kept_task(node: Node, request: Request) -> TaskView:
    """The task in the path; one that was deleted as long as it is kept. Raises TaskNotFound."""
    task_id = path_id(request, "task_id", "task")
    view = await node.queries.task(task_id)
    if view is None:
        raise TaskNotFound(f"there is no task {task_id!r}")
    return view


def etag(revision: int) -> Headers:
    """The entity tag of a task."""
    return ((b"etag", b'"r%d"' % revision),)


def consistency(token: str) -> Headers:
    """Up to where a reader must be to see the write."""
    return ((b"consistency-token", token.encode()),)


def version_asked(request: Request, defined: int) -> int | None:
    """The version to insist on: of several that If-Match allows the one that the definition is at, 0 without one.

    `*` allows any, but there has to be one (RFC 9110 section 13.1.1).
    """
    asked = if_match(request)
    if not defined and "if-match" in request.headers:
        return NO_REVISION
    if asked is None:
        return None
    return defined if defined in asked else asked[0]


def was_made(done: Done, created_version: int, defined: type[Event]) -> bool:
    """Whether a PUT, or the one that it repeats, made what was not there; by the event that says it was defined."""
    decided = done.decided
    if decided.replayed is not None:
        return decided.replayed.verb == "create"
    return created_version == decided.state.version and any(isinstance(event, defined) for event in decided.events)


def put_headers(path: str, done: Done, defined: int, *, created: bool) -> Headers:
    """The headers of the reply to a PUT of what is at `path` now, in this version of its definition."""
    location: Headers = ((b"location", path.encode()),) if created else ()
    return location + etag(defined) + written(done)


def written(done: Done) -> Headers:
    """The headers of the reply to any write."""
    return consistency(done.token) + (REPLAYED if done.decided.replayed is not None else ())


def is_known(node: Node, task_id: str, key: Key | None) -> bool:
    """Whether a request with this key was carried out before, so that its answer can be given again."""
    if key is None:
        return False
    used = node.handler.state(task_id).keys.get(key.key)
    return used is not None and used.fingerprint == key.fingerprint


def next_link(request: Request, parameters: list[tuple[str, str]], cursor: str | None) -> Headers:
    """The link to the next page (RFC 8288)."""
    if cursor is None:
        return ()
    query = urlencode([(name, value) for name, value in parameters if name != "cursor"] + [("cursor", cursor)])
    return ((b"link", f'<{request.scope["path"]}?{query}>; rel="next"'.encode()),)
