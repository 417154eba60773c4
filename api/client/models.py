"""What the server replies with, as typed values: times are aware datetimes, durations timedeltas.

Fields that a newer server adds are ignored, and words such as a status stay plain strings.
"""

from datetime import date, datetime, timedelta
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from taskscheduler.client.errors import ApiError

Item = TypeVar("Item")


class TaskSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A task to create: what is left out gets the server's default. Dicts may hold datetimes and timedeltas."""

    name: str
    target: dict[str, Any]
    id: str | UnsetType = UNSET
    schedule: dict[str, Any] | UnsetType = UNSET
    payload: Any = UNSET
    retry: dict[str, Any] | UnsetType = UNSET
    timeout: timedelta | str | float | UnsetType = UNSET
    queue_timeout: timedelta | str | float | UnsetType = UNSET
    heartbeat_timeout: timedelta | str | float | UnsetType = UNSET
    deadline: timedelta | str | float | UnsetType = UNSET
    unique: dict[str, Any] | UnsetType = UNSET
    overlap: str | UnsetType = UNSET
    catch_up: dict[str, Any] | UnsetType = UNSET
    priority: int | UnsetType = UNSET
    tags: dict[str, str] | UnsetType = UNSET
    pause_on_failure: int | UnsetType = UNSET
    then: list[str] | UnsetType = UNSET
    on_failure: list[str] | UnsetType = UNSET
    after: list[str] | dict[str, Any] | UnsetType = UNSET
    concurrency: dict[str, Any] | UnsetType = UNSET
    idempotency_key: str | UnsetType = UNSET


class AttemptError(msgspec.Struct, frozen=True, kw_only=True):
    """Why an attempt failed."""

    type: str = ""
    message: str = ""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try of a run; `outcome` is None while it runs. `progress` is what its worker said last."""

    number: int
    worker: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    outcome: str | None = None
    error: AttemptError | None = None
    progress: Any = None


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """A run that another one follows. `left_out`: its result was too much to hand on; read it from the run."""

    run_id: str
    status: str = ""
    ended_at: datetime | None = None
    result: Any = None
    left_out: bool = False


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """The run whose end made a chain go on."""

    task_id: str
    run_id: str = ""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One fire of a task, with its attempts."""

    id: str
    task_id: str = ""
    status: str = ""
    cause: str = ""
    reason: str | None = None
    nominal_at: datetime | None = None
    nominal_until: datetime | None = None
    count: int | None = None
    scheduled_for: datetime | None = None
    retry_of: str | None = None
    backfill_id: str | None = None
    retry_at: datetime | None = None
    finished_at: datetime | None = None
    attempts: tuple[Attempt, ...] = ()
    lateness_ms: int | None = None
    caused_by: Cause | None = None
    upstream: dict[str, Upstream] = {}
    result: Any = None
    deadline: datetime | None = None
    error: AttemptError | None = None


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When a failed attempt is tried again; `max_attempts` counts the first one."""

    max_attempts: int = 3
    backoff: str = "exponential"
    initial: timedelta | None = None
    multiplier: float = 2
    max: timedelta | None = None
    jitter: float | str = 0
    max_elapsed: timedelta | None = None
    give_up_on: tuple[Any, ...] = ()
    retry_on: tuple[str, ...] | None = None


class CatchUp(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to fire times missed while nothing ran."""

    policy: str = "latest"
    window: timedelta | None = None
    limit: int | None = None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Runs made, by how they ended, and nominal times skipped."""

    fired: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    skipped: int = 0


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """Since when a task is paused, by whom and why."""

    note: str | None = None
    at: datetime | None = None
    by: str | None = None


class Owed(msgspec.Struct, frozen=True, kw_only=True):
    """Fire times with since ≤ time < until that have come and wait to run."""

    since: datetime | None = msgspec.field(name="from", default=None)
    until: datetime | None = None
    count: int = 0


class PendingSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """The schedule that will hold for nominal times from `effective_from` on."""

    schedule: dict[str, Any] | None = None
    effective_from: datetime | None = None
    next_fire_at: datetime | None = None


class Backfill(msgspec.Struct, frozen=True, kw_only=True):
    """Runs for the fire times with since ≤ time < until: `fired` were made, `remaining` were not."""

    id: str
    status: str = ""
    since: datetime | None = msgspec.field(name="from", default=None)
    until: datetime | None = msgspec.field(name="to", default=None)
    overlap: str = ""
    total: int = 0
    fired: int = 0
    active: int = 0
    failed: int = 0
    remaining: int = 0
    requested_at: datetime | None = None
    by: str | None = None


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task as the server knows it; `revision` is what `if_match` takes."""

    id: str
    name: str = ""
    target: dict[str, Any] = {}
    schedule: dict[str, Any] | None = None
    payload: Any = None
    retry: RetryPolicy = RetryPolicy()
    timeout: timedelta | None = None
    queue_timeout: timedelta | None = None
    heartbeat_timeout: timedelta | None = None
    deadline: timedelta | None = None
    unique: dict[str, Any] | None = None
    overlap: str = "skip"
    catch_up: CatchUp = CatchUp()
    priority: int = 5
    tags: dict[str, str] = {}
    pause_on_failure: int | None = None
    concurrency: dict[str, Any] | None = None
    status: str = ""
    revision: int = 0
    version: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None
    next_fire_at: datetime | None = None
    last_run: Run | None = None
    counts: Counts = Counts()
    pause: Pause | None = None
    owed: Owed | None = None
    pending_schedule: PendingSchedule | None = None
    failures_in_row: int = 0
    backfills: tuple[Backfill, ...] = ()
    then: tuple[str, ...] = ()
    on_failure: tuple[str, ...] = ()
    after: dict[str, Any] | None = None
    followed_by: tuple[str, ...] = ()
    arrived: dict[str, Upstream] = {}


class BackfilledTask(Task, frozen=True, kw_only=True):
    """A task of which a backfill has begun, one of its `backfills`."""

    backfill_id: str


class StartedTask(Task, frozen=True, kw_only=True):
    """A task of which a run was just started: the reply to trigger and retry."""

    run_id: str


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one task of a batch: either `task` or `error` is set."""

    status: int
    task: Task | None = None
    error: ApiError | None = None


class Page(msgspec.Struct, Generic[Item], frozen=True, kw_only=True):
    """Some items, and the cursor of those after them, if there are more."""

    items: list[Item]
    next_cursor: str | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One fact in the history of a task."""

    type: str = ""
    version: int = 0
    time: datetime | None = None
    actor: str | None = None
    cause: Any = None
    data: Any = None


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """The last run that was made of a dead letter since; `status` is there where its whole story is."""

    run_id: str
    at: datetime | None = None
    by: str | None = None
    status: str | None = None


class DeadLetter(Run, frozen=True, kw_only=True):
    """A run that failed for good, with the name and tags that its task had then."""

    task_name: str | None = None
    tags: dict[str, str] = {}
    retried: Again | None = None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Fire times from `since` to `until` that are accounted for otherwise than once each."""

    since: datetime = msgspec.field(name="from")
    until: datetime | None = None
    nominal: int = 0
    accounted: int = 0
    detail: str = ""


class SeenWorker(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as the server has seen it; `status` is online, draining or gone."""

    name: str
    status: str
    queues: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    concurrency: int = 0
    running: int = 0
    version: str = ""
    host: str = ""
    pid: int = 0
    instance: str = ""
    started_at: datetime | None = None
    last_seen_at: datetime | None = None
    drain_requested_at: datetime | None = None
    left_at: datetime | None = None


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """The fire times of a task in since ≤ time < until, and what became of each; `skipped` is by reason.

    `known_from` is set where what lies before is no longer kept; `backfilled` is no part of the sum.
    """

    task_id: str
    since: datetime = msgspec.field(name="from")
    until: datetime = msgspec.field(name="to")
    known_from: datetime | None = None
    nominal: int = 0
    fired: int = 0
    caught_up: int = 0
    skipped: dict[str, int] = {}
    owed: int = 0
    pending: int = 0
    to_come: int = 0
    backfilled: int = 0
    balanced: bool = True
    differing: int = 0
    differences: tuple[Difference, ...] = ()


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """An event behind an answer, in a few words; `version` finds it among the events of the task."""

    version: int
    at: datetime
    type: str = ""
    summary: str = ""


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """Why a task did or did not run at an instant: `outcome` in a word, `answer` in sentences."""

    task_id: str
    at: datetime
    outcome: str
    answer: str
    nominal_at: datetime | None = None
    run_id: str | None = None
    before: datetime | None = None
    after: datetime | None = None
    events: tuple[Link, ...] = ()


class GraphNode(msgspec.Struct, frozen=True, kw_only=True):
    """A task in so many hops; below 0 it runs before. No status: it is no longer there."""

    id: str
    hops: int = 0
    name: str | None = None
    status: str | None = None
    next_fire_at: datetime | None = None
    last_run: Any = None


class GraphEdge(msgspec.Struct, frozen=True, kw_only=True):
    """`follower` runs after `before`, by `then`, `on_failure` or `after`."""

    before: str = msgspec.field(name="from")
    follower: str = msgspec.field(name="to")
    kind: str = ""
    when: str | None = None
    on: str | None = None


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """What runs before and after a task."""

    task_id: str
    complete: bool = True
    nodes: tuple[GraphNode, ...] = ()
    edges: tuple[GraphEdge, ...] = ()


class FireTime(msgspec.Struct, frozen=True, kw_only=True):
    """One fire time of a preview; `note` says where a clock change moved it."""

    at: datetime
    local: datetime | None = None
    note: str | None = None


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """When a schedule would fire."""

    fire_times: list[FireTime]
    description: str = ""
    warnings: list[Any] = []
    conflicts: list[dict[str, Any]] = []


class CalendarSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A calendar to put; at least one of dates, ranges, holidays and ics. Days are dates, or text such as 2026-12-24.

    `ranges` are `{"from": ..., "to": ...}`, both included; `holidays` is `{"country": "DE", "region": "BE"}`, with
    `years` and `categories` where they are to be others; `ics` the text of an iCalendar file.
    """

    dates: list[date | str] | UnsetType = UNSET
    ranges: list[dict[str, date | str]] | UnsetType = UNSET
    holidays: dict[str, Any] | UnsetType = UNSET
    ics: str | UnsetType = UNSET
    timezone: str | UnsetType = UNSET
    note: str | UnsetType = UNSET


class CalendarSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A calendar without its days; `version` is that of its definition and what `if_match` takes."""

    name: str
    version: int = 0
    day_count: int = 0
    timezone: str | None = None
    dates: list[date] = []
    ranges: list[dict[str, date]] = []
    holidays: dict[str, Any] | None = None
    note: str = ""
    resolved: dict[str, Any] = {}
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Calendar(CalendarSummary, frozen=True, kw_only=True):
    """Days that schedules may leave out, and some of the tasks that do."""

    days: list[date] = []
    ics: str | None = None
    used_by: list[str] = []


class Refusals(msgspec.Struct, frozen=True, kw_only=True):
    """How many tasks an operation was refused by for one reason, and what one of them said."""

    count: int = 0
    example: str = ""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is done to many tasks. Of `matched` so far, `done` is known: changed, unchanged or refused."""

    id: str
    action: str = ""
    filter: dict[str, Any] = {}
    arguments: dict[str, Any] = {}
    status: str = ""
    by: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    cancelled_by: str | None = None
    expected: int = 0
    expected_more: bool = False
    matched: int = 0
    done: int = 0
    changed: int = 0
    unchanged: int = 0
    refused: dict[str, Refusals] = {}


class SampledTask(msgspec.Struct, frozen=True, kw_only=True):
    """One of the tasks that an operation would be about."""

    id: str
    name: str = ""
    status: str = ""


class OperationPreview(msgspec.Struct, frozen=True, kw_only=True):
    """How many tasks an operation would be about, and some of them; with `more` there are others, not counted."""

    matched: int = 0
    more: bool = False
    sample: list[SampledTask] = []


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """`count` attempts begin in each `per`, up to `burst` at once after a lull."""

    count: int
    per: str = "PT1S"
    burst: int = 1


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """How many attempts may be active at once, and how fast they may begin; `in_use` is how many slots are held.

    `own` is what tasks with this key say; `version` is that of the definition, 0 where only tasks name it.
    """

    name: str
    concurrency: int | None = None
    rate: Rate | None = None
    note: str = ""
    in_use: int = 0
    own: int | None = None
    version: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How the server is: `status` is UP, DOWN, OUT_OF_SERVICE or UNKNOWN."""

    status: str
    components: dict[str, Any] = {}


class LiveEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One server-sent event; `data` is decoded JSON, or text that is none; `id` resumes a stream after it."""

    type: str
    data: Any = None
    id: str | None = None
