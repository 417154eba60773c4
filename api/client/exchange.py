"""What both clients do around sending: headers, when to try again, and what a call ends with."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from taskscheduler.client.backoff import Backoff, Reply, Tries
from taskscheduler.client.errors import Unreachable
from taskscheduler.client.models import Created, Task
from taskscheduler.client.requests import Call
from taskscheduler.client.tokens import Tokens

Result = TypeVar("Result")


class Exchange:
    """The part of a client that does no I/O; safe in many threads."""

    def __init__(
        self,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.timeout = timeout
        self._clock = clock
        self._chance = chance
        self._tokens = Tokens()

    def tries(self) -> Tries:
        """Begin a call: it may take `timeout` seconds, all tries included."""
        return Tries(self.timeout, Backoff(chance=self._chance), self._clock)

    def headers(self, call: Call[Result]) -> dict[str, str]:
        """Give the headers to send; a query carries the tokens of the writes it has to see."""
        if call.method != "GET":
            return call.headers
        token = self._tokens.for_all() if call.task is None else self._tokens.for_task(call.task)
        return call.headers if token is None else {**call.headers, "Consistency-Token": token}

    def wait_after(self, call: Call[Result], outcome: Reply | Exception, tries: Tries) -> float | None:
        """Give the seconds to wait before sending again, or None when this outcome is the last."""
        if isinstance(outcome, Exception):
            return tries.wait_before_next()
        return tries.wait_before_next(outcome.retry_after()) if call.unsettled(outcome) else None

    def finish(self, call: Call[Result], outcome: Reply | Exception) -> Result:
        """Read the last outcome; raises ApiError for a refusal, Unreachable when no reply came."""
        if isinstance(outcome, Exception):
            raise Unreachable(0, "the server did not answer", str(outcome) or type(outcome).__name__) from outcome
        result = call.read(outcome)
        token = outcome.headers.get("consistency-token")
        if token and call.method != "GET":
            self._tokens.remember(_tasks(call, result), token)
        return result


def _tasks(call: Call[Result], result: Result) -> list[str]:
    if isinstance(result, Task):
        return [result.id]
    if isinstance(result, list):
        return [one.task.id for one in result if isinstance(one, Created) and one.task is not None]
    return [call.task] if call.task is not None else []
