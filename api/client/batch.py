"""Many tasks created in few requests, each with its own success or error."""

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import uuid4

import msgspec

from taskscheduler.client.backoff import RETRYABLE, Reply
from taskscheduler.client.errors import Problem, from_problem
from taskscheduler.client.models import Created, Task, TaskSpec
from taskscheduler.client.requests import Call, encode, fields_of, reader

MOST_TASKS = 1000
MOST_BYTES = 12 * 1024 * 1024


class _Result(msgspec.Struct, frozen=True, kw_only=True):
    status: int
    task: Task | None = None
    error: Problem | None = None


class _Results(msgspec.Struct, frozen=True, kw_only=True):
    results: list[_Result]


class _Status(msgspec.Struct, frozen=True, kw_only=True):
    status: int


class _Statuses(msgspec.Struct, frozen=True, kw_only=True):
    results: list[_Status] = []


_read_results = reader(_Results)
_statuses = msgspec.json.Decoder(_Statuses)


def _read(reply: Reply) -> list[Created]:
    return [
        Created(
            status=result.status,
            task=result.task,
            error=from_problem(result.status, result.error or Problem()) if result.task is None else None,
        )
        for result in _read_results(reply).results
    ]


def _unsettled(reply: Reply) -> bool:
    # The whole batch is sent again: every task has a key of its own, so those already made are not made twice.
    if reply.status != 200:
        return reply.status in RETRYABLE
    try:
        return any(result.status in RETRYABLE for result in _statuses.decode(reply.body).results)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _encoded(spec: TaskSpec) -> bytes:
    fields: dict[str, Any] = {"idempotency_key": uuid4().hex, **fields_of(spec)}
    return encode(fields)


def create_tasks(specs: Iterable[TaskSpec]) -> Iterator[Call[list[Created]]]:
    """Give the requests that create the tasks, in order and no larger than the server takes."""
    waiting: list[bytes] = []
    size = 0
    for spec in specs:
        task = _encoded(spec)
        if waiting and (len(waiting) == MOST_TASKS or size + len(task) > MOST_BYTES):
            yield _call(waiting)
            waiting, size = [], 0
        waiting.append(task)
        size += len(task) + 1
    if waiting:
        yield _call(waiting)


def _call(tasks: list[bytes]) -> Call[list[Created]]:
    return Call(
        method="POST",
        path="/api/tasks/batch",
        read=_read,
        body=b'{"tasks":[' + b",".join(tasks) + b"]}",
        headers={"Content-Type": "application/json"},
        unsettled=_unsettled,
    )
