"""Decides and folds commands one after another, and tells observers, without a log."""

from __future__ import annotations

from taskscheduler.domain import messages as msg
from taskscheduler.domain.decide import Decided, decide
from taskscheduler.domain.decision import Accepted, Record, apply
from taskscheduler.domain.entities import stream_of
from taskscheduler.domain.state import Task, wakeup
from taskscheduler.streams.observer import Observer

START = 1_767_571_200_000


class Decider:
    """`now` is the clock."""

    def __init__(self, *observers: Observer) -> None:
        self.observers = observers
        self.now = START
        self.tasks: dict[str, Task] = {}
        self.wakeups: dict[str, int | None] = {}
        self.position = 0

    def do(self, command: msg.Command, task_id: str = "a", now: int | None = None) -> Decided:
        """One decision. Raises what `decide` raises."""
        self.now = self.now if now is None else now
        before = self.tasks.get(task_id, Task(task_id))
        decided = decide(before, command, msg.Context(self.now, self.position + 1), msg.Policy())
        if decided.events:
            self.position += 1
            after = self.tasks[task_id] = apply(before, decided.events, self.now)
            record = Record(
                stream=stream_of(task_id),
                record_id=f"r{self.position}",
                expected_version=before.version,
                recorded_at=self.now,
                wakeup=wakeup(after),
                events=decided.events,
            )
            told = Accepted(0, self.position, self.now, record, before, after, self.wakeups.get(task_id))
            self.wakeups[task_id] = record.wakeup
            for observer in self.observers:
                observer.apply([told])
        return decided
