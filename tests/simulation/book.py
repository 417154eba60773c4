"""What must hold of the log, whatever happened: an independent reader folds it and keeps the books."""

from __future__ import annotations

from collections import Counter

from taskscheduler.domain import events as ev
from taskscheduler.domain.decision import Verdict, fold
from taskscheduler.domain.definition import NoopTarget
from taskscheduler.domain.entities import id_of
from taskscheduler.domain.state import Task, wakeup
from taskscheduler.domain.values import MINUTE
from taskscheduler.streams.claimable import BEHIND
from tests.support.ledger import Ledger
from tests.support.memory_log import MemoryLog


class Book:
    """`read` goes on where it was and raises AssertionError where a promise is broken."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.position = 0
        self.tasks: dict[str, Task] = {}
        self.ledgers: dict[str, Ledger] = {}
        self.keys: Counter[tuple[str, str]] = Counter()
        self.runs: set[str] = set()
        self.claimed: set[tuple[str, int]] = set()
        self.ended: dict[tuple[str, int], str] = {}
        self.verdicts: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self._changed: set[str] = set()

    def read(self, now: int) -> None:
        """Fold what is new; every fire time of what changed is accounted for."""
        for entry in self.log.entries[self.position :]:
            record = entry.record
            task_id = id_of(record.stream)
            before = self.tasks.get(task_id, Task(task_id))
            after, verdict = fold(before, record, entry.appended_at)
            self.verdicts[verdict] += 1
            self.position = entry.position
            if verdict is not Verdict.ACCEPTED:
                continue
            self.tasks[task_id] = after
            assert after.version == before.version + 1
            assert record.wakeup == wakeup(after)
            self.ledgers.setdefault(task_id, Ledger()).record(record.events)
            self._changed.add(task_id)
            for event in record.events:
                self._note(task_id, event)
        for task_id in self._changed:
            self.ledgers[task_id].check(self.tasks[task_id], now)
        self._changed.clear()

    def check_all(self, now: int) -> None:
        """The fire times of tasks that nothing happened to are accounted for as well."""
        self.read(now)
        for task_id, ledger in self.ledgers.items():
            ledger.check(self.tasks[task_id], now)

    def check_prompt(self, now: int) -> None:
        """Where all has been well for a while, nothing due was forgotten."""
        for task_id, task in self.tasks.items():
            due = wakeup(task)
            assert due is None or due > now - MINUTE, f"{task_id} was due at {due} and is forgotten at {now}"
            for run in task.runs.values():
                if run.status == "queued" and run.available_at is not None and task.definition is not None:
                    patience = MINUTE if isinstance(task.definition.target, NoopTarget) else 60 * MINUTE
                    # All others go before it.
                    patience += 0 if run.backfill_id is None else BEHIND
                    assert run.available_at > now - patience, f"{task_id}: {run.id} waits since {run.available_at}"

    def _note(self, task_id: str, event: ev.Event) -> None:
        self.events[ev.tag_of(event)] += 1
        match event:
            case ev.KeyUsed():
                self.keys[task_id, event.key] += 1
                assert self.keys[task_id, event.key] == 1, f"{task_id}: {event.key} was carried out twice"
            case ev.RunQueued():
                assert event.run_id not in self.runs
                self.runs.add(event.run_id)
            case ev.AttemptClaimed():
                assert (event.run_id, event.number) not in self.claimed, "an attempt has two claims"
                self.claimed.add((event.run_id, event.number))
            case ev.AttemptReleased():
                self.ended[event.run_id, event.number] = "released"
            case ev.AttemptSucceeded() | ev.AttemptFailed():
                attempt = (event.run_id, event.number)
                assert attempt in self.claimed
                assert attempt not in self.ended, "an attempt ended twice"
                self.ended[attempt] = "succeeded" if isinstance(event, ev.AttemptSucceeded) else event.outcome
            case _:
                pass
