"""A task as clients see it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from taskscheduler.domain.decision import Accepted
from taskscheduler.domain.definition import Definition
from taskscheduler.domain.events import BackfillOverlap, Pending, Upstream
from taskscheduler.domain.state import Backfill, BackfillStatus, Counts, Pause, Task, TaskStatus
from taskscheduler.domain.steps import EdgeKind
from taskscheduler.domain.values import Instant
from taskscheduler.projections.changes import Change, Delete, Later
from taskscheduler.projections.runs import RunView, brief_run_view, without_results
from taskscheduler.projections.tables import Column, Table


class OwedView(msgspec.Struct, frozen=True, gc=False):
    """The `count` fire times with since <= t < until that have come and are still to run."""

    since: Instant
    until: Instant
    count: int


class BackfillView(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A backfill: of `total` runs `fired` were made, `active` of these run or wait, `failed` failed for good."""

    id: str
    status: BackfillStatus
    by: str
    requested_at: Instant
    since: Instant
    until: Instant
    overlap: BackfillOverlap
    total: int
    fired: int
    active: int
    failed: int


class TaskView(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A task with its definition. `deleted_at` is set while a deleted one is kept; `last_run` has no result.

    `next_fire_at` is under the schedule that will be in force then, `due_at` under the present one. `links` holds what
    the definitions of other tasks say of this one, `arrived` the runs that it has heard of while it waits for others.
    No run in it has a result.
    """

    id: str
    definition: Definition
    status: TaskStatus
    revision: int
    version: int
    created_at: Instant
    updated_at: Instant
    next_fire_at: Instant | None = None
    last_run: RunView | None = None
    counts: Counts = Counts()
    pause: Pause | None = None
    deleted_at: Instant | None = None
    owed: OwedView | None = None
    pending: Pending | None = None
    failures_in_row: int = 0
    backfills: tuple[BackfillView, ...] = ()
    due_at: Instant | None = None
    links: dict[str, tuple[EdgeKind, ...]] = {}
    arrived: dict[str, Upstream] = {}


TASKS = Table("tasks", TaskView, partition=(Column("id"),))


def view_of(task: Task) -> TaskView:
    """The view of a task that was created and not purged. Raises ValueError for any other."""
    definition = task.definition
    if definition is None:
        raise ValueError(f"there is no task {task.id!r}")
    last, owed = task.last_run, task.backlog
    return TaskView(
        task.id,
        definition,
        task.status,
        task.revision,
        task.version,
        task.created_at,
        task.updated_at,
        task.upcoming,
        None if last is None else brief_run_view(task.id, last),
        task.counts,
        task.pause,
        task.deleted_at,
        None if owed is None else OwedView(owed.next, owed.until, owed.count),
        task.pending,
        task.failures_in_row,
        tuple([_backfill_view(backfill) for backfill in task.backfills.values()]) if task.backfills else (),
        task.next_fire,
        task.links,
        without_results(task.arrived) if task.arrived else task.arrived,
    )


def _backfill_view(of: Backfill) -> BackfillView:
    return BackfillView(
        of.id,
        of.status,
        of.by,
        of.requested_at,
        of.start,
        of.until,
        of.overlap,
        of.total,
        of.fired,
        of.active,
        of.failed,
    )


def project(accepted: Accepted) -> Sequence[Change]:
    """The row after the decision; every decision changes it, if only by the version."""
    after = accepted.after
    if after.definition is not None:
        return (Later(TASKS, (after.id,), view_of, (after,)),)
    return (Delete(TASKS, (after.id,)),)
