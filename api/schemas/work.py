"""What workers send: claim requests, heartbeats, outcomes."""

from __future__ import annotations

import msgspec

from taskscheduler.api.schemas.fields import ID_HINT, Fields
from taskscheduler.api.schemas.policies import LONGEST_ERROR_TYPE
from taskscheduler.api.schemas.shapes import ANY, DURATION, ID, LABEL, TEXT, Schema, array, ref, request, text, whole
from taskscheduler.domain.definition import EXEC_KIND
from taskscheduler.domain.events import Error
from taskscheduler.domain.ids import ID_PATTERN, is_id
from taskscheduler.domain.retry import LARGEST_DELAY
from taskscheduler.domain.values import HOUR, MINUTE, SECOND, Json, Millis
from taskscheduler.streams.dispatch.dispatcher import HOLDER

MOST_CLAIMS = 100
MOST_KINDS = 100
MOST_OUTCOMES = 1_000
LONGEST_WAIT = MINUTE
DEFAULT_LEASE = 30 * SECOND
RESULT_LIMIT = 64 * 1024
PROGRESS_LIMIT = 16 * 1024
LONGEST_MESSAGE = 64 * 1024
LONGEST_TOKEN = 1_000
KIND = rf"({ID_PATTERN})|(^\{EXEC_KIND}$)"
"""A kind of work in a claim."""


class ClaimRequest(msgspec.Struct, frozen=True):
    """A worker asks for work. `kinds` None is any."""

    worker: str
    kinds: list[str] | None
    max: int
    wait: Millis
    lease: Millis
    request_id: str | None


class Outcome(msgspec.Struct, frozen=True):
    """How an attempt ended: with an error, or else with a result."""

    result: Json | None = None
    error: Error | None = None
    retryable: bool = True
    retry_after: Millis | None = None
    released: bool = False


def _worker(fields: Fields) -> str:
    worker = fields.label("worker", 1, 200, required=True) or ""
    if worker == HOLDER:
        fields.error("worker", f"{HOLDER!r} is the name of the server's own dispatch; choose another")
    return worker


def read_claim_request(fields: Fields) -> ClaimRequest:
    """A claim request; errors are collected in `fields.errors`."""
    asked = ClaimRequest(
        worker=_worker(fields),
        kinds=list(fields.each("kinds", MOST_KINDS, read_kind)) or None,
        max=fields.integer("max", 1, MOST_CLAIMS, 1),
        wait=fields.duration("wait", 0, LONGEST_WAIT, 0),
        lease=fields.duration("lease", SECOND, HOUR, DEFAULT_LEASE),
        request_id=fields.text("request_id", 1, 200),
    )
    fields.end()
    return asked


def read_kind(value: object) -> str:
    """A kind of work. Raises ValueError."""
    if isinstance(value, str) and (is_id(value) or value == EXEC_KIND):
        return value
    raise ValueError(ID_HINT)


def read_progress(fields: Fields) -> Json | None:
    """A heartbeat."""
    progress = fields.json("progress", PROGRESS_LIMIT)
    fields.end()
    return progress


def read_result(fields: Fields) -> Outcome:
    """A success."""
    outcome = Outcome(result=fields.json("result", RESULT_LIMIT))
    fields.end()
    return outcome


def read_failure(fields: Fields) -> Outcome:
    """A failure."""
    error = fields.object("error", required=True)
    outcome = Outcome(
        error=Error("", "") if error is None else _error(error),
        retryable=fields.flag("retryable", True),
        retry_after=fields.duration("retry_after", 0, LARGEST_DELAY, None),
    )
    fields.end()
    return outcome


def _error(fields: Fields) -> Error:
    error = Error(
        fields.text("type", 1, LONGEST_ERROR_TYPE, required=True) or "",
        fields.text("message", 0, LONGEST_MESSAGE) or "",
    )
    fields.end()
    return error


def read_outcome(fields: Fields) -> tuple[str, Outcome]:
    """One of many outcomes, with its token."""
    token = fields.text("token", 1, LONGEST_TOKEN, required=True) or ""
    if "release" in fields:
        return token, read_release(fields)
    return token, read_failure(fields) if "error" in fields else read_result(fields)


def read_release(fields: Fields) -> Outcome:
    """An attempt that is given back."""
    if not fields.flag("release", True):
        fields.error("release", "must be true, or left out with an outcome")
    fields.end()
    return Outcome(released=True)


_TOKEN: Schema = {**text(1, LONGEST_TOKEN), "examples": ["kP3v-4dV"]}
_RESULT: dict[str, Schema] = {"result": {**ANY, "description": "Any JSON, at most 64 KiB encoded."}}
_FAILURE: dict[str, Schema] = {
    "retryable": {"type": "boolean", "default": True, "description": "false: no further attempt."},
    "retry_after": {**DURATION, "description": "The next attempt starts no earlier."},
}

COMPONENTS: dict[str, Schema] = {
    "ErrorIn": request(
        {"type": text(1, LONGEST_ERROR_TYPE, description="What `give_up_on` matches.")},
        {"message": {**TEXT, "maxLength": LONGEST_MESSAGE, "description": "Cut at 1,024 characters."}},
    ),
    "ClaimRequest": request(
        {"worker": text(1, 200, pattern=LABEL, description="Who asks; shown with its attempts.")},
        {
            "kinds": array(
                {**ID, "pattern": KIND},
                MOST_KINDS,
                description="Kinds that the worker handles; by default all but `$exec`: commands of `exec` targets.",
            ),
            "max": whole(1, MOST_CLAIMS, default=1),
            "wait": {**DURATION, "default": "PT0S", "description": "How long to wait for work, at most 60 s."},
            "lease": {
                **DURATION,
                "default": "PT30S",
                "description": "The attempt is lost when nothing is heard for so long: 1 s to 1 h.",
            },
            "request_id": text(
                1, 200, description="The same again returns the same claims; the Idempotency-Key by default."
            ),
        },
        examples=[{"worker": "mailer-1", "kinds": ["send-welcome"], "max": 10, "wait": "20s", "lease": "30s"}],
    ),
    "HeartbeatIn": request(
        {}, {"progress": {**ANY, "description": "Any JSON, at most 16 KiB."}}, examples=[{"progress": {"done": 40}}]
    ),
    "ReleaseIn": request({}, {}, examples=[{}]),
    "CompleteIn": request({}, _RESULT, examples=[{"result": {"rows": 12}}]),
    "FailIn": request(
        {"error": ref("ErrorIn")},
        _FAILURE,
        examples=[{"error": {"type": "SmtpError", "message": "mailbox full"}, "retryable": True, "retry_after": "1m"}],
    ),
    "OutcomeIn": {
        "anyOf": [
            request({"token": _TOKEN}, _RESULT, title="Success"),
            request({"token": _TOKEN, "error": ref("ErrorIn")}, _FAILURE, title="Failure"),
            request({"token": _TOKEN, "release": {"const": True}}, title="Given back before it has begun"),
        ]
    },
    "ReportIn": request(
        {"outcomes": array(ref("OutcomeIn"), MOST_OUTCOMES)},
        examples=[{"outcomes": [{"token": "kP3v-4dV", "result": {"rows": 12}}]}],
    ),
}
