"""Command messages: what can be asked of a task or of a calendar. Time and randomness come in with the `Context`."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from taskscheduler.domain.calendar_definition import CalendarDefinition, ResolvedDays
from taskscheduler.domain.definition import Definition, DefinitionPatch, Lane, Uniqueness
from taskscheduler.domain.events import BackfillOverlap, Error, Missed, Upstream
from taskscheduler.domain.excluded import ExceptCalendar
from taskscheduler.domain.limit_definition import Granted, LimitDefinition
from taskscheduler.domain.operation_definition import OperationDefinition, Selection
from taskscheduler.domain.steps import Told
from taskscheduler.domain.values import DAY, MINUTE, Instant, Json, Millis
from taskscheduler.domain.worker_info import WorkerInfo


class Policy(msgspec.Struct, frozen=True, gc=False):
    """Settings that decisions depend on. What they decided is in the events; replay does not need them."""

    late_after: Millis = MINUTE
    keep_runs: Millis = 30 * DAY
    keep_deleted: Millis = 30 * DAY


class Key(msgspec.Struct, frozen=True, gc=False):
    """An Idempotency-Key and what was sent under it, both hashed."""

    key: str
    fingerprint: str


class Context(msgspec.Struct, frozen=True, gc=False):
    """Who asks, when, and with which randomness (`seed`, 64 bits)."""

    now: Instant
    seed: int
    actor: str = "anonymous"
    key: Key | None = None
    if_match: int | None = None


class Create(msgspec.Struct, frozen=True, gc=False):
    definition: Definition


class Update(msgspec.Struct, frozen=True, gc=False):
    """A schedule in the patch holds from `effective_from` on, or from now; either replaces one that was pending.

    `drop_pending` keeps the present schedule for good.
    """

    patch: DefinitionPatch
    effective_from: Instant | None = None
    drop_pending: bool = False


class Cancel(msgspec.Struct, frozen=True, gc=False):
    pass


class Delete(msgspec.Struct, frozen=True, gc=False):
    pass


class Pause(msgspec.Struct, frozen=True, gc=False):
    note: str = ""


class Resume(msgspec.Struct, frozen=True, gc=False):
    """`missed` says which of the fire times that came in the pause are to run."""

    note: str = ""
    missed: Missed = "skip"


class Backfill(msgspec.Struct, frozen=True, gc=False):
    """Run for the nominal times in start <= t < until, by the schedule in force."""

    start: Instant
    until: Instant
    overlap: BackfillOverlap = "buffer_all"


class CancelBackfill(msgspec.Struct, frozen=True, gc=False):
    """Make no more runs of the backfill, and cancel those that are active."""

    backfill_id: str


class PurgeOwed(msgspec.Struct, frozen=True, gc=False):
    """Skip the fire times that wait to be caught up or for the end of a run."""


class Trigger(msgspec.Struct, frozen=True, gc=False):
    """Run now, whatever the schedule and the overlap policy say."""


class Retry(msgspec.Struct, frozen=True, gc=False):
    """Run a run again that failed: the last one, or this one, which the read models know as a dead letter.

    Then they know too what that run followed in a chain, and its retry begins with the same.
    """

    run_id: str | None = None
    caused_by: str | None = None
    upstream: dict[str, Upstream] = {}


class PurgeDeadLetter(msgspec.Struct, frozen=True, gc=False):
    """Take a dead letter off the list; `failed_at` and `error_type` are those of its row."""

    run_id: str
    failed_at: Instant
    error_type: str


class Wake(msgspec.Struct, frozen=True, gc=False):
    """Something may be due: fire, skip, catch up, retry, time out, expire."""


class Follow(msgspec.Struct, frozen=True, gc=False):
    """A calendar that the task may use has changed: these are its days now."""

    calendar: ExceptCalendar


class Hear(msgspec.Struct, frozen=True, gc=False):
    """Steps that another stream has made, in the order of their numbers."""

    sender: str
    steps: tuple[Told, ...]


class Reserve(msgspec.Struct, frozen=True, gc=False):
    """Let a task that is to be made hold a unique key, as far as `unique` allows.

    `patient`: it takes the place of no task that may just be being made.
    """

    task_id: str
    unique: Uniqueness
    patient: bool = False


class Taken(msgspec.Struct, frozen=True, gc=False):
    """Receivers have heard the steps of this stream up to these numbers; those in `refused` wanted none of them."""

    up_to: dict[str, int]
    refused: dict[str, str] = {}


class Under(msgspec.Struct, frozen=True, gc=False):
    """What a claim goes by that looked at limits: the task as it was then, and the slots that were granted.

    `limits` are the names of all that the task might be under, `grants` ids by the names of those that it is under.
    """

    number: int
    revoked: int
    limits: tuple[str, ...]
    grants: dict[str, str] = {}


class Claim(msgspec.Struct, frozen=True, gc=False):
    """Take the next attempt of a queued run. `lane` is where it was found: the target may have changed meanwhile."""

    run_id: str
    worker: str
    token_hash: str
    lease: Millis
    request: str | None = None
    lane: Lane | None = None
    under: Under | None = None


class Renew(msgspec.Struct, frozen=True, gc=False):
    """A sign of life from the holder of an attempt."""

    run_id: str
    number: int
    token_hash: str
    progress: Json | None = None


class Complete(msgspec.Struct, frozen=True, gc=False):
    run_id: str
    number: int
    token_hash: str
    result: Json | None = None


class Fail(msgspec.Struct, frozen=True, gc=False):
    run_id: str
    number: int
    token_hash: str
    error: Error
    retryable: bool = True
    retry_after: Millis | None = None


class Release(msgspec.Struct, frozen=True, gc=False):
    """The holder of the attempt gives it back: it has not begun, and somebody else may."""

    run_id: str
    number: int
    token_hash: str


class Lose(msgspec.Struct, frozen=True, gc=False):
    """The holder of the attempt is known to be gone."""

    run_id: str
    number: int
    token_hash: str


class Revoke(msgspec.Struct, frozen=True, gc=False):
    """Let nobody claim attempt `number` of the run with slots that were granted for it up to now.

    Nothing happens when it was claimed, or they were revoked already.
    """

    run_id: str
    number: int
    revoked: int


class Want(msgspec.Struct, frozen=True, gc=False):
    """A slot that is asked for. `own` is what the task itself allows, where it names the limit."""

    grant: Granted
    own: int | None = None


class GrantSlots(msgspec.Struct, frozen=True, gc=False):
    """Grant as many of these as there is room for, in their order."""

    wants: tuple[Want, ...]


class ReleaseSlots(msgspec.Struct, frozen=True, gc=False):
    """No attempt is active under these grants, and none can be."""

    ids: tuple[str, ...]


class DefineLimit(msgspec.Struct, frozen=True, gc=False):
    """Make the limit, or let it be another one from now on."""

    definition: LimitDefinition


class DeleteLimit(msgspec.Struct, frozen=True, gc=False):
    pass


class DefineCalendar(msgspec.Struct, frozen=True, gc=False):
    """Make the calendar, or let it be another one from now on. `resolved` is what the definition comes to."""

    definition: CalendarDefinition
    resolved: ResolvedDays


class Retag(msgspec.Struct, frozen=True, gc=False):
    """Set some tags and take others off; the rest stay."""

    set: dict[str, str] = {}
    remove: tuple[str, ...] = ()


class Selected(msgspec.Struct, frozen=True, gc=False):
    """Do it if the task is still one of the selection, and was made at `made_by` at the latest."""

    selection: Selection
    made_by: Instant
    command: Change


class StartOperation(msgspec.Struct, frozen=True, gc=False):
    definition: OperationDefinition


class PickPage(msgspec.Struct, frozen=True, gc=False):
    """The tasks of the next page, and where the one after it begins."""

    page: int
    targets: tuple[str, ...]
    cursor: str | None


class Advance(msgspec.Struct, frozen=True, gc=False):
    """What became of the tasks of the page that was picked last."""

    page: int
    changed: int = 0
    unchanged: int = 0
    refused: dict[str, int] = {}
    examples: dict[str, str] = {}


class CancelOperation(msgspec.Struct, frozen=True, gc=False):
    pass


class DeleteCalendar(msgspec.Struct, frozen=True, gc=False):
    pass


class Announce(msgspec.Struct, frozen=True, gc=False):
    """A worker says that it is there, and how many runs it has."""

    info: WorkerInfo
    running: int = 0


class Drain(msgspec.Struct, frozen=True, gc=False):
    """The worker is to take no more work and end."""


class Leave(msgspec.Struct, frozen=True, gc=False):
    """A worker says that this process of it ends."""

    instance: str


Change: TypeAlias = (
    Update
    | Cancel
    | Delete
    | Pause
    | Resume
    | Backfill
    | CancelBackfill
    | PurgeOwed
    | Trigger
    | Retry
    | PurgeDeadLetter
    | Retag
)
"""What is asked of a task that is there."""

TaskCommand: TypeAlias = (
    Change
    | Selected
    | Create
    | Wake
    | Follow
    | Hear
    | Taken
    | Claim
    | Revoke
    | Renew
    | Complete
    | Fail
    | Release
    | Lose
)

OperationCommand: TypeAlias = StartOperation | PickPage | Advance | CancelOperation

LimitCommand: TypeAlias = GrantSlots | ReleaseSlots | DefineLimit | DeleteLimit

OtherCommand: TypeAlias = DefineCalendar | DeleteCalendar | Announce | Drain | Leave | Reserve

Command: TypeAlias = TaskCommand | LimitCommand | OperationCommand | OtherCommand
