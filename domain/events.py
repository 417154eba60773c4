"""The immutable facts of a task. A tag is a promise: a new shape gets a new tag and the old one is read for ever.

Events carry no stream, version or actor (the envelope of their decision does), but every instant that was
computed when they were decided, so that folding them needs no clock and no time zone data.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from taskscheduler.domain.definition import Definition
from taskscheduler.domain.values import Instant, Json, Millis

RunCause: TypeAlias = Literal["schedule", "catch_up", "manual", "backfill", "retry"]
SkipReason: TypeAlias = Literal["overlap", "missed", "paused", "too_many_active", "outside_window"]
FailReason: TypeAlias = Literal["attempts_exhausted", "gave_up", "deadline", "queue_timeout"]
AttemptFailure: TypeAlias = Literal["failed", "timed_out", "lost"]


class Backlog(msgspec.Struct, frozen=True, gc=False):
    """Missed fire times still to be caught up, one after another: those with next <= t < until."""

    next: Instant
    until: Instant


class Error(msgspec.Struct, frozen=True, gc=False):
    """Why an attempt failed. `type` is what `retry.give_up_on` matches."""

    type: str
    message: str


class _Event(msgspec.Struct, frozen=True, gc=False, tag_field="type", omit_defaults=True):
    at: Instant


class TaskCreated(_Event, frozen=True, gc=False, tag="task.created.v1"):
    definition: Definition
    next_fire: Instant | None
    tzdata: str | None = None


class TaskUpdated(_Event, frozen=True, gc=False, tag="task.updated.v1"):
    """`definition` is the whole new one. `next_fire` is the next fire time under it."""

    definition: Definition
    next_fire: Instant | None
    tzdata: str | None = None


class TaskPaused(_Event, frozen=True, gc=False, tag="task.paused.v1"):
    by: str
    note: str = ""


class TaskResumed(_Event, frozen=True, gc=False, tag="task.resumed.v1"):
    by: str
    note: str = ""


class TaskCancelled(_Event, frozen=True, gc=False, tag="task.cancelled.v1"):
    by: str


class TaskDeleted(_Event, frozen=True, gc=False, tag="task.deleted.v1"):
    by: str


class TaskPurged(_Event, frozen=True, gc=False, tag="task.purged.v1"):
    """Nothing of the task is kept but the version of its stream."""


class ScheduleAdvanced(_Event, frozen=True, gc=False, tag="schedule.advanced.v1"):
    """Every nominal time before `next_fire` is settled, apart from those in `backlog`."""

    next_fire: Instant | None
    backlog: Backlog | None = None
    tzdata: str | None = None


class RunQueued(_Event, frozen=True, gc=False, tag="run.queued.v1"):
    run_id: str
    cause: RunCause
    scheduled_for: Instant
    nominal_at: Instant | None = None
    retry_of: str | None = None


class FiresSkipped(_Event, frozen=True, gc=False, tag="fires.skipped.v1"):
    """`count` nominal times from `nominal_at` to `nominal_until` (both included) did not run. Shown as one row."""

    run_id: str
    nominal_at: Instant
    reason: SkipReason
    nominal_until: Instant | None = None
    count: int = 1


class RunRequeued(_Event, frozen=True, gc=False, tag="run.requeued.v1"):
    """The delay before the next attempt is over."""

    run_id: str


class AttemptClaimed(_Event, frozen=True, gc=False, tag="attempt.claimed.v1"):
    """`lease` is the length the holder asked for; it lost the attempt if nothing is heard by `lease_until`."""

    run_id: str
    number: int
    worker: str
    token_hash: str
    lease: Millis
    lease_until: Instant
    deadline: Instant
    request: str | None = None


class AttemptRenewed(_Event, frozen=True, gc=False, tag="attempt.renewed.v1"):
    run_id: str
    number: int
    lease_until: Instant
    progress: Json | None = None


class AttemptSucceeded(_Event, frozen=True, gc=False, tag="attempt.succeeded.v1"):
    """The run succeeded with it. `result` is opaque JSON text."""

    run_id: str
    number: int
    result: Json | None = None


class AttemptFailed(_Event, frozen=True, gc=False, tag="attempt.failed.v1"):
    """Either `retry_at` is set (the run is retrying) or `reason` is (the run failed for good)."""

    run_id: str
    number: int
    outcome: AttemptFailure
    error: Error
    retry_at: Instant | None = None
    reason: FailReason | None = None


class RunCancelled(_Event, frozen=True, gc=False, tag="run.cancelled.v1"):
    run_id: str
    by: str


class ReportedLate(_Event, frozen=True, gc=False, tag="attempt.reported_late.v1"):
    """What a holder said after its attempt had ended otherwise: evidence, never applied."""

    run_id: str
    number: int
    outcome: Literal["succeeded", "failed"]
    result: Json | None = None
    error: Error | None = None


class KeyUsed(_Event, frozen=True, gc=False, tag="key.used.v1"):
    """A write came under an Idempotency-Key: `key` and `fingerprint` are hashes, never what was sent."""

    key: str
    fingerprint: str
    verb: str
    run_id: str | None = None


class RetentionPlanned(_Event, frozen=True, gc=False, tag="retention.planned.v1"):
    """At `expire_at` the stream is looked at for what has been kept long enough."""

    expire_at: Instant


class RunsExpired(_Event, frozen=True, gc=False, tag="runs.expired.v1"):
    """Finished runs scheduled before `before` are dropped from the read models. `next` is when to look again."""

    before: Instant
    next: Instant | None


Event: TypeAlias = (
    TaskCreated
    | TaskUpdated
    | TaskPaused
    | TaskResumed
    | TaskCancelled
    | TaskDeleted
    | TaskPurged
    | ScheduleAdvanced
    | RunQueued
    | FiresSkipped
    | RunRequeued
    | AttemptClaimed
    | AttemptRenewed
    | AttemptSucceeded
    | AttemptFailed
    | RunCancelled
    | ReportedLate
    | KeyUsed
    | RetentionPlanned
    | RunsExpired
)


def tag_of(event: Event) -> str:
    """The versioned name under which the event is on the log."""
    return str(event.__struct_config__.tag)
