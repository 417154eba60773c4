"""Drives commands through `decide` and `fold`, and keeps what a log would hold and what a projector would see."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from taskscheduler.commands.ports import Entry
from taskscheduler.domain import messages as msg
from taskscheduler.domain.calendar import calendar_id
from taskscheduler.domain.calendar_definition import CalendarDefinition, ResolvedDays
from taskscheduler.domain.decided import Decided
from taskscheduler.domain.decision import AnyAccepted, Record, Verdict, accepted_as, fold
from taskscheduler.domain.definition import Definition, NoopTarget
from taskscheduler.domain.entities import Entity, Other, empty, rules_of, stream_of
from taskscheduler.domain.events import Error, Event
from taskscheduler.domain.retry import Retry
from taskscheduler.domain.schedule import Every, OneTime, Schedule
from taskscheduler.domain.state import Task, wakeup
from taskscheduler.domain.values import MINUTE, SECOND, Instant, Millis

START: Instant = 1_764_000_000_000
"""2025-11-24T16:00:00Z"""

EVERY_MINUTE = Every(every=MINUTE, anchor=START, anchored=True)
NOW = OneTime(at=0)
THREE_ATTEMPTS = Retry()
BY_DEFAULT = msg.Policy()


class History:
    """Some tasks, maybe calendars, and the log of what became of them. Time stands still until `advance`."""

    def __init__(self, policy: msg.Policy = BY_DEFAULT) -> None:
        self.policy = policy
        self.now = START
        self.tasks: dict[str, Task] = {}
        self.others: dict[str, Other] = {}
        self.accepted: list[AnyAccepted] = []
        self.entries: list[Entry] = []
        self.projected = 0
        self._seeds = count(1)

    def advance(self, by: Millis) -> None:
        self.now += by

    def new(self) -> Sequence[AnyAccepted]:
        """What was accepted since the last call."""
        fresh = self.accepted[self.projected :]
        self.projected = len(self.accepted)
        return fresh

    def task(self, task_id: str) -> Task:
        return self.tasks.get(task_id) or Task(task_id)

    def state(self, id: str) -> Entity:
        return self.tasks.get(id) or self.others.get(id) or empty(id)

    def do(self, task_id: str, command: msg.Command, actor: str = "ada", key: msg.Key | None = None) -> Decided:
        context = msg.Context(now=self.now, seed=next(self._seeds), actor=actor, key=key)
        decided = rules_of(task_id).decide(self.state(task_id), command, context, self.policy)
        if decided.events:
            self.record(task_id, decided.events, actor)
        return decided

    def record(self, task_id: str, events: tuple[Event, ...], actor: str = "ada") -> None:
        before = self.state(task_id)
        position = len(self.entries) + 1
        record = Record(
            stream=stream_of(task_id),
            record_id=f"record-{position}",
            expected_version=before.version,
            recorded_at=self.now,
            actor=actor,
            cause=f"cause-{position}" if position % 2 else None,
            events=events,
        )
        after, verdict = fold(before, record, self.now)
        assert verdict is Verdict.ACCEPTED
        (self.tasks if isinstance(after, Task) else self.others)[task_id] = after
        self.entries.append(Entry(0, position, self.now, record))
        self.accepted.append(accepted_as(0, position, self.now, record, before, after))

    def create(
        self,
        task_id: str,
        *,
        name: str | None = None,
        schedule: Schedule = NOW,
        tags: dict[str, str] | None = None,
        retry: Retry = THREE_ATTEMPTS,
    ) -> None:
        definition = Definition(
            name=name or f"task {task_id}", schedule=schedule, target=NoopTarget(), tags=tags or {}, retry=retry
        )
        self.do(task_id, msg.Create(definition))

    def define(self, name: str, *days: str, note: str = "") -> None:
        """Define a calendar."""
        definition = CalendarDefinition(dates=days, note=note)
        resolved = ResolvedDays(days, count=len(days), first_year=2025, last_year=2035)
        self.do(calendar_id(name), msg.DefineCalendar(definition, resolved))

    def undefine(self, name: str) -> None:
        """Delete a calendar."""
        self.do(calendar_id(name), msg.DeleteCalendar())

    def wake(self, task_id: str) -> None:
        self.do(task_id, msg.Wake())

    def claim(self, task_id: str) -> str:
        """Claim the first queued run; its id."""
        run_id = next(run.id for run in self.task(task_id).runs.values() if run.status == "queued")
        self.do(task_id, msg.Claim(run_id=run_id, worker="worker", token_hash="hash", lease=30 * SECOND))
        return run_id

    def succeed(self, task_id: str, result: str | None = None) -> str:
        """Wake, claim and complete a run; its id."""
        self.wake(task_id)
        run_id = self.claim(task_id)
        self.complete(task_id, run_id, result)
        return run_id

    def complete(self, task_id: str, run_id: str, result: str | None = None) -> None:
        """Report that the run's attempt succeeded."""
        number = len(self.task(task_id).runs[run_id].attempts)
        self.do(task_id, msg.Complete(run_id=run_id, number=number, token_hash="hash", result=result))

    def fail(self, task_id: str, error: str = "Boom", *, retryable: bool = False) -> str:
        """Wake, claim and fail a run, for good unless retryable; its id."""
        self.wake(task_id)
        run_id = self.claim(task_id)
        number = len(self.task(task_id).runs[run_id].attempts)
        said = Error(error, "it broke")
        self.do(task_id, msg.Fail(run_id=run_id, number=number, token_hash="hash", error=said, retryable=retryable))
        return run_id

    def sleep_until_due(self, task_id: str) -> bool:
        """Advance to when the task needs attention and wake it; False when it never does."""
        due = wakeup(self.task(task_id))
        if due is None:
            return False
        self.now = max(self.now, due)
        self.wake(task_id)
        return True
