"""What can be asked of the read models, and the pages that answer."""

from __future__ import annotations

from typing import Generic, Literal, TypeAlias, TypeVar

import msgspec

from taskscheduler.domain.events import RunCause
from taskscheduler.domain.state import RunStatus, TaskStatus
from taskscheduler.domain.values import Instant

T = TypeVar("T")

Sort: TypeAlias = Literal["created_at", "-created_at", "next_fire_at", "-next_fire_at", "name", "-name"]

DEFAULT_LIMIT = 50
MAX_LIMIT = 200


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some answers and where to go on; None when there is nothing more.

    A page may hold fewer than asked for, even none, and still have a next one: a call looks at so many rows only.
    """

    items: list[T]
    next_cursor: str | None = None


class TaskFilter(msgspec.Struct, frozen=True, gc=False):
    """Tasks for which everything given holds. `name_contains` ignores case; `due_before` leaves out what never fires.

    Tasks without a next fire time come last in the order `next_fire_at`, so first in `-next_fire_at`.
    """

    status: TaskStatus | None = None
    name_contains: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    calendar: str | None = None
    due_before: Instant | None = None
    sort: Sort = "created_at"


class RunFilter(msgspec.Struct, frozen=True, gc=False):
    """Runs scheduled at since <= t < until."""

    status: RunStatus | None = None
    since: Instant | None = None
    until: Instant | None = None
    cause: RunCause | None = None


class DeadLetterFilter(msgspec.Struct, frozen=True, gc=False):
    """Runs that failed for good at since <= t < until; tags are those of the task when the run failed.

    `retried` asks whether a run was made of it since.
    """

    task_id: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    error_type: str | None = None
    since: Instant | None = None
    until: Instant | None = None
    retried: bool | None = None


ANY_TASK = TaskFilter()
ANY_RUN = RunFilter()
ANY_DEAD_LETTER = DeadLetterFilter()
