"""Errors as clients see them: `application/problem+json` (RFC 9457) for every one, never a stack trace."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException

from taskscheduler.api.reply import Headers, Interruption, Reply, encode
from taskscheduler.commands.handler import Unavailable
from taskscheduler.domain import errors
from taskscheduler.projections.ports import ViewsUnavailable

MEDIA_TYPE = "application/problem+json"
MOST_ERRORS = 100
"""Of a request with more, the first are listed."""

RETRY_READS = 1.0
"""Seconds."""

_log = logging.getLogger(__name__)


class FieldError(msgspec.Struct, frozen=True):
    """One thing wrong in a request. `pointer` is a JSON pointer into the body, or names a parameter or header."""

    pointer: str
    detail: str


class Problem(Exception):
    """A request that cannot be served, ready to be told."""

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        fields: Sequence[FieldError] = (),
        retry_after: float | None = None,
        outcome: str | None = None,
        headers: Headers = (),
        task_id: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.fields = tuple(fields)
        self.retry_after = retry_after
        self.outcome = outcome
        self.headers = headers
        self.task_id = task_id

    @property
    def status(self) -> int:
        return KINDS[self.kind].status

    def document(self, instance: str) -> dict[str, Any]:
        """The members of the problem document."""
        kind = KINDS[self.kind]
        document: dict[str, Any] = {
            "type": f"/docs#{self.kind}",
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail,
            "instance": instance,
        }
        if self.fields:
            document["errors"] = self.fields
        if self.task_id is not None:
            document["task_id"] = self.task_id
        if self.outcome is not None:
            document["outcome"] = self.outcome
        return document

    def reply(self, instance: str) -> Reply:
        """The response that tells it."""
        headers = self.headers
        if self.retry_after is not None:
            headers = (*headers, (b"retry-after", b"%d" % max(1, round(self.retry_after))))
        kind = Interruption if self.kind == "too-large" else Reply
        return kind(self.status, encode(self.document(instance)), media_type=MEDIA_TYPE.encode(), headers=headers)


class Kind(NamedTuple):
    status: int
    title: str
    meaning: str


KINDS: dict[str, Kind] = {
    "malformed": Kind(400, "Malformed request", "The body is not JSON, or a header cannot be read."),
    "not-found": Kind(404, "Not found", "There is no such path, task, run, claim, calendar or operation."),
    "method-not-allowed": Kind(405, "Method not allowed", "The path exists but not with this method; see `Allow`."),
    "conflict": Kind(
        409, "Not in this state", "The state of the task, run, claim, calendar or operation does not allow it."
    ),
    "exists": Kind(409, "The id is taken", "There is a task of this id already."),
    "not-unique": Kind(409, "The unique key is taken", "`task_id` names the task that has it."),
    "claim-lost": Kind(409, "The claim is lost", "Another holds the attempt, or it has ended."),
    "gone": Kind(410, "Deleted", "The task was deleted; its history is kept for a while."),
    "revision-mismatch": Kind(412, "Another revision", "`If-Match` names another revision than the task is at."),
    "too-large": Kind(413, "Body too large", "The body is over 1 MiB (16 MiB for a batch)."),
    "not-json": Kind(415, "Not JSON", "The body is not `application/json`, or it is compressed."),
    "invalid": Kind(422, "Invalid request", "`errors` names every field that cannot be accepted, and why."),
    "key-reused": Kind(422, "Idempotency-Key used before", "The key was used for another request."),
    "too-many": Kind(429, "Too many requests", "More than is remembered or allowed; see `detail`."),
    "internal": Kind(500, "Internal error", "A fault in the server, which has logged it."),
    "unavailable": Kind(
        503,
        "Not available now",
        "Try again after `Retry-After` seconds. When `outcome` is `unknown` the write may have happened: repeat it "
        "under the same Idempotency-Key.",
    ),
}

_DOMAIN: dict[type[errors.DomainError], str] = {
    errors.TaskNotFound: "not-found",
    errors.TaskGone: "gone",
    errors.BackfillNotFound: "not-found",
    errors.CalendarNotFound: "not-found",
    errors.WorkerNotFound: "not-found",
    errors.OperationNotFound: "not-found",
    errors.NotSelected: "conflict",
    errors.LimitNotFound: "not-found",
    errors.TaskExists: "exists",
    errors.NotUnique: "not-unique",
    errors.WrongState: "conflict",
    errors.RevisionMismatch: "revision-mismatch",
    errors.TooManyKeys: "too-many",
    errors.ClaimUnknown: "not-found",
    errors.ClaimLost: "claim-lost",
    errors.NotClaimable: "conflict",
    errors.Invalid: "invalid",
}

_HTTP = {400: "malformed", 404: "not-found", 405: "method-not-allowed", 413: "too-large"}
_HTTP_DETAIL = {
    404: "there is no such path; /docs lists those there are",
    405: "the path does not take this method",
    413: "the body is larger than is taken here: 1 MiB, or 16 MiB for a batch",
}


def invalid(fields: Sequence[FieldError]) -> Problem:
    """A request with errors in these fields."""
    said = f"{fields[0].pointer or 'the body'} {fields[0].detail}" if len(fields) == 1 else f"{len(fields)} errors"
    return Problem("invalid", said[:500], fields=fields[:MOST_ERRORS])


def problem_of(error: Exception, key: str = "/headers/idempotency-key") -> Problem:
    """What to tell of an error; `key` points to the idempotency key. Logs those that are nobody's fault but ours."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, errors.Invalid):
        return invalid([FieldError(error.pointer, error.detail)])
    if isinstance(error, errors.KeyReused):
        return Problem("key-reused", error.detail, fields=[FieldError(key, error.detail)])
    if isinstance(error, errors.NotUnique):
        return Problem("not-unique", error.detail, task_id=error.holder)
    if isinstance(error, errors.DomainError):
        return Problem(_DOMAIN[type(error)], error.detail)
    if isinstance(error, Unavailable):
        return Problem("unavailable", error.detail, retry_after=error.retry_after, outcome=error.outcome)
    if isinstance(error, ViewsUnavailable):
        return Problem("unavailable", str(error), retry_after=RETRY_READS)
    if isinstance(error, HTTPException) and (kind := _HTTP.get(error.status_code)) is not None:
        allowed = (error.headers or {}).get("allow")
        headers: Headers = ((b"allow", allowed.encode()),) if allowed is not None else ()
        return Problem(kind, _HTTP_DETAIL.get(error.status_code, "the request cannot be read"), headers=headers)
    _log.error("unhandled error", exc_info=error)
    return Problem("internal", "something went wrong in the server, which has logged it")


def instance_of(scope: Any) -> str:
    """The path of the request as a URI reference."""
    raw = scope.get("raw_path") or quote(scope["path"]).encode()
    return quote(raw.split(b"?")[0].decode("latin-1"), safe="/%:@!$&'()*+,;=-._~")


def answer(request: Request[Any, Any, Any], error: Exception) -> Any:
    """The exception handler of the application."""
    return _Answer(problem_of(error).reply(instance_of(request.scope)))


class _Answer:
    """What Litestar expects of an exception handler."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def to_asgi_response(self, **_: Any) -> Reply:
        return self._reply
