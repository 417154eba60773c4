"""A decision in the making: the events so far and the state after them."""

from __future__ import annotations

from taskscheduler.domain import events as ev
from taskscheduler.domain import ids
from taskscheduler.domain.cron import TZDATA_VERSION
from taskscheduler.domain.errors import Invalid
from taskscheduler.domain.evolve import evolve
from taskscheduler.domain.messages import Context, Policy
from taskscheduler.domain.schedule import NeverFires, Schedule, resolve, zone_of
from taskscheduler.domain.state import Run, Task
from taskscheduler.domain.values import Instant


class Draft:
    """Collects events and keeps the state in step with them, so that each rule sees what the last one did."""

    __slots__ = ("ended_before", "events", "now", "policy", "runs_made", "seed", "task")

    def __init__(self, task: Task, context: Context, policy: Policy) -> None:
        self.task = task
        self.now = context.now
        self.seed = context.seed
        self.policy = policy
        self.events: list[ev.Event] = []
        self.runs_made = 0
        self.ended_before = ended(task)

    def add(self, event: ev.Event) -> None:
        """Append an event and fold it in."""
        self.events.append(event)
        self.task = evolve(self.task, event)

    def new_run_id(self, scheduled_for: Instant) -> str:
        """An id for the next run of this decision."""
        while True:
            made = ids.run_id(scheduled_for, self.seed, self.runs_made)
            self.runs_made += 1
            if made not in self.task.runs:
                return made

    def chance(self) -> float:
        """A number from 0 up to 1, another one for each event."""
        return ids.chance(self.seed, len(self.events) + 2)

    def queue(
        self,
        cause: ev.RunCause,
        scheduled_for: Instant,
        *,
        nominal_at: Instant | None = None,
        retry_of: str | None = None,
        backfill_id: str | None = None,
        follows: Run | None = None,
        caused_by: str | None = None,
        upstream: dict[str, ev.Upstream] | None = None,
        depth: int = 0,
    ) -> str:
        """Make a run; it can be claimed at once. One that stands for no fire time has no nominal time.

        With `follows` it takes the place of that run in its chain, and begins with the same.
        """
        if follows is not None:
            caused_by, upstream, depth = follows.caused_by, follows.upstream, follows.depth
        # Runs are kept by their ids: one of a backfill must not be too old to be kept when it is made.
        run_id = self.new_run_id(scheduled_for if backfill_id is None else self.now)
        definition = self.task.definition
        deadline = None if definition is None else definition.deadline
        self.add(
            ev.RunQueued(
                at=self.now,
                run_id=run_id,
                cause=cause,
                scheduled_for=scheduled_for,
                nominal_at=nominal_at,
                retry_of=retry_of,
                backfill_id=backfill_id,
                claim_by=self.claim_by(),
                deadline=None if deadline is None else self.now + deadline,
                caused_by=caused_by,
                upstream=upstream or {},
                depth=depth,
            )
        )
        return run_id

    def claim_by(self) -> Instant | None:
        """Until when a run that can be claimed from now on may wait."""
        definition = self.task.definition
        patience = None if definition is None else definition.queue_timeout
        return None if patience is None else self.now + patience


def resolved(draft: Draft, schedule: Schedule, now: Instant, created_at: Instant) -> Schedule:
    """The schedule with what was open filled in, as of `now`. Raises Invalid."""
    try:
        return resolve(schedule, now, created_at, draft.task.id)
    except NeverFires as error:
        raise Invalid(f"/schedule/{error.field}", str(error)) from None


def tzdata_of(schedule: Schedule) -> str | None:
    """The version of the zone data that the instants of this schedule come from; None where none was needed."""
    return None if zone_of(schedule) is None else TZDATA_VERSION


def ended(task: Task) -> int:
    """How many runs have ended and how many fire times were skipped."""
    counts = task.counts
    return counts.succeeded + counts.failed + counts.cancelled + counts.skipped
