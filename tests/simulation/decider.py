"""One of several instances that decide: a replica, as far as it has read the log, and nothing that survives a crash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

from taskscheduler.domain import messages as msg
from taskscheduler.domain.decide import Decided, decide
from taskscheduler.domain.decision import Record, fold
from taskscheduler.domain.entities import stream_of
from taskscheduler.domain.errors import DomainError
from taskscheduler.domain.state import Task, wakeup
from tests.simulation.audit import Audit
from tests.simulation.log import Log

VALID_FOR = 30_000


class Ask:
    """A command on its way. `answer` is called once: with a decision, a refusal, or None when nobody knows."""

    __slots__ = ("answer", "command", "due_at", "key", "task_id", "version")

    def __init__(
        self,
        task_id: str,
        command: msg.Command,
        key: msg.Key | None = None,
        *,
        due_at: int = 0,
        version: int = 0,
    ) -> None:
        self.task_id = task_id
        self.command = command
        self.key = key
        self.due_at = due_at
        self.version = version
        self.answer: Callable[[Answer], None] = _unheard


Answer = Decided | DomainError | None


def _unheard(answer: Answer) -> None:
    pass


class Draft:
    """What a decider makes of commands on one task. `record` is None when there is nothing to be done."""

    __slots__ = ("accepted", "now", "record", "refused", "state")

    def __init__(self, state: Task, now: int) -> None:
        self.state = state
        self.now = now
        self.record: Record | None = None
        self.accepted: list[tuple[Ask, Decided]] = []
        self.refused: list[tuple[Ask, DomainError]] = []


class Decider:
    """`skew`: how far its clock is ahead. What it has saved is all that a crash leaves."""

    def __init__(self, name: str, log: Log, audit: Audit, policy: msg.Policy, skew: int) -> None:
        self.name = name
        self.up = True
        self.starts = 0
        self.tasks: dict[str, Task] = {}
        self.position = 0
        self._log = log
        self._audit = audit
        self._policy = policy
        self._skew = skew
        self._saved: tuple[int, dict[str, Task]] = (0, {})
        self._record_ids = (f"{name}-{n}" for n in count(1))

    def state(self, task_id: str) -> Task:
        """As far as it has read."""
        return self.tasks.get(task_id) or Task(task_id)

    @property
    def behind(self) -> bool:
        return self.position < len(self._log.entries)

    def follow(self) -> None:
        """Read the log to its end, and reach the verdicts that everybody reaches."""
        tasks, verdicts = self.tasks, self._audit.verdicts
        for position, (appended_at, task_id, record) in enumerate(self._log.entries[self.position :], self.position):
            before = tasks.get(task_id) or Task(task_id)
            after, verdict = fold(before, record, appended_at)
            assert verdict is verdicts[position], f"{self.name} says {verdict} of {record}"
            if after is not before:
                tasks[task_id] = after
        self.position = len(self._log.entries)

    def save(self) -> None:
        """Keep what has been read (states never change)."""
        self._saved = (self.position, dict(self.tasks))

    def crash(self) -> None:
        self.up = False
        self.starts += 1
        self.tasks.clear()

    def start(self) -> None:
        """Begin with what was saved, and read the rest."""
        self.up = True
        self.position, self.tasks = self._saved[0], dict(self._saved[1])
        self.follow()
        assert self.tasks == self._audit.tasks, f"{self.name} started with another state than the log gives"

    def draft(self, asks: Sequence[Ask], clock: int, seed: int) -> Draft:
        """Decide on commands for one task, together, with the state as far as it is known here."""
        task_id = asks[0].task_id
        state = self.state(task_id)
        now = max(clock + self._skew, state.recorded_at, *(ask.due_at for ask in asks))
        draft, drafted = Draft(state, now), state
        events: tuple[object, ...] = ()
        for number, ask in enumerate(asks):
            context = msg.Context(now, seed + number, key=ask.key)
            try:
                decided = decide(drafted, ask.command, context, self._policy)
            except DomainError as error:
                draft.refused.append((ask, error))
                continue
            drafted = decided.task
            events += decided.events
            draft.accepted.append((ask, decided))
        if events:
            draft.record = Record(
                stream=stream_of(task_id),
                record_id=next(self._record_ids),
                expected_version=state.version,
                recorded_at=now,
                wakeup=wakeup(drafted),
                valid_until=now + VALID_FOR,
                events=events,  # type: ignore[arg-type]
            )
        return draft
