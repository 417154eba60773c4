"""The immutable facts. A tag is a promise: a new shape gets a new tag and the old one is read for ever.

Events carry no stream, version or actor (the envelope of their decision does), but every instant that was
computed when they were decided, so that folding them needs no clock and no time zone data.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from taskscheduler.domain.calendar_definition import CalendarDefinition, ResolvedDays
from taskscheduler.domain.definition import Definition
from taskscheduler.domain.excluded import ExceptCalendar
from taskscheduler.domain.limit_definition import Granted, LimitDefinition
from taskscheduler.domain.operation_definition import OperationDefinition
from taskscheduler.domain.schedule import Schedule
from taskscheduler.domain.steps import EdgeKind, RunEnd, Step
from taskscheduler.domain.values import Instant, Json, Millis
from taskscheduler.domain.worker_info import WorkerInfo

RunCause: TypeAlias = Literal["schedule", "catch_up", "manual", "backfill", "retry", "chain"]
SkipReason: TypeAlias = Literal["overlap", "missed", "paused", "too_many_active", "outside_window", "purged"]
FailReason: TypeAlias = Literal["attempts_exhausted", "gave_up", "deadline", "queue_timeout"]
AttemptFailure: TypeAlias = Literal["failed", "timed_out", "lost"]
Missed: TypeAlias = Literal["skip", "latest", "all"]
"""Which of the fire times that came in a pause run when it ends."""
BackfillOverlap: TypeAlias = Literal["buffer_all", "allow_all"]
"""Whether the runs of a backfill are made one after another, or as many at once as there is room for."""
BackfillEnd: TypeAlias = Literal["cancelled", "task_ended"]
Hearing: TypeAlias = Literal["started", "waits", "ignored"]
"""What the end of another task's run led to: a run, nothing until others have ended too, or nothing at all."""
UniqueEnd: TypeAlias = Literal["ended", "absent", "lost"]
"""Why a task does not hold a unique key: it has ended, it was never made, or another one had the key by then."""
IgnoreReason: TypeAlias = Literal["paused", "not_awaited", "too_deep"]


class Backlog(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Fire times that have come and are still to run, one after another: the `count` with next <= t < until.

    Those before `resumed_until` came in a pause, at whose end they were asked for.
    """

    next: Instant
    until: Instant
    count: int = 0
    resumed_until: Instant | None = None


class Pending(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A schedule that replaces the present one: it names the fire times for nominal times from `effective_from` on."""

    schedule: Schedule
    effective_from: Instant
    next_fire: Instant | None


class Error(msgspec.Struct, frozen=True, gc=False):
    """Why an attempt failed. `type` is what `retry.give_up_on` matches."""

    type: str
    message: str


class Upstream(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A run that another one follows, and its result, as JSON text; `left_out` where that was too much to hand on."""

    run_id: str
    status: RunEnd
    ended_at: Instant
    result: Json | None = None
    left_out: bool = False
    depth: int = 0


class _Event(msgspec.Struct, frozen=True, gc=False, tag_field="type", omit_defaults=True):
    at: Instant


class TaskCreated(_Event, frozen=True, gc=False, tag="task.created.v1"):
    definition: Definition
    next_fire: Instant | None
    tzdata: str | None = None


class TaskUpdated(_Event, frozen=True, gc=False, tag="task.updated.v1"):
    """`definition` is the whole new one. `next_fire` is the next fire time under it, `pending` what will replace it."""

    definition: Definition
    next_fire: Instant | None
    tzdata: str | None = None
    pending: Pending | None = None


class TaskPaused(_Event, frozen=True, gc=False, tag="task.paused.v1"):
    by: str
    note: str = ""


class TaskResumed(_Event, frozen=True, gc=False, tag="task.resumed.v1"):
    """`missed` says which of the fire times that came in the pause run now; the others are skipped as `paused`."""

    by: str
    note: str = ""
    missed: Missed = "skip"


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


class ScheduleSwitched(_Event, frozen=True, gc=False, tag="schedule.switched.v1"):
    """The pending schedule took force. Every nominal time before `effective_from` is settled under the old one."""

    schedule: Schedule
    effective_from: Instant
    next_fire: Instant | None
    tzdata: str | None = None


class BackfillRequested(_Event, frozen=True, gc=False, tag="backfill.requested.v1"):
    """Runs are to be made for the `total` nominal times of `schedule` in start <= t < until; the first is `next`."""

    backfill_id: str
    by: str
    schedule: Schedule
    start: Instant
    until: Instant
    overlap: BackfillOverlap
    total: int
    next: Instant
    tzdata: str | None = None


class BackfillAdvanced(_Event, frozen=True, gc=False, tag="backfill.advanced.v1"):
    """`fired` runs have been made in all; `next` is the nominal time of the next one, None when that is all."""

    backfill_id: str
    next: Instant | None
    fired: int
    tzdata: str | None = None


class BackfillEnded(_Event, frozen=True, gc=False, tag="backfill.ended.v1"):
    """It was ended before all of its runs were made: those for the last `remaining` nominal times never are."""

    backfill_id: str
    by: str
    reason: BackfillEnd
    remaining: int


class RunQueued(_Event, frozen=True, gc=False, tag="run.queued.v1"):
    """`backfill_id` names the backfill that a run is part of: its nominal time is not one that the schedule owes.

    It fails when it is not claimed by `claim_by`, or has not ended by `deadline`.

    `caused_by` is the task whose run made a chain go on to this one, `upstream` the runs that it follows, by task, and
    `depth` how many runs in a row chains have made up to this one.
    """

    run_id: str
    cause: RunCause
    scheduled_for: Instant
    nominal_at: Instant | None = None
    retry_of: str | None = None
    backfill_id: str | None = None
    claim_by: Instant | None = None
    deadline: Instant | None = None
    caused_by: str | None = None
    upstream: dict[str, Upstream] = {}
    depth: int = 0


class FiresSkipped(_Event, frozen=True, gc=False, tag="fires.skipped.v1"):
    """`count` nominal times from `nominal_at` to `nominal_until` (both included) did not run. Shown as one row."""

    run_id: str
    nominal_at: Instant
    reason: SkipReason
    nominal_until: Instant | None = None
    count: int = 1


class RunRequeued(_Event, frozen=True, gc=False, tag="run.requeued.v1"):
    """The delay before the next attempt is over. The run fails when it is not claimed by `claim_by`."""

    run_id: str
    claim_by: Instant | None = None


class AttemptClaimed(_Event, frozen=True, gc=False, tag="attempt.claimed.v1"):
    """`lease` is the length the holder asked for; it lost the attempt if nothing is heard by `lease_until`.

    `heartbeat` is the task's, where that is no longer than the lease: then the lease is as long as it.
    """

    run_id: str
    number: int
    worker: str
    token_hash: str
    lease: Millis
    lease_until: Instant
    deadline: Instant
    request: str | None = None
    heartbeat: Millis | None = None
    grants: dict[str, str] = {}
    """The slots that it holds: by the name of the limit, the id of the grant."""


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
    """Either `retry_at` is set (the run is retrying) or `reason` is (the run failed for good).

    `heard_until` is set where the scheduler ended it: what its holder reports by then is kept as evidence.
    """

    run_id: str
    number: int
    outcome: AttemptFailure
    error: Error
    retry_at: Instant | None = None
    reason: FailReason | None = None
    heard_until: Instant | None = None


class RunFailed(_Event, frozen=True, gc=False, tag="run.failed.v1"):
    """The run failed for good while no attempt of it was active."""

    run_id: str
    reason: FailReason
    error: Error


class AttemptReleased(_Event, frozen=True, gc=False, tag="attempt.released.v1"):
    """Its holder gave it back before it had begun: the run waits again. It fails when not claimed by `claim_by`."""

    run_id: str
    number: int
    claim_by: Instant | None = None


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
    backfill_id: str | None = None
    task_id: str | None = None


class DeadLetterPurged(_Event, frozen=True, gc=False, tag="dead_letter.purged.v1"):
    """The run, which failed for good at `failed_at`, is no dead letter any more."""

    run_id: str
    failed_at: Instant
    error_type: str
    by: str


class RetentionPlanned(_Event, frozen=True, gc=False, tag="retention.planned.v1"):
    """At `expire_at` the stream is looked at for what has been kept long enough."""

    expire_at: Instant


class RunsExpired(_Event, frozen=True, gc=False, tag="runs.expired.v1"):
    """Finished runs scheduled before `before` are dropped from the read models. `next` is when to look again."""

    before: Instant
    next: Instant | None


class CalendarDefined(_Event, frozen=True, gc=False, tag="calendar.defined.v1"):
    """`definition` is the whole new one, `resolved` the days that it comes to."""

    definition: CalendarDefinition
    resolved: ResolvedDays


class CalendarFollowed(_Event, frozen=True, gc=False, tag="calendar.followed.v1"):
    """The days of a calendar that the task's schedule leaves out are now these; its owner changed nothing."""

    calendar: ExceptCalendar
    next_fire: Instant | None
    tzdata: str | None = None
    pending: Pending | None = None
    """The change of schedule that is planned, with these days."""


class StepsMade(_Event, frozen=True, gc=False, tag="steps.made.v1"):
    """The stream's step `number` goes to each of the streams `to`."""

    number: int
    to: tuple[str, ...]
    step: Step


class StepsTaken(_Event, frozen=True, gc=False, tag="steps.taken.v1"):
    """Receivers have heard all steps up to a number. `refused` says which of them wanted none, and why."""

    up_to: dict[str, int]
    refused: dict[str, str] = {}


class UpstreamHeard(_Event, frozen=True, gc=False, tag="upstream.heard.v1"):
    """The step `number` of the task `upstream` said that its run `run_id` has ended.

    `direct`: the other task named this one. What is ignored stands among the runs under the id `row`. `result` is kept
    while it waits, and else stands in the run that was made.
    """

    upstream: str
    number: int
    run_id: str
    status: RunEnd
    outcome: Hearing
    ended_at: Instant
    reason: IgnoreReason | None = None
    row: str | None = None
    direct: bool = False
    result: Json | None = None
    left_out: bool = False
    depth: int = 0


class ChainLinked(_Event, frozen=True, gc=False, tag="chain.linked.v1"):
    """The step `number` of the task `other` said what its definition says of this one; nothing, without `kinds`."""

    other: str
    number: int
    kinds: tuple[EdgeKind, ...] = ()


class UniqueReserved(_Event, frozen=True, gc=False, tag="unique.reserved.v1"):
    """The task holds the unique key from now on, until `until` if that is set.

    At `check_at` it is asked whether it is there, unless it says so before: that is the step `number` of it.
    """

    task_id: str
    until: Instant | None = None
    check_at: Instant | None = None
    number: int | None = None


class UniqueReleased(_Event, frozen=True, gc=False, tag="unique.released.v1"):
    """The task holds the unique key no more, if it did; `number` is the step of it that said so."""

    task_id: str
    why: UniqueEnd
    number: int | None = None


class UniqueHeard(_Event, frozen=True, gc=False, tag="unique.heard.v1"):
    """The step `number` of the key `unique` asked whether the task is there, or said which other one has the key."""

    unique: str
    number: int
    taken_by: str | None = None


class WorkerSeen(_Event, frozen=True, gc=False, tag="worker.seen.v1"):
    """What a worker said about itself, and how many runs it had. It is forgotten at `forget_at` if nothing follows."""

    info: WorkerInfo
    running: int
    forget_at: Instant


class WorkerDrainRequested(_Event, frozen=True, gc=False, tag="worker.drain_requested.v1"):
    """It is to take no more work, end what runs, and leave."""

    by: str


class WorkerLeft(_Event, frozen=True, gc=False, tag="worker.left.v1"):
    forget_at: Instant


class WorkerForgotten(_Event, frozen=True, gc=False, tag="worker.forgotten.v1"):
    """Nothing of it is kept but the version of its stream."""


class OperationStarted(_Event, frozen=True, gc=False, tag="operation.started.v1"):
    """Something is to be done to many tasks."""

    definition: OperationDefinition
    by: str


class OperationPicked(_Event, frozen=True, gc=False, tag="operation.picked.v1"):
    """These are the tasks of the page; the next one begins at `cursor`, None where there is none."""

    page: int
    targets: tuple[str, ...]
    cursor: str | None = None


class OperationAdvanced(_Event, frozen=True, gc=False, tag="operation.advanced.v1"):
    """What became of the tasks of the page; `refused` by reason, with a sentence for each in `examples`."""

    page: int
    changed: int = 0
    unchanged: int = 0
    refused: dict[str, int] = {}
    examples: dict[str, str] = {}


class OperationCancelled(_Event, frozen=True, gc=False, tag="operation.cancelled.v1"):
    """It ends when it is known what became of the page that was picked last."""

    by: str


class OperationEnded(_Event, frozen=True, gc=False, tag="operation.ended.v1"):
    """It is forgotten at `expire_at`."""

    expire_at: Instant


class OperationForgotten(_Event, frozen=True, gc=False, tag="operation.forgotten.v1"):
    """Nothing of the operation is kept but the version of its stream."""


class CalendarDeleted(_Event, frozen=True, gc=False, tag="calendar.deleted.v1"):
    """Nothing of the calendar is kept but the version of its stream."""

    by: str


class GrantsRevoked(_Event, frozen=True, gc=False, tag="grant.revoked.v1"):
    """Nobody claimed the run's next attempt in time: whoever still holds slots for it cannot any more."""

    run_id: str


class LimitDefined(_Event, frozen=True, gc=False, tag="limit.defined.v1"):
    """`definition` is the whole new one, `next_start` the state of a rate that is another now, else 0."""

    definition: LimitDefinition
    next_start: int = 0


class LimitDeleted(_Event, frozen=True, gc=False, tag="limit.deleted.v1"):
    """It limits nothing any more; the slots that are held are still to be released."""

    by: str


class SlotsGranted(_Event, frozen=True, gc=False, tag="slots.granted.v1"):
    """These attempts may begin. `held`: each holds a slot until it is released; else only the rate was asked.

    `own` is what their tasks themselves allow. `next_start` is the state of the rate after them, 0 without one.
    """

    grants: tuple[Granted, ...]
    own: int | None = None
    next_start: int = 0
    held: bool = True


class SlotsReleased(_Event, frozen=True, gc=False, tag="slots.released.v1"):
    """No attempt is active under these grants, and none can be."""

    ids: tuple[str, ...]


Event: TypeAlias = (
    TaskCreated
    | TaskUpdated
    | TaskPaused
    | TaskResumed
    | TaskCancelled
    | TaskDeleted
    | TaskPurged
    | ScheduleAdvanced
    | ScheduleSwitched
    | BackfillRequested
    | BackfillAdvanced
    | BackfillEnded
    | RunQueued
    | FiresSkipped
    | RunRequeued
    | AttemptClaimed
    | AttemptRenewed
    | AttemptSucceeded
    | AttemptFailed
    | RunFailed
    | AttemptReleased
    | RunCancelled
    | ReportedLate
    | KeyUsed
    | DeadLetterPurged
    | RetentionPlanned
    | RunsExpired
    | CalendarDefined
    | CalendarDeleted
    | CalendarFollowed
    | StepsMade
    | StepsTaken
    | UpstreamHeard
    | ChainLinked
    | WorkerSeen
    | WorkerDrainRequested
    | WorkerLeft
    | WorkerForgotten
    | OperationStarted
    | OperationPicked
    | OperationAdvanced
    | OperationCancelled
    | OperationEnded
    | OperationForgotten
    | UniqueReserved
    | UniqueReleased
    | UniqueHeard
    | GrantsRevoked
    | LimitDefined
    | LimitDeleted
    | SlotsGranted
    | SlotsReleased
)


def tag_of(event: Event) -> str:
    """The versioned name under which the event is on the log."""
    return str(event.__struct_config__.tag)
