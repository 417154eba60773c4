"""Steps that wait to be carried out: folded from the stream that made them, by its own records alone.

The record that makes a step puts it in, the one that says that it was taken takes it out. So the outbox is as the log
says after any crash, and in any process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from taskscheduler.domain.decision import AnyAccepted
from taskscheduler.domain.entities import id_of
from taskscheduler.domain.events import AttemptSucceeded, Event, StepsMade, StepsTaken, TaskPurged
from taskscheduler.domain.steps import RunEnded, Told


class Steps(Protocol):
    """Where steps wait, by sender, receiver and number."""

    def put(self, sender: str, receiver: str, told: Told) -> None: ...
    def delete_up_to(self, sender: str, receiver: str, number: int) -> None: ...
    def clear(self, sender: str) -> None: ...


class OutboxTable(Steps, Protocol):
    """Steps in order of (sender, receiver, number)."""

    def receivers(self, sender: str) -> list[str]: ...
    def first(self, sender: str, receiver: str, limit: int) -> list[Told]: ...
    def senders(self) -> list[str]: ...
    def count(self, limit: int) -> int: ...


class Outbox:
    """An observer of a replica. `made` is told the id of each stream that has made steps."""

    def __init__(self, table: OutboxTable) -> None:
        self._table = table
        self.made: Callable[[str], None] = lambda sender: None

    def apply(self, accepted: Sequence[AnyAccepted]) -> None:
        """Note which steps were made and taken."""
        for change in accepted:
            if has_steps(change.record.events):
                sender = id_of(change.record.stream)
                if note(self._table, sender, change.record.events):
                    self.made(sender)

    def receivers(self, sender: str) -> list[str]:
        """To whom steps of a stream wait."""
        return self._table.receivers(sender)

    def first(self, sender: str, receiver: str, limit: int) -> list[Told]:
        """The next steps from one to the other, in order."""
        return self._table.first(sender, receiver, limit)

    def senders(self) -> list[str]:
        """Whose steps wait."""
        return self._table.senders()

    def count(self, limit: int) -> int:
        """How many steps wait, counted up to a limit."""
        return self._table.count(limit)


def has_steps(events: Sequence[Event]) -> bool:
    """Whether any of the events makes or takes steps. Most make none."""
    for event in events:
        kind = type(event)
        if kind is StepsMade or kind is StepsTaken or kind is TaskPurged:
            return True
    return False


def note(steps: Steps, sender: str, events: Sequence[Event]) -> bool:
    """Put in and take out what the events of an accepted record say of its stream's steps; whether it made some."""
    made = False
    for event in events:
        if isinstance(event, StepsMade):
            step = event.step
            result = None
            if isinstance(step, RunEnded):
                ends = (e for e in events if isinstance(e, AttemptSucceeded) and e.run_id == step.run_id)
                result = next((end.result for end in ends), None)
            for receiver in event.to:
                steps.put(sender, receiver, Told(event.number, step, result))
            made = True
        elif isinstance(event, StepsTaken):
            for receiver, number in event.up_to.items():
                steps.delete_up_to(sender, receiver, number)
        elif isinstance(event, TaskPurged):
            steps.clear(sender)
    return made
