"""Runs that wait to be claimed: an index of the state, in the order in which they should be taken.

A lane holds the runs that the same kind of holder can take. Order within it is by time available, a step of priority
being worth a minute of waiting, so that nothing starves. Runs of a backfill let others go first, for a day.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from taskscheduler.domain.decision import Accepted, AnyAccepted, of_tasks
from taskscheduler.domain.definition import Definition, Lane, lane_of
from taskscheduler.domain.events import AttemptClaimed, RunCancelled, RunFailed, RunQueued, RunRequeued, TaskUpdated
from taskscheduler.domain.state import Run
from taskscheduler.domain.values import DAY, MINUTE
from taskscheduler.streams.window import Window

AGEING = MINUTE

BEHIND = DAY
"""So much longer than others the runs of a backfill wait: what is over must not hold up what is due now."""


class Claimable(NamedTuple):
    """A waiting run and its place in its lane."""

    order: int
    task_id: str
    run_id: str


class WaitingRuns(Protocol):
    """Where attempts are taken from. What is taken must be claimed or given back."""

    def take(self, group: str, kinds: Sequence[str] | None, limit: int) -> list[tuple[Lane, Claimable]]: ...
    def give_back(self, lane: Lane, item: Claimable) -> None: ...
    def wait(self, group: str) -> asyncio.Future[None]: ...


class ClaimTable(Protocol):
    """Waiting runs by lane, in order."""

    def put(self, lane: Lane, item: Claimable) -> None: ...
    def delete(self, lane: Lane, item: Claimable) -> None: ...
    def has(self, lane: Lane, item: Claimable) -> bool: ...
    def first(self, lane: Lane, limit: int, after: Claimable | None) -> list[Claimable]: ...
    def kinds(self, group: str) -> set[str]: ...


class Claimables:
    """An observer of a replica that hands out waiting runs. What is taken must be claimed or given back."""

    def __init__(self, table: ClaimTable) -> None:
        self._table = table
        self._windows: dict[Lane, Window[Claimable]] = {}
        self._kinds: dict[str, set[str]] = {}
        self._waiters: dict[str, dict[asyncio.Future[None], None]] = {}
        self.waiting = 0
        """How many runs have become claimable, less those claimed or cancelled, since the start."""

    def apply(self, accepted: Sequence[AnyAccepted]) -> None:
        """Put and remove what these decisions made or took."""
        for change in of_tasks(accepted):
            for run_id in _touched(change):
                self._move(change, run_id)

    def take(self, group: str, kinds: Sequence[str] | None, limit: int) -> list[tuple[Lane, Claimable]]:
        """Up to `limit` runs from the lanes of a group, in order across its kinds."""
        windows = self._lanes(group, kinds)
        taken: list[tuple[Lane, Claimable]] = []
        while len(taken) < limit:
            heads = [(head, lane, window) for lane, window in windows if (head := window.peek()) is not None]
            if not heads:
                break
            _, lane, window = min(heads, key=lambda h: h[0])
            item = window.pop()
            if self._table.has(lane, item):
                taken.append((lane, item))
        return taken

    def head(self, group: str, kinds: Sequence[str] | None) -> Claimable | None:
        """What `take` would give first."""
        heads = []
        for lane, window in self._lanes(group, kinds):
            while (head := window.peek()) is not None and not self._table.has(lane, head):
                window.pop()
            if head is not None:
                heads.append(head)
        return min(heads, default=None)

    def give_back(self, lane: Lane, item: Claimable) -> None:
        """A run that was taken could not be claimed for reasons that do not lie with it."""
        if self._table.has(lane, item):
            self._window(lane).push(item)
            self._tell(lane.group)

    def wait(self, group: str) -> asyncio.Future[None]:
        """Done when a run has been put into a lane of the group since the call, not since it is awaited."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(group, {})
        waiters[future] = None
        future.add_done_callback(lambda done: waiters.pop(done, None))
        return future

    def _move(self, change: Accepted, run_id: str) -> None:
        before, after = change.before, change.after
        was, now = before.runs.get(run_id), after.runs.get(run_id)
        if was is not None and was.status == "queued" and before.definition is not None:
            self._table.delete(lane_of(before.definition.target), place_of(before.definition, before.id, was))
            self.waiting -= 1
        if now is not None and now.status == "queued" and after.definition is not None:
            lane, item = lane_of(after.definition.target), place_of(after.definition, after.id, now)
            self._table.put(lane, item)
            self.waiting += 1
            if lane.group in self._kinds:
                self._kinds[lane.group].add(lane.kind)
            window = self._windows.get(lane)
            if window is not None:
                window.push(item)
            self._tell(lane.group)

    def _lanes(self, group: str, kinds: Sequence[str] | None) -> list[tuple[Lane, Window[Claimable]]]:
        lanes = [Lane(group, kind) for kind in (sorted(self._known_kinds(group)) if kinds is None else kinds)]
        return [(lane, self._window(lane)) for lane in lanes]

    def _tell(self, group: str) -> None:
        for waiter in self._waiters.get(group, ()):
            if not waiter.done():
                waiter.set_result(None)

    def _known_kinds(self, group: str) -> set[str]:
        kinds = self._kinds.get(group)
        if kinds is None:
            kinds = self._kinds[group] = self._table.kinds(group)
        return kinds

    def _window(self, lane: Lane) -> Window[Claimable]:
        window = self._windows.get(lane)
        if window is None:
            window = Window(lambda limit, after: self._table.first(lane, limit, after), lambda item: item)
            self._windows[lane] = window
        return window


_MOVES = (RunQueued, RunRequeued, AttemptClaimed, RunFailed, RunCancelled)


def _touched(change: Accepted) -> Iterable[str]:
    touched: set[str] = set()
    for event in change.record.events:
        if isinstance(event, _MOVES):
            touched.add(event.run_id)
        elif type(event) is TaskUpdated:
            # Another target or priority is another place for all that waits.
            touched.update(change.before.runs, change.after.runs)
    return touched


def place_of(definition: Definition, task_id: str, run: Run) -> Claimable:
    """Where a run that can be claimed waits within its lane."""
    available = run.available_at if run.available_at is not None else run.scheduled_for
    behind = 0 if run.backfill_id is None else BEHIND
    return Claimable(available + (definition.priority - 1) * AGEING + behind, task_id, run.id)
