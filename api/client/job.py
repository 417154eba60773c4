"""What a handler is given, and what it may end with."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic

import msgspec

from taskscheduler.client.duration import Duration, seconds
from taskscheduler.client.models import Upstream

if TYPE_CHECKING:
    # For type checkers a Job without a type of payload is one of Any.
    from typing_extensions import TypeVar

    Payload = TypeVar("Payload", default=Any)
else:
    from typing import TypeVar

    Payload = TypeVar("Payload")

MOST_RESULT_BYTES = 64 * 1024
MOST_MESSAGE_CHARACTERS = 4000
MOST_TYPE_CHARACTERS = 100


class ExecCommand(msgspec.Struct, frozen=True, kw_only=True):
    """What a task with an `exec` target asks for."""

    argv: tuple[str, ...]
    env: dict[str, str] = {}
    cwd: str | None = None


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that this worker holds, as the server gave it. `timeout` is what it may take in all."""

    token: str
    task_id: str
    run_id: str
    attempt: int
    kind: str
    payload: Any = None
    upstream: dict[str, Upstream] = {}
    scheduled_for: datetime | None = None
    deadline: datetime | None = None
    heartbeat_timeout: timedelta | None = None
    timeout: timedelta | None = None
    exec: ExecCommand | None = None


class Cancelled(Exception):
    """Raised by `Job.check` when nobody waits for the result any more."""


class Flag(threading.Event):
    """An event that is true once it is set: `if job.cancelled`, or `job.cancelled.wait(seconds)` in a thread.

    `reason` is then Cancelled, TimedOut, ClaimLost or WorkerStopped.
    """

    reason = ""

    def __bool__(self) -> bool:
        return self.is_set()


class Job(Generic[Payload]):
    """One attempt of a run, for its handler; use `(run_id, attempt)` to fence side effects.

    `upstream` holds the runs that it follows in a chain, by task, with their results.

    `cancelled` becomes true when the run was cancelled, its time is over, its claim was lost or the worker has to
    stop: nobody waits for the result any more. `Job[T]` has a payload that was decoded to T.
    """

    payload: Payload

    def __init__(self, claim: Claim, beat: Callable[[bytes], None] = lambda _: None) -> None:
        self.task_id = claim.task_id
        self.run_id = claim.run_id
        self.attempt = claim.attempt
        self.kind = claim.kind
        self.payload = claim.payload
        self.upstream = claim.upstream
        self.scheduled_for = claim.scheduled_for
        self.deadline = claim.deadline
        self.command = claim.exec
        self.cancelled = Flag()
        self._beat = beat

    def heartbeat(self, progress: Any = None) -> None:
        """Tell the server soon how far the work is; never blocks, and may be called from any thread.

        Leases are renewed without it. Raises TypeError when `progress` is no JSON.
        """
        self._beat(msgspec.json.encode(progress))

    def progress(self, progress: Any) -> None:
        """Say how far the work is, for all who look at the run; as `heartbeat`."""
        self.heartbeat(progress)

    def check(self) -> None:
        """Raise Cancelled when nobody waits for the result any more: a place where a handler may be ended."""
        if self.cancelled:
            raise Cancelled("nobody waits for the result any more")

    def __repr__(self) -> str:
        return f"<Job {self.kind} of task {self.task_id}, run {self.run_id}, attempt {self.attempt}>"


class Fail(Exception):
    """Raised by a handler to say how its failure is to be taken.

    Without `retryable` the run fails for good, unless `retry_after` (seconds, `"5m"` or a timedelta) asks for another
    attempt. `type` is what the run's error is known by. Any other exception fails the attempt and is retried by the
    task's policy, with the name of its class as the type.
    """

    def __init__(
        self,
        message: str = "",
        *,
        retryable: bool | None = None,
        retry_after: Duration | None = None,
        type: str | None = None,
    ) -> None:
        super().__init__(message)
        self.retryable = retry_after is not None if retryable is None else retryable
        self.retry_after = None if retry_after is None else seconds(retry_after)
        self.type = type or self.__class__.__name__


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended, as JSON without the token: `{"result"}`, `{"error", "retryable", "retry_after"}` or
    `{"release"}`."""

    body: bytes

    def report(self, token: str) -> bytes:
        """Give the outcome as one entry of a report."""
        rest = self.body[1:] if self.body == b"{}" else b"," + self.body[1:]
        return b'{"token":' + msgspec.json.encode(token) + rest


RELEASE = Outcome(body=b'{"release":true}')
"""It was never begun: the run goes back to its queue, and nothing of the attempt counts."""


def success(result: Any) -> Outcome:
    """Give the outcome of a handler that returned; a result that is no JSON, or too large, is a failure for good."""
    if result is None:
        return Outcome(body=b"{}")
    try:
        encoded = msgspec.json.encode(result)
    except (TypeError, ValueError, RecursionError) as error:
        return failure("ResultNotJson", str(error), retryable=False)
    if len(encoded) > MOST_RESULT_BYTES:
        return failure("ResultTooLarge", f"{len(encoded)} bytes, {MOST_RESULT_BYTES} are allowed", retryable=False)
    return Outcome(body=b'{"result":' + encoded + b"}")


def failure(type: str, message: str, *, retryable: bool, retry_after: float | None = None) -> Outcome:
    """Give the outcome of a handler that failed; `retry_after` is in seconds."""
    # Lone surrogates, such as of file names, are no JSON.
    text = message[:MOST_MESSAGE_CHARACTERS].encode("utf-8", "backslashreplace").decode()
    body: dict[str, Any] = {"error": {"type": type[:MOST_TYPE_CHARACTERS], "message": text}, "retryable": retryable}
    if retry_after is not None:
        body["retry_after"] = retry_after
    return Outcome(body=msgspec.json.encode(body))


def failure_of(error: BaseException) -> Outcome:
    """Give the outcome of a handler that raised."""
    if isinstance(error, Fail):
        return failure(error.type, _text(error), retryable=error.retryable, retry_after=error.retry_after)
    return failure(type(error).__name__, _text(error), retryable=True)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(its message could not be read)"
