"""The timer index: one timer per stream, on disk in order of time, the next ones in memory.

When a timer is due it gives a trigger, and again (after 30 s, doubling to 10 min) until a decision has moved it. The
index is derived from accepted records; a trigger that repeats decides nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from taskscheduler.domain.decision import AnyAccepted
from taskscheduler.domain.values import MINUTE, SECOND, Instant, Millis
from taskscheduler.streams.window import Window

FIRST_REPEAT: Millis = 30 * SECOND
LONGEST_REPEAT: Millis = 10 * MINUTE

Timer = tuple[Instant, str, int]
"""Due, task, and the version that set it."""


class Trigger(msgspec.Struct, frozen=True, gc=False):
    """A stream needs attention: it was due at `due_at` when it stood at `version`."""

    task_id: str
    version: int
    due_at: Instant


class TimerTable(Protocol):
    """Timers in order of (due, task)."""

    def put(self, due: Instant, task_id: str, version: int) -> None: ...
    def delete(self, due: Instant, task_id: str) -> None: ...
    def get(self, due: Instant, task_id: str) -> int | None: ...
    def first(self, limit: int, after: Timer | None) -> list[Timer]: ...
    def count_due(self, now: Instant, limit: int) -> int: ...


class Timers:
    """An observer of a replica that knows which streams are due. `changed` is called when an earlier timer appears."""

    def __init__(self, table: TimerTable) -> None:
        self._table = table
        self._window: Window[Timer] = Window(table.first, lambda timer: timer[:2])
        self._unanswered: dict[str, tuple[Instant, Instant, Millis]] = {}
        """Triggers given: when the stream was due, when to repeat, and how long that wait is."""
        self._repeats: list[tuple[Instant, str]] = []
        self.changed: Callable[[], None] = lambda: None

    @property
    def unanswered(self) -> int:
        """Triggers given that no decision has answered yet."""
        return len(self._unanswered)

    def apply(self, accepted: Sequence[AnyAccepted]) -> None:
        """Move the timers of these streams."""
        sooner = False
        for change in accepted:
            record, old = change.record, change.wakeup_before
            task_id, new = change.after.id, record.wakeup
            if old is not None:
                self._table.delete(old, task_id)
            if new != old:
                self._unanswered.pop(task_id, None)
            if new is not None:
                version = record.expected_version + 1
                self._table.put(new, task_id, version)
                sooner = self._window.push((new, task_id, version)) or sooner
        if sooner:
            self.changed()

    def next_due(self) -> Instant | None:
        """When `due` next has something to give."""
        first = self._window.peek()
        if self._repeats and (first is None or self._repeats[0][0] < first[0]):
            return self._repeats[0][0]
        return None if first is None else first[0]

    def due(self, now: Instant, limit: int) -> list[Trigger]:
        """Up to `limit` triggers for streams that are due, the earliest first, then those to be repeated."""
        triggers: list[Trigger] = []
        while len(triggers) < limit:
            first = self._window.peek()
            if first is None or first[0] > now:
                break
            due_at, task_id, version = self._window.pop()
            # A timer that was set again to the same moment is in the window twice.
            if task_id not in self._unanswered and self._table.get(due_at, task_id) == version:
                triggers.append(Trigger(task_id, version, due_at))
                self._expect_answer(task_id, due_at, now, FIRST_REPEAT)
        while len(triggers) < limit and self._repeats and self._repeats[0][0] <= now:
            at, task_id = heapq.heappop(self._repeats)
            waiting = self._unanswered.get(task_id)
            if waiting is None or waiting[1] != at:
                continue
            version_now = self._table.get(waiting[0], task_id)
            if version_now is None:
                del self._unanswered[task_id]
                continue
            triggers.append(Trigger(task_id, version_now, waiting[0]))
            self._expect_answer(task_id, waiting[0], now, min(2 * waiting[2], LONGEST_REPEAT))
        return triggers

    def backlog(self, now: Instant, limit: int) -> int:
        """How many timers are due, counted up to `limit`."""
        return self._table.count_due(now, limit)

    def _expect_answer(self, task_id: str, due_at: Instant, now: Instant, wait: Millis) -> None:
        self._unanswered[task_id] = (due_at, now + wait, wait)
        heapq.heappush(self._repeats, (now + wait, task_id))
        if len(self._repeats) > 4 * len(self._unanswered) + 1_024:
            self._repeats = [(at, name) for name, (_, at, _) in self._unanswered.items()]
            heapq.heapify(self._repeats)
