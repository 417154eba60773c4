"""The product's ledger, fed with decisions as a projection is: rows of the index, and what events settle."""

from __future__ import annotations

from taskscheduler.domain.decision import Accepted
from taskscheduler.domain.ledger import Balance, Era, Ledger, Open, Settled, settled_by
from taskscheduler.domain.state import Task
from taskscheduler.projections.changes import DeleteRange, Put
from taskscheduler.projections.ledger_rows import ScheduleChange, eras_of, project

BEGINNING, END_OF_TIME = 0, 1 << 60


class Books:
    """Of one task."""

    def __init__(self) -> None:
        self.changes: list[ScheduleChange] = []
        self.settled: list[Settled] = []

    def record(self, accepted: Accepted) -> None:
        """Take in an accepted decision."""
        for change in project(accepted):
            if isinstance(change, Put) and isinstance(change.row, ScheduleChange):
                self.changes.append(change.row)
            elif isinstance(change, DeleteRange) and change.end is None:
                self.changes, self.settled = [], []
        self.settled += [row for event in accepted.record.events if (row := settled_by(event)) is not None]

    @property
    def eras(self) -> list[Era]:
        return eras_of(self.changes)

    def ledger(self, task: Task, now: int, start: int = BEGINNING, end: int | None = None) -> Ledger:
        """The ledger by the task's state at `now`, by default of all that has come."""
        open = Open(now, task.next_fire, task.backlog)
        balance = Balance(self.eras, start, now + 1 if end is None else end, open)
        balance.settle(sorted(self.settled, key=lambda row: row.first))
        return balance.close()
