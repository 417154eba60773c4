"""The folded state of a task's stream: what `decide` looks at and `evolve` produces. Bounded in size."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from taskscheduler.domain.definition import Definition
from taskscheduler.domain.events import (
    BackfillEnd,
    BackfillOverlap,
    Backlog,
    Error,
    FailReason,
    Pending,
    RunCause,
    SkipReason,
    Upstream,
)
from taskscheduler.domain.schedule import Manual, Schedule
from taskscheduler.domain.steps import EdgeKind
from taskscheduler.domain.values import Instant, Json, Millis

MAX_ACTIVE_RUNS = 1_000
MAX_BACKFILLS = 10
"""Backfills that a task has at once; so many are remembered, those that have ended among them."""

TaskStatus: TypeAlias = Literal["cancelled", "paused", "running", "scheduled", "failed", "completed"]
BackfillStatus: TypeAlias = Literal["running", "completed", "cancelled"]
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
    outcome: Literal["succeeded", "failed", "timed_out", "lost", "cancelled", "released"] | None = None
    error: Error | None = None
    late_report: bool = False
    heartbeat: Millis | None = None
    grants: dict[str, str] = {}

    @property
    def hold(self) -> Millis:
        """How long a sign of life keeps it."""
        return self.lease if self.heartbeat is None else self.heartbeat


class Run(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One firing. `available_at` says since when it can be claimed; `retry_at` when it becomes so again.

    It fails when it still waits at `claim_by` or is active at `deadline`. `error` is that of no attempt.
    """

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
    backfill_id: str | None = None
    claim_by: Instant | None = None
    deadline: Instant | None = None
    error: Error | None = None
    caused_by: str | None = None
    upstream: dict[str, Upstream] = {}
    depth: int = 0
    revoked: int = 0
    """How often the slots that were granted for its next attempt were taken back."""

    @property
    def tries(self) -> int:
        """Attempts that count: all but those that were given back before they had begun."""
        return sum(attempt.outcome != "released" for attempt in self.attempts)

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


class Backfill(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Runs for the `total` nominal times of `schedule` in start <= t < until, the schedule when it was requested.

    `fired` of them have been made, `active` of those have not ended, `failed` failed for good. `next` is the nominal
    time of the next one. `reason` says why it was ended before all were made.
    """

    id: str
    by: str
    requested_at: Instant
    schedule: Schedule
    start: Instant
    until: Instant
    overlap: BackfillOverlap
    total: int
    next: Instant | None
    fired: int = 0
    active: int = 0
    failed: int = 0
    reason: BackfillEnd | None = None

    @property
    def remaining(self) -> int:
        """For how many nominal times no run has been made."""
        return self.total - self.fired

    @property
    def status(self) -> BackfillStatus:
        """Cancelled, running while it makes runs or one of them is active, then completed."""
        if self.reason is not None:
            return "cancelled"
        return "completed" if self.next is None and not self.active else "running"


class Released(msgspec.Struct, frozen=True, gc=False):
    """An attempt that was cancelled and whose holder has not reported since. `until` is the end of its lease."""

    number: int
    token_hash: str
    until: Instant


class Unheard(msgspec.Struct, frozen=True, gc=False):
    """An attempt that the scheduler ended and whose holder has not reported since; it may until `until`."""

    run_id: str
    number: int
    token_hash: str
    outcome: str
    until: Instant


class UsedKey(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A write made under an Idempotency-Key (both values are hashes)."""

    fingerprint: str
    verb: str
    at: Instant
    run_id: str | None = None
    backfill_id: str | None = None
    task_id: str | None = None


class Task(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The state of the stream `task/<id>`. `Task(id)` is one that never existed.

    `runs` (active ones) and `keys` are stored under keys of their own, everything else in one row. `dues` says when
    each run needs attention; it follows from `runs` and is kept so that the earliest costs no look at every run.
    `scheduled` counts runs for nominal times where the schedule bounds their number, since it was last changed.
    `failures_in_row` counts runs that failed for good since the last that succeeded, or since the task was resumed.
    `steps` is the number of the last step that was made, `unsent` that of the last one for each receiver which has not
    taken it yet, `heard` that of the last one heard of each sender. `links` holds what other tasks say of this one, and
    `arrived` the runs whose ends it has heard of while it waits for those of others.
    `last_finished` is the run that ended last and `last_skipped` the last row of skipped fire times. `released` holds
    cancelled attempts by run, `unheard` the last of those that a timer ended. `version` counts accepted decisions and
    survives a purge.
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
    pending: Pending | None = None
    pause: Pause | None = None
    failures_in_row: int = 0
    cancelled_at: Instant | None = None
    deleted_at: Instant | None = None
    counts: Counts = Counts()
    scheduled: int = 0
    last_run_id: str | None = None
    last_finished: Run | None = None
    last_skipped: Run | None = None
    expire_at: Instant | None = None
    backfills: dict[str, Backfill] = {}
    released: dict[str, Released] = {}
    unheard: tuple[Unheard, ...] = ()
    steps: int = 0
    unsent: dict[str, int] = {}
    heard: dict[str, int] = {}
    links: dict[str, tuple[EdgeKind, ...]] = {}
    arrived: dict[str, Upstream] = {}
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
    def upcoming(self) -> Instant | None:
        """The next fire time, under the present schedule or the one that will have replaced it by then."""
        pending = self.pending
        if pending is None or (self.next_fire is not None and self.next_fire < pending.effective_from):
            return self.next_fire
        return pending.next_fire

    @property
    def goes_on(self) -> bool:
        """Whether a run is still to be made: for a fire time, of a backfill, or whenever something asks for one."""
        if self.definition is not None and type(self.definition.schedule) is Manual:
            return True
        if self.next_fire is not None or self.backlog is not None or self.pending is not None:
            return True
        return any(backfill.next is not None for backfill in self.backfills.values())

    @property
    def busy(self) -> int:
        """Active runs that fire times have to wait for: all but those of backfills."""
        return len(self.runs) - self.backfilling

    @property
    def backfilling(self) -> int:
        """Active runs of backfills."""
        return sum(backfill.active for backfill in self.backfills.values())

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
        if self.goes_on:
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
    """The one moment at which the stream next needs attention, or None.

    It is the earliest of: fire, change of schedule, retry, timeout, deadline, lease, retention.
    """
    earliest = task.expire_at
    if task.next_fire is not None and task.pause is None and (earliest is None or task.next_fire < earliest):
        earliest = task.next_fire
    if task.pending is not None and (earliest is None or task.pending.effective_from < earliest):
        earliest = task.pending.effective_from
    if task.dues:
        due = min(task.dues.values())
        if earliest is None or due < earliest:
            earliest = due
    return earliest


def run_due(run: Run) -> Instant | None:
    """When the run itself needs attention: the end of its retry delay, lease, timeout or deadline."""
    if run.status == "running":
        attempt = run.attempts[-1]
        return min(attempt.lease_until, attempt.deadline)
    due, deadline = run.retry_at if run.status == "retrying" else run.claim_by, run.deadline
    return due if deadline is None or (due is not None and due < deadline) else deadline


def with_runs(task: Task, runs: dict[str, Run], keys: dict[str, UsedKey]) -> Task:
    """The state put together again from its row and the rows of its runs and keys."""
    dues = {run_id: due for run_id, run in runs.items() if (due := run_due(run)) is not None}
    return msgspec.structs.replace(task, runs=runs, dues=dues, keys=keys)


def without_runs(task: Task) -> Task:
    """What goes into the row of the state itself."""
    return msgspec.structs.replace(task, runs={}, dues={}, keys={})
