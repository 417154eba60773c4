"""What the log is about, by the kind of stream: the state that is kept of it and the rules that it follows.

A stream is told by its id: for a task that of the task, for anything else the name of the stream, `calendar/holidays`.
The two never meet, since the id of a task holds no slash.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from taskscheduler.domain import calendar as calendars
from taskscheduler.domain import decide as tasks
from taskscheduler.domain import limit as limits
from taskscheduler.domain import operation as operations
from taskscheduler.domain import unique as uniques
from taskscheduler.domain import worker as workers
from taskscheduler.domain.calendar import CALENDAR_STREAM, Calendar
from taskscheduler.domain.decided import Decided
from taskscheduler.domain.events import Event
from taskscheduler.domain.evolve import evolve as evolve_task
from taskscheduler.domain.limit import Limit
from taskscheduler.domain.limit_definition import LIMIT_STREAM
from taskscheduler.domain.messages import Context, Policy
from taskscheduler.domain.operation import OPERATION_STREAM, Operation
from taskscheduler.domain.state import Task
from taskscheduler.domain.state import wakeup as task_wakeup
from taskscheduler.domain.unique import UNIQUE_STREAM, Unique
from taskscheduler.domain.values import Instant
from taskscheduler.domain.worker import WORKER_STREAM, Worker

TASK_STREAM = "task/"

Other: TypeAlias = Calendar | Limit | Unique | Worker | Operation
"""What is no task."""

Entity: TypeAlias = Task | Other


class Rules(NamedTuple):
    """How a kind of stream begins, folds, decides, and when it needs attention."""

    empty: Callable[[str], Entity]
    evolve: Callable[[Any, Event], Entity]
    decide: Callable[[Any, Any, Context, Policy], Decided]
    wakeup: Callable[[Any], Instant | None]


TASK = Rules(Task, evolve_task, tasks.decide, task_wakeup)
OTHERS: dict[str, Rules] = {
    CALENDAR_STREAM: Rules(Calendar, calendars.evolve, calendars.decide, calendars.wakeup),
    WORKER_STREAM: Rules(Worker, workers.evolve, workers.decide, workers.wakeup),
    OPERATION_STREAM: Rules(Operation, operations.evolve, operations.decide, operations.wakeup),
    UNIQUE_STREAM: Rules(Unique, uniques.evolve, uniques.decide, uniques.wakeup),
    LIMIT_STREAM: Rules(Limit, limits.evolve, limits.decide, limits.wakeup),
}


def rules_of(id: str) -> Rules:
    """The rules of what has this id. Raises ValueError for a kind of stream that is not known here."""
    head, slash, _ = id.partition("/")
    if not slash:
        return TASK
    if (rules := OTHERS.get(head + slash)) is None:
        raise ValueError(f"{id!r} is not a stream of a known kind")
    return rules


def empty(id: str) -> Entity:
    """The state of what has no record yet."""
    return rules_of(id).empty(id)


def stream_of(id: str) -> str:
    """The stream of what has this id."""
    return id if "/" in id else TASK_STREAM + id


def id_of(stream: str) -> str:
    """The id of what a stream is about. Raises ValueError for a kind of stream that is not known here."""
    if stream.startswith(TASK_STREAM):
        return stream[len(TASK_STREAM) :]
    rules_of(stream)
    if "/" not in stream:
        raise ValueError(f"{stream!r} is not the name of a stream")
    return stream
