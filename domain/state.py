"""The folded state of a task's stream: what `decide` looks at and `evolve` produces. Bounded in size."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from taskscheduler.domain.definition import Definition
from taskscheduler.domain.events import Backlog, Error, FailReason, RunCause, SkipReason
from taskscheduler.domain.values import Instant, Json, Millis

MAX_ACTIVE_RUNS = 1_000

TaskStatus: TypeAlias = Literal["cancelled", "paused", "running", "scheduled", "failed", "completed"]
RunStatus: TypeAlias = Literal["queued", "running", "retrying", "succeeded", "failed", "cancelled", "skipped"]


class Attempt(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One try at a run. It is active while `outcome` is None."""

    number: int
    worker: str
    started_at: Instant
    token_hash: str
    lease: Millis
    lease_until: Instant
    deadline: Instant
    request: str | None = None
    progress: Json | None = None
    finished_at: Instant | None = None
    outcome: Literal["succeeded", "failed", "timed_out", "lost", "cancelled"] | None = None
    error: Error | None = None
    late_report: bool = False


class Run(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One firing. `available_at` says since when it can be claimed; `retry_at` when it becomes so again."""

    id: str
    cause: RunCause
    scheduled_for: Instant
    status: RunStatus
    nominal_at: Instant | None = None
    retry_of: str | None = None
    available_at: Instant | None = None
    retry_at: Instant | None = None
    attempts: tuple[Attempt, ...] = ()
    reason: FailReason | SkipReason | str | None = None
    finished_at: Instant | None = None
    nominal_until: Instant | None = None
    count: int = 1

    @property
    def active_attempt(self) -> Attempt | None:
        """The attempt that is running, if one is."""
        return self.attempts[-1] if self.status == "running" else None


class Counts(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """`fired` counts runs made; `skipped` counts nominal times."""

    fired: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    skipped: int = 0


class Pause(msgspec.Struct, frozen=True, gc=False):
    note: str
    at: Instant
    by: str


class Released(msgspec.Struct, frozen=True, gc=False):
    """An attempt that was cancelled and whose holder has not reported since. `until` is the end of its lease."""

    number: int
    token_hash: str
    until: Instant


class UsedKey(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A write made under an Idempotency-Key (both values are hashes)."""

    fingerprint: str
    verb: str
    at: Instant
    run_id: str | None = None


class Task(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The state of the stream `task/<id>`. `Task(id)` is one that never existed.

    `runs` (active ones) and `keys` are stored under keys of their own, everything else in one row. `dues` says when
    each run needs attention; it follows from `runs` and is kept so that the earliest costs no look at every run.
    `scheduled` counts runs for nominal times where the schedule bounds their number, since it was last changed.
    `last_finished` is the run that ended last and `last_skipped` the last row of skipped fire times. `released` holds
    cancelled attempts by run. `version` counts accepted decisions and survives a purge.
    """

    id: str
    version: int = 0
    definition: Definition | None = None
    revision: int = 0
    created_at: Instant = 0
    updated_at: Instant = 0
    recorded_at: Instant = 0
    created_version: int = 0
    first_fire: Instant | None = None
    original: Definition | None = None
    next_fire: Instant | None = None
    backlog: Backlog | None = None
    pause: Pause | None = None
    cancelled_at: Instant | None = None
    deleted_at: Instant | None = None
    counts: Counts = Counts()
    scheduled: int = 0
    last_run_id: str | None = None
    last_finished: Run | None = None
    last_skipped: Run | None = None
    expire_at: Instant | None = None
    released: dict[str, Released] = {}
    runs: dict[str, Run] = {}
    dues: dict[str, Instant] = {}
    keys: dict[str, UsedKey] = {}

    @property
    def exists(self) -> bool:
        """Created and not deleted."""
        return self.definition is not None and self.deleted_at is None

    @property
    def exhausted(self) -> bool:
        """Whether the schedule has made as many runs as it may."""
        most = None if self.definition is None else self.definition.schedule.max_runs
        return most is not None and self.scheduled >= most

    @property
    def last_run(self) -> Run | None:
        """The run made last, or the one that ended last when that has ended; a skipped fire time counts as one."""
        if self.last_run_id is None:
            return None
        skipped = self.last_skipped
        if skipped is not None and skipped.id == self.last_run_id:
            return skipped
        return self.runs.get(self.last_run_id) or self.last_finished

    @property
    def status(self) -> TaskStatus:
        """The first that applies: cancelled, paused, running, scheduled, failed, completed."""
        if self.cancelled_at is not None:
            return "cancelled"
        if self.pause is not None:
            return "paused"
        if self.runs:
            return "running"
        if self.next_fire is not None or self.backlog is not None:
            return "scheduled"
        last = self.last_run
        return "failed" if last is not None and last.status == "failed" else "completed"


def as_made(task: Task) -> Task:
    """The task as it was when it was created, for the repeated reply to the request that created it."""
    return Task(
        id=task.id,
        version=task.created_version,
        definition=task.original or task.definition,
        revision=1,
        created_at=task.created_at,
        updated_at=task.created_at,
        created_version=task.created_version,
        first_fire=task.first_fire,
        next_fire=task.first_fire,
    )


def wakeup(task: Task) -> Instant | None:
    """The one moment at which the stream next needs attention, or None: fire, retry, deadline, lease, retention."""
    earliest = task.expire_at
    if task.next_fire is not None and task.pause is None and (earliest is None or task.next_fire < earliest):
        earliest = task.next_fire
    if task.dues:
        due = min(task.dues.values())
        if earliest is None or due < earliest:
            earliest = due
    return earliest


def run_due(run: Run) -> Instant | None:
    """When the run itself needs attention: the end of its retry delay, lease or deadline."""
    if run.status == "running":
        attempt = run.attempts[-1]
        return min(attempt.lease_until, attempt.deadline)
    return run.retry_at


def with_runs(task: Task, runs: dict[str, Run], keys: dict[str, UsedKey]) -> Task:
    """The state put together again from its row and the rows of its runs and keys."""
    dues = {run_id: due for run_id, run in runs.items() if (due := run_due(run)) is not None}
    return msgspec.structs.replace(task, runs=runs, dues=dues, keys=keys)


def without_runs(task: Task) -> Task:
    """What goes into the row of the state itself."""
    return msgspec.structs.replace(task, runs={}, dues={}, keys={})
