"""What the accepted commands on a task mean, in the plainest words. The state must say the same."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import Definition
from taskscheduler.domain.schedule import Every, OneTime, Schedule
from taskscheduler.domain.state import Task


class Meant:
    """Nothing but commands changes it."""

    def __init__(self) -> None:
        self.definition: Definition | None = None
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
                self.revision += changed != self.definition
                self.definition = changed
            case msg.Pause():
                self.paused = True
            case msg.Resume():
                self.paused = False
            case msg.Cancel():
                self.cancelled = True
            case msg.Delete():
                self.deleted_at = now
            case _:
                pass

    def updated(self, update: msg.Update, now: int) -> Definition:
        """The definition as the update leaves it."""
        assert self.definition is not None, "an update of nothing"
        patch = update.patch
        given = {f: v for f in patch.__struct_fields__ if (v := getattr(patch, f)) is not msgspec.UNSET}
        if "schedule" in given:
            given["schedule"] = self._resolved(given["schedule"], now)
        return replace(self.definition, **given)

    def check(self, state: Task) -> None:
        """The state says what is meant."""
        assert state.definition == self.definition, f"meant is {self.definition}, the state says {state.definition}"
        assert state.revision == self.revision, f"revision {state.revision}, but {self.revision} changes were accepted"
        assert (state.pause is not None) == self.paused, f"meant to be paused: {self.paused}, the state forgot it"
        assert (state.cancelled_at is not None) == self.cancelled, f"meant to be cancelled: {self.cancelled}"
        assert state.deleted_at == self.deleted_at, f"deleted at {state.deleted_at}, not {self.deleted_at}"

    @property
    def fires(self) -> bool:
        """Whether its schedule is still in force."""
        return self.definition is not None and self.deleted_at is None and not self.cancelled

    def _resolved(self, schedule: Schedule, now: int) -> Schedule:
        match schedule:
            case OneTime(kind="now"):
                return OneTime(at=now)
            case OneTime(kind="delay", delay=delay):
                return replace(schedule, at=now + (delay or 0))
            case Every(anchored=False):
                return replace(schedule, anchor=self.created_at)
            case _:
                return schedule
