"""All that is known of one task apart from its state, checked against every decision on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.decision import Record
from taskscheduler.domain.schedule import Schedule
from taskscheduler.domain.settle import SCHEDULER
from taskscheduler.domain.state import Task, wakeup
from tests.simulation.attempts import Attempts
from tests.simulation.backfills import Backfills
from tests.simulation.fires import Fires
from tests.simulation.meant import Meant
from tests.simulation.nominal import Nominal


class Account:
    """`record` raises AssertionError where a decision is not what its commands and the time call for."""

    def __init__(self, task_id: str, times: Callable[[Schedule], Nominal], policy: msg.Policy) -> None:
        self.task_id = task_id
        self.times = times
        self.policy = policy
        self.meant = Meant(task_id)
        self.fires = Fires(times, policy.late_after)
        self.attempts = Attempts()
        self.backfills = Backfills(times)
        self.paused = False
        self.failures = self.backfilled = 0
        self.failed_last = False
        self.version = self.recorded_at = 0

    def record(self, record: Record, commands: Sequence[msg.Command], state: Task) -> None:
        """Take in an accepted decision for `commands` that led to `state`."""
        now = record.recorded_at
        assert record.expected_version == self.version, f"version {record.expected_version} follows {self.version}"
        self.version += 1
        assert state.version == self.version, f"the state is at version {state.version}, not {self.version}"
        assert now >= self.recorded_at, "time runs backwards"
        self.recorded_at = now
        self.failed_last = False
        self.fires.begin_record(now, commands)
        if any(isinstance(event, ev.TaskPurged) for event in record.events):
            # What has been kept long enough goes before any command is applied.
            self._purge(now)
        if any(isinstance(event, ev.ScheduleSwitched) for event in record.events):
            # So does a schedule whose time is over.
            self.meant.switch(now)
        for command in commands:
            self.meant.carry_out(command, now)
        for event in record.events:
            assert event.at == now, f"{event} is part of a decision made at {now}"
            self._note(event, commands)
        self.meant.check(state)
        self.fires.check(state)
        self.attempts.check(state, record.events)
        self.backfills.check(state)
        counts = state.counts
        assert {
            "succeeded": counts.succeeded,
            "failed": counts.failed,
            "cancelled": counts.cancelled,
        } == self.attempts.ends
        assert state.definition is None or counts.fired == self.fires.fired + self.backfilled, "runs made and counted"
        self._check_planned(state)
        if not any(isinstance(c, msg.Update | msg.Backfill) for c in commands):
            self._check_failures(state)
        self._check_wakeup(record, commands, state)

    def _note(self, event: ev.Event, commands: Sequence[msg.Command]) -> None:
        fires, attempts, backfills = self.fires, self.attempts, self.backfills
        total = len(attempts.active)
        active = total - len(backfills.active)
        match event:
            case ev.AttemptClaimed():
                assert fires.definition is not None, f"{event.run_id} was claimed, though its task has ended"
                attempts.claimed(event, fires.definition)
            case ev.AttemptSucceeded():
                attempts.succeeded(event, commands)
                backfills.run_ended(event.run_id)
                self.failures = 0
            case ev.RunQueued(backfill_id=None):
                fires.queued(event, active=active, total=total, paused=self.paused)
                assert fires.definition is not None
                attempts.queued(event, fires.definition)
            case ev.RunQueued():
                backfills.queued(event, paused=self.paused)
                assert fires.definition is not None
                attempts.queued(event, fires.definition)
                self.backfilled += 1
            case ev.FiresSkipped():
                fires.skip(event, active=active, total=total, paused=self.paused)
            case ev.AttemptFailed():
                assert fires.definition is not None, f"{event.run_id} failed, though its task has ended"
                attempts.failed(event, fires.definition, commands)
                if event.reason is not None:
                    backfills.run_ended(event.run_id, failed=True)
                    self.failures += 1
                    self.failed_last = True
            case ev.RunFailed():
                attempts.run_failed(event)
                backfills.run_ended(event.run_id, failed=True)
                self.failures += 1
                self.failed_last = True
            case ev.AttemptReleased():
                assert fires.definition is not None
                attempts.released(event, fires.definition, commands)
            case ev.RunRequeued():
                assert fires.definition is not None
                attempts.requeued(event, fires.definition)
            case ev.AttemptRenewed():
                attempts.renewed(event)
            case ev.RunCancelled():
                assert self._is_to_be_cancelled(event, commands), "cancelled by nobody"
                attempts.cancelled(event)
                backfills.run_ended(event.run_id)
            case ev.TaskCreated():
                fires.created(event)
                self.failures = self.backfilled = 0
            case ev.TaskUpdated():
                fires.updated(event)
            case ev.ScheduleSwitched():
                assert self.meant.definition is not None and fires.definition is not None
                fires.switched(replace(fires.definition, schedule=event.schedule), event)
            case ev.TaskPaused():
                if event.by == SCHEDULER:
                    self._pauses_itself(event)
                self.paused = True
            case ev.TaskResumed():
                self.paused = self.meant.paused = False
                self.failures = 0
            case ev.TaskCancelled() | ev.TaskDeleted():
                fires.end()
            case ev.BackfillRequested():
                assert fires.definition is not None
                backfills.requested(event, fires.definition.schedule, commands)
            case ev.BackfillEnded():
                backfills.ended(event, commands)
            case ev.RunsExpired():
                assert event.before <= event.at - self.policy.keep_runs, "runs expired too soon"
            case _:
                pass

    def _is_to_be_cancelled(self, event: ev.RunCancelled, commands: Sequence[msg.Command]) -> bool:
        part_of, definition = self.backfills.active.get(event.run_id), self.fires.definition
        if event.by == "overlap":
            return part_of is None and definition is not None and definition.overlap == "cancel_other"
        return any(
            isinstance(c, msg.Cancel | msg.Delete) or (isinstance(c, msg.CancelBackfill) and c.backfill_id == part_of)
            for c in commands
        )

    def _pauses_itself(self, event: ev.TaskPaused) -> None:
        most = None if self.fires.definition is None else self.fires.definition.pause_on_failure
        assert most is not None and self.failures >= most, f"{event} after {self.failures} failures"
        self.meant.paused = True

    def _purge(self, now: int) -> None:
        deleted_at = self.meant.deleted_at
        assert deleted_at is not None, "purged, though never deleted"
        assert now >= deleted_at + self.policy.keep_deleted, "purged too soon"
        self.meant, self.paused = Meant(self.task_id), False
        self.backfills.forget()
        self.attempts.ends = dict.fromkeys(self.attempts.ends, 0)

    def _check_planned(self, state: Task) -> None:
        planned = self.meant.planned
        if planned is None or state.pending is None:
            return
        times = self.times(planned.schedule)
        first = times.due(times.after(planned.effective_from - 1))
        assert state.pending.next_fire == first, f"{state.pending} begins at {first}"

    def _check_failures(self, state: Task) -> None:
        definition = self.meant.definition
        assert state.definition is None or state.failures_in_row == self.failures, f"{self.failures} failed in a row"
        if definition is not None and definition.pause_on_failure is not None and self.meant.fires:
            kept_failing = self.failed_last and self.failures >= definition.pause_on_failure and state.goes_on
            assert not kept_failing or self.paused, f"{self.failures} runs failed, and the task goes on"

    def _check_wakeup(self, record: Record, commands: Sequence[msg.Command], state: Task) -> None:
        now, due = record.recorded_at, record.wakeup
        assert due == wakeup(state), f"the record says wakeup {due}, the state {wakeup(state)}"
        created = any(isinstance(c, msg.Create) for c in commands)
        assert due is None or due > now or created, f"the wakeup {due} was not moved past {now}"
        dues = [self.attempts.earliest_due(), None if self.paused else self.fires.next_due()]
        if self.meant.planned is not None:
            dues.append(self.meant.planned.effective_from)
        earliest = min((one for one in dues if one is not None), default=None)
        if earliest is not None:
            assert due is not None and due <= earliest, f"the wakeup is {due}, but something is due at {earliest}"
        if due is not None and due != earliest and not created:
            assert due == state.expire_at, f"nothing is due at the wakeup {due}"
