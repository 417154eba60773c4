"""Runs that wait to be claimed: an index of the state, in the order in which they should be taken.

A lane holds the runs that the same kind of holder can take. Order within it is by time available, a step of priority
being worth a minute of waiting, so that nothing starves. Runs of a backfill let others go first, for a day. Among lanes
the shelf says whose turn it is, and gates say what may not be taken now: that is passed over until there may be room.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from taskscheduler.domain.decision import Accepted, AnyAccepted, of_tasks
from taskscheduler.domain.definition import EXEC_KIND, Definition, Lane, lane_of
from taskscheduler.domain.events import (
    AttemptClaimed,
    AttemptReleased,
    GrantsRevoked,
    RunCancelled,
    RunFailed,
    RunQueued,
    RunRequeued,
    TaskUpdated,
)
from taskscheduler.domain.state import Run
from taskscheduler.domain.values import DAY, SECOND, Instant
from taskscheduler.streams.gates import Gate, Room
from taskscheduler.streams.shelf import AGEING, Claimable, LaneTable, Shelf, Standing, Turns

__all__ = ["ClaimTable", "Claimable", "Claimables", "WaitingRuns", "place_of"]

BEHIND = DAY
"""So much longer than others the runs of a backfill wait: what is over must not hold up what is due now."""

MOST_PARKED = 4_096
"""Runs that are remembered to wait for the same thing. Beyond that they are found again in their table."""

ALL_KINDS = ("http",)
"""Groups whose kinds are too many, and taken by all alike, to be told apart: the hosts that are called."""


class WaitingRuns(Protocol):
    """Where attempts are taken from. What is taken must be claimed or given back."""

    def take(self, group: str, kinds: Sequence[str] | None, limit: int) -> list[tuple[Lane, Claimable]]: ...
    def give_back(self, lane: Lane, item: Claimable) -> None: ...
    def park(self, name: str, lane: Lane, item: Claimable) -> None: ...
    def wait(self, group: str) -> asyncio.Future[None]: ...


class ClaimTable(LaneTable, Protocol):
    """Waiting runs by lane, in order."""

    def put(self, lane: Lane, item: Claimable) -> None: ...
    def delete(self, lane: Lane, item: Claimable) -> None: ...
    def kinds(self, group: str) -> set[str]: ...


class Claimables:
    """An observer of a replica that hands out waiting runs. What is taken must be claimed or given back."""

    def __init__(self, table: ClaimTable, clock: Callable[[], Instant]) -> None:
        self._table = table
        self._clock = clock
        self._gates: list[Gate] = []
        self._shelves: dict[str, dict[str | None, Shelf]] = {}
        self._turns: dict[str, Turns] = {}
        self._kinds: dict[str, set[str]] = {}
        self._waiters: dict[str, dict[asyncio.Future[None], None]] = {}
        self._parked: dict[str, list[tuple[Claimable, Lane]]] = {}
        self._too_many: dict[str, None] = {}
        self._again: dict[str, tuple[Instant, asyncio.TimerHandle]] = {}
        self.waiting = 0
        """How many runs have become claimable, less those claimed or cancelled, since the start."""

    def guard(self, gate: Gate) -> None:
        """Take nothing that the gate holds up."""
        self._gates.append(gate)
        gate.watch(self._opened)

    def apply(self, accepted: Sequence[AnyAccepted]) -> None:
        """Put and remove what these decisions made or took."""
        for change in of_tasks(accepted):
            for run_id in _touched(change):
                self._move(change, run_id)

    def take(self, group: str, kinds: Sequence[str] | None, limit: int) -> list[tuple[Lane, Claimable]]:
        """Up to `limit` runs from the lanes of a group, in order across its kinds."""
        now, taken, rooms = self._clock(), list[tuple[Lane, Claimable]](), dict[str, Room]()
        whole = self._room(group, now)
        if whole is not None:
            limit = min(limit, whole.left)
            if limit <= 0:
                self._look_again(group, whole, now)
        while len(taken) < limit and (found := self._next(group, kinds, now)) is not None:
            _, lane, shelf = found
            names = lane.names
            if names and (full := self._full(names, rooms, now)) is not None:
                shelf.shut(lane, full)
                self._look_again(full, rooms[full], now)
                continue
            taken.append((lane, shelf.pop(lane)))
            for name in names:
                if (room := rooms.get(name)) is not None:
                    rooms[name] = room._replace(left=room.left - 1)
        return taken

    def head(self, group: str, kinds: Sequence[str] | None) -> Claimable | None:
        """What `take` would give first, gates aside."""
        found = self._next(group, kinds, self._clock())
        return None if found is None else found[2].head(found[1])

    def spare(self, lane: Lane, most: int) -> int:
        """How many runs of the lane, up to `most`, would be taken before all that wait and are held up by nothing.

        None, unless nothing waits that the same holders can take.
        """
        if self.head(lane.group, None if lane.group in ALL_KINDS else (lane.kind,)) is not None:
            return 0
        now = self._clock()
        for name in (lane.group, *lane.names):
            if (room := self._room(name, now)) is not None:
                most = min(most, room.left)
        return max(0, most)

    def give_back(self, lane: Lane, item: Claimable) -> None:
        """A run that was taken could not be claimed for reasons that do not lie with it."""
        if self._table.has(lane, item):
            self._shelf(lane.group, lane.kind).put(lane, item)
            self._tell(lane.group)

    def park(self, name: str, lane: Lane, item: Claimable) -> None:
        """A run that was taken can be claimed no sooner than there is more room under this name."""
        parked = self._parked.setdefault(name, [])
        if len(parked) < MOST_PARKED:
            heapq.heappush(parked, (item, lane))
        else:
            self._too_many[name] = None
        now = self._clock()
        if (room := self._room(name, now)) is not None:
            self._look_again(name, room, now)

    def wait(self, group: str) -> asyncio.Future[None]:
        """Done when a run has been put into a lane of the group since the call, not since it is awaited."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(group, {})
        waiters[future] = None
        future.add_done_callback(lambda done: waiters.pop(done, None))
        return future

    def next_look(self) -> Instant | None:
        """When something that is held up now may be taken, as far as that is a matter of time."""
        return min((until for until, _ in self._again.values()), default=None)

    def look(self) -> None:
        """Look now at what may be taken again by now, for whoever moves the clock by hand."""
        now = self._clock()
        for name in [name for name, (until, _) in self._again.items() if until <= now]:
            self._opened(name)

    def _move(self, change: Accepted, run_id: str) -> None:
        before, after = change.before, change.after
        was, now = before.runs.get(run_id), after.runs.get(run_id)
        if was is not None and was.status == "queued" and before.definition is not None:
            self._table.delete(lane_of(before.definition), place_of(before.definition, before.id, was))
            self.waiting -= 1
        if now is not None and now.status == "queued" and after.definition is not None:
            lane, item = lane_of(after.definition), place_of(after.definition, after.id, now)
            self._table.put(lane, item)
            self.waiting += 1
            if lane.group in self._kinds:
                self._kinds[lane.group].add(lane.kind)
            shelf = self._shelves.get(lane.group, {}).get(_on(lane.group, lane.kind))
            if shelf is not None:
                shelf.put(lane, item)
            self._tell(lane.group)

    def _next(self, group: str, kinds: Sequence[str] | None, now: Instant) -> tuple[Standing, Lane, Shelf] | None:
        best: tuple[Standing, Lane, Shelf] | None = None
        if group in ALL_KINDS:
            shelves = [self._shelf(group, "")]
        else:
            if kinds is None:
                kinds = sorted(kind for kind in self._known_kinds(group) if kind != EXEC_KIND)
            shelves = [self._shelf(group, kind) for kind in kinds]
        for shelf in shelves:
            found = shelf.next(now)
            if found is not None and (best is None or found[0] < best[0]):
                best = (*found, shelf)
        return best

    def _room(self, name: str, now: Instant) -> Room | None:
        """The least room that a gate leaves."""
        least: Room | None = None
        for gate in self._gates:
            room = gate.room(name, now)
            if room is not None and (least is None or room.left < least.left):
                least = room
        return least

    def _full(self, names: Sequence[str], rooms: dict[str, Room], now: Instant) -> str | None:
        """The first of the names that leaves no room; what is left is noted in `rooms`."""
        for name in names:
            room = rooms.get(name) or self._room(name, now)
            if room is not None:
                rooms[name] = room
                if room.left <= 0:
                    return name
        return None

    def _look_again(self, name: str, room: Room, now: Instant) -> None:
        if room.until is not None and name not in self._again:
            wait = max(0, room.until - now) / SECOND
            self._again[name] = (room.until, asyncio.get_running_loop().call_later(wait, self._opened, name))

    def _opened(self, name: str) -> None:
        """There may be room under this name."""
        if (again := self._again.pop(name, None)) is not None:
            again[1].cancel()
        self._tell(name)
        if name in self._parked:
            self._unpark(name)
        for group, shelves in self._shelves.items():
            if sum(shelf.open(name) for shelf in shelves.values()):
                self._tell(group)

    def _tell(self, group: str) -> None:
        for waiter in self._waiters.get(group, ()):
            if not waiter.done():
                waiter.set_result(None)

    def _known_kinds(self, group: str) -> set[str]:
        kinds = self._kinds.get(group)
        if kinds is None:
            kinds = self._kinds[group] = self._table.kinds(group)
        return kinds

    def _unpark(self, name: str) -> None:
        """Let as many wait in their lanes again as there is room for."""
        parked, now = self._parked[name], self._clock()
        room = self._room(name, now)
        left = len(parked) if room is None else room.left
        while parked and left > 0:
            item, lane = heapq.heappop(parked)
            if self._table.has(lane, item):
                self.give_back(lane, item)
                left -= 1
        if parked:
            if room is not None:
                self._look_again(name, room, now)
            return
        del self._parked[name]
        if self._too_many.pop(name, "") is None:
            for group, shelves in self._shelves.items():
                for shelf in shelves.values():
                    shelf.start_over()
                self._tell(group)

    def _shelf(self, group: str, kind: str) -> Shelf:
        shelves = self._shelves.setdefault(group, {})
        shelf = shelves.get(_on(group, kind))
        if shelf is None:
            turns = self._turns.setdefault(group, Turns())
            shelf = shelves[_on(group, kind)] = Shelf(self._table, group, _on(group, kind), turns)
        return shelf


def _on(group: str, kind: str) -> str | None:
    """On which shelf of the group a kind stands."""
    return None if group in ALL_KINDS else kind


_MOVES = (RunQueued, RunRequeued, AttemptClaimed, AttemptReleased, RunFailed, RunCancelled, GrantsRevoked)
# Whoever took a run whose slots were revoked cannot claim it: it is to be taken again.


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
