"""What the accepted commands on a task mean, in the plainest words. The state must say the same."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import Definition
from taskscheduler.domain.ids import hash_of
from taskscheduler.domain.schedule import Every, OneTime, Schedule
from taskscheduler.domain.state import Task


class Planned(NamedTuple):
    """The schedule that is to hold from an instant on."""

    schedule: Schedule
    effective_from: int


class Meant:
    """Nothing but commands changes it, and what the task itself does because it was told to."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.definition: Definition | None = None
        self.planned: Planned | None = None
        self.revision = 0
        self.created_at = 0
        self.paused = self.cancelled = False
        self.deleted_at: int | None = None

    def carry_out(self, command: msg.Command, now: int) -> None:
        """What a command, accepted at `now`, changes."""
        match command:
            case msg.Create(definition=definition):
                assert self.definition is None, "created twice"
                self.created_at = now
                self.definition = replace(definition, schedule=self._resolved(definition.schedule, now))
                self.revision = 1
            case msg.Update():
                changed = self.updated(command, now)
                self.revision += changed != (self.definition, self.planned)
                self.definition, self.planned = changed
            case msg.Pause():
                self.paused = True
            case msg.Resume():
                self.paused = False
            case msg.Cancel():
                self.cancelled, self.planned = True, None
            case msg.Delete():
                self.deleted_at, self.planned = now, None
            case _:
                pass

    def switch(self, now: int) -> Definition:
        """The planned schedule takes force; the definition with it."""
        planned = self.planned
        assert self.definition is not None and planned is not None and planned.effective_from <= now, (
            "changed by nobody"
        )
        self.definition, self.planned = replace(self.definition, schedule=planned.schedule), None
        return self.definition

    def updated(self, update: msg.Update, now: int) -> tuple[Definition, Planned | None]:
        """The definition, and what is planned, as the update leaves them."""
        assert self.definition is not None, "an update of nothing"
        patch, planned = update.patch, self.planned
        given = {f: v for f in patch.__struct_fields__ if (v := getattr(patch, f)) is not msgspec.UNSET}
        if update.effective_from is not None:
            planned = Planned(self._resolved(given.pop("schedule"), update.effective_from), update.effective_from)
        elif "schedule" in given:
            given["schedule"], planned = self._resolved(given["schedule"], now), None
        elif update.drop_pending:
            planned = None
        return replace(self.definition, **given), planned

    def check(self, state: Task) -> None:
        """The state says what is meant."""
        assert state.definition == self.definition, f"meant is {self.definition}, the state says {state.definition}"
        pending = None if state.pending is None else (state.pending.schedule, state.pending.effective_from)
        assert pending == self.planned, f"planned is {self.planned}, the state says {pending}"
        assert state.revision == self.revision, f"revision {state.revision}, but {self.revision} changes were accepted"
        assert (state.pause is not None) == self.paused, f"meant to be paused: {self.paused}, the state forgot it"
        assert (state.cancelled_at is not None) == self.cancelled, f"meant to be cancelled: {self.cancelled}"
        assert state.deleted_at == self.deleted_at, f"deleted at {state.deleted_at}, not {self.deleted_at}"

    @property
    def fires(self) -> bool:
        """Whether its schedule is still in force."""
        return self.definition is not None and self.deleted_at is None and not self.cancelled

    def _resolved(self, schedule: Schedule, now: int) -> Schedule:
        if schedule.jitter:
            schedule = replace(schedule, salt=hash_of(self.task_id) >> 1)
        match schedule:
            case OneTime(kind="now"):
                return replace(schedule, at=now)
            case OneTime(kind="delay", delay=delay):
                return replace(schedule, at=now + (delay or 0))
            case Every(every=every, anchored=False, start_at=start):
                return replace(schedule, anchor=self.created_at if start is None else start - every)
            case _:
                return schedule
