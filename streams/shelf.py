"""Lanes that compete for the same holders: whose turn it is, with a bounded part of them in memory.

First go those whose head has the better priority, as it has aged; among those at the same level the one whose key was
served least recently; for the same key the order of their heads. A run that has aged fully stands on the best level.

The table may hold any number of lanes. As long as they fit, all are in memory, each with its first rows. When they do
not, some are, and a lane makes room for another once it was served: then all have their turns in the order of names.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import NamedTuple, Protocol

from taskscheduler.domain.definition import Lane
from taskscheduler.domain.values import MINUTE, Instant
from taskscheduler.streams.window import Window

AGEING = MINUTE
"""A step of priority is worth so much waiting."""

MOST_LANES = 1_024
"""Lanes of a shelf in memory."""

ENOUGH_LANES = 256
"""With so many that can be served no more are looked for."""

ROWS = 16
"""Rows of a lane read at once; up to four times as many are held."""

PAGE = 512
"""Rows read at once when lanes are looked for."""

PAGES = 4
"""Pages read in one go: more would be a pause."""

SHUT = -1
"""The number of a lane that is not given."""


class Claimable(NamedTuple):
    """A waiting run and its place in its lane."""

    order: int
    task_id: str
    run_id: str


class LaneTable(Protocol):
    """Waiting runs by lane, in order."""

    def has(self, lane: Lane, item: Claimable) -> bool: ...
    def first(self, lane: Lane, limit: int, after: Claimable | None) -> list[Claimable]: ...
    def lanes(
        self, group: str, kind: str | None, after: Lane | None, limit: int, each: int
    ) -> list[tuple[Lane, Claimable]]: ...


class Turns:
    """Who was served when, counted in turns. Of too many the oldest are forgotten.

    Those count as served when the last of them was, as do new ones: one that waits in memory is not overtaken by them.
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._count = self._forgotten = 0

    def of(self, turn: str) -> int:
        """When it was served last."""
        return self._last.get(turn, self._forgotten)

    def serve(self, turn: str) -> None:
        """It is served now."""
        self._count += 1
        self._last.pop(turn, None)
        self._last[turn] = self._count
        if len(self._last) > 4 * MOST_LANES:
            turns = list(self._last.items())
            self._forgotten = turns[2 * MOST_LANES - 1][1]
            self._last = dict(turns[2 * MOST_LANES :])


class Standing(NamedTuple):
    """Where a lane stands among others: the lowest is served next."""

    level: int
    served: int
    order: int


class _Loaded:
    """A lane in memory. `number` tells the entry in a heap that is its own from older ones; 0: it has none."""

    __slots__ = ("lane", "number", "window")

    def __init__(self, lane: Lane, window: Window[Claimable]) -> None:
        self.lane = lane
        self.window = window
        self.number = 0


_Entry = tuple[int, int, int, int, _Loaded]
"""Level, served, order, number, lane."""


class Shelf:
    """The lanes of a group, or of one kind in it. `next` names the lane to take from; `pop` takes from it."""

    def __init__(self, table: LaneTable, group: str, kind: str | None, turns: Turns) -> None:
        self._table = table
        self._group = group
        self._kind = kind
        self._turns = turns
        self._lanes: dict[Lane, _Loaded] = {}
        self._shut: dict[str, dict[Lane, None]] = {}
        self._aged: list[_Entry] = []
        self._young: list[_Entry] = []
        self._numbers = 0
        self._plain = None if kind is None else Lane(group, kind)
        self._begin()

    def _begin(self) -> None:
        self._open = 0
        self._after: Lane | None = self._plain
        self._more = True
        """Whether the table may hold lanes that are not in memory."""
        self._left_out = False
        """Whether some were met, or given up, since the table was last read from its beginning."""
        self._crowded = False
        """Whether they do not all fit: then each makes room when it was served."""
        self._seen = 0
        """Lanes met since then."""
        if self._plain is not None:
            self._add(_Loaded(self._plain, Window(self._reader(self._plain), lambda item: item)))

    def start_over(self) -> None:
        """Forget what is in memory: the table has rows that were taken out of it."""
        self._lanes, self._shut, self._aged, self._young = {}, {}, [], []
        self._begin()

    def put(self, lane: Lane, item: Claimable) -> None:
        """A row was put into the table."""
        loaded = self._lanes.get(lane)
        if loaded is None:
            if self._crowded or not self._make_room():
                self._leave_out()
            else:
                known = None if self._more else ([item], True)
                self._add(_Loaded(lane, Window(self._reader(lane), lambda item: item, size=ROWS, known=known)))
        elif loaded.window.push(item) and loaded.number != SHUT:
            self._enter(loaded)

    def next(self, now: Instant) -> tuple[Standing, Lane] | None:
        """The lane whose turn it is, and where it stands."""
        self._load()
        self._age(now)
        while heap := (self._aged or self._young):
            level, served, order, number, loaded = heap[0]
            if loaded.number != number:
                heapq.heappop(heap)
                continue
            head = loaded.window.peek()
            if head is None:
                heapq.heappop(heap)
                self._empty(loaded)
                self._load()
                continue
            if not self._table.has(loaded.lane, head):
                loaded.window.pop()
                continue
            served_now = self._turns.of(loaded.lane.turn)
            if head.order != order or served_now != served:
                heapq.heappop(heap)
                self._enter(loaded)
                self._age(now)
                continue
            return Standing(level, served, order), loaded.lane
        return None

    def head(self, lane: Lane) -> Claimable:
        """The first run of the lane that `next` gave."""
        head = self._lanes[lane].window.peek()
        assert head is not None
        return head

    def pop(self, lane: Lane) -> Claimable:
        """Take the first run of the lane that `next` gave."""
        loaded = self._lanes[lane]
        item = loaded.window.pop()
        self._turns.serve(lane.turn)
        if self._crowded and lane != self._plain:
            self._drop(loaded)
        return item

    def shut(self, lane: Lane, name: str) -> None:
        """Do not give the lane until what is called so is opened."""
        loaded = self._lanes[lane]
        self._open -= 1
        loaded.number = SHUT
        self._shut.setdefault(name, {})[lane] = None

    def open(self, name: str) -> bool:
        """Give the lanes again that were shut for this; whether there may be some."""
        lanes = self._shut.pop(name, {})
        for lane in lanes:
            loaded = self._lanes.get(lane)
            if loaded is not None and loaded.number == SHUT:
                self._enter(loaded)
        return bool(lanes) or self._fetch(name)

    def _fetch(self, name: str) -> bool:
        """Have the lane in memory that may have been given up while it was shut."""
        if not self._more:
            return False
        what, _, key = name.partition(":")
        if what == "key" and self._kind is not None:
            lane = Lane(self._group, self._kind, key)
            if lane not in self._lanes and self._make_room():
                self._add(_Loaded(lane, Window(self._reader(lane), lambda item: item, size=ROWS)))
        return True

    def _reader(self, lane: Lane) -> Callable[[int, Claimable | None], list[Claimable]]:
        return lambda limit, after: self._table.first(lane, limit, after)

    def _add(self, loaded: _Loaded) -> None:
        self._lanes[loaded.lane] = loaded
        self._enter(loaded)

    def _enter(self, loaded: _Loaded) -> None:
        """Put a lane where it stands now; older entries of it are passed over."""
        if loaded.number <= 0:
            self._open += 1
        self._numbers += 1
        loaded.number = self._numbers
        head = loaded.window.peek()
        order = 0 if head is None else head.order
        entry = (order // AGEING, self._turns.of(loaded.lane.turn), order, loaded.number, loaded)
        heapq.heappush(self._young, entry)
        if len(self._young) + len(self._aged) > 4 * len(self._lanes) + 64:
            self._aged, self._young = self._current(self._aged), self._current(self._young)

    @staticmethod
    def _current(heap: list[_Entry]) -> list[_Entry]:
        kept = [entry for entry in heap if entry[4].number == entry[3]]
        heapq.heapify(kept)
        return kept

    def _age(self, now: Instant) -> None:
        level = now // AGEING
        while self._young and self._young[0][0] <= level:
            _, served, order, number, loaded = heapq.heappop(self._young)
            heapq.heappush(self._aged, (0, served, order, number, loaded))

    def _empty(self, loaded: _Loaded) -> None:
        """The lane has no rows. The plain one stays: most runs wait there."""
        self._open -= 1
        loaded.number = 0
        if loaded.lane != self._plain:
            del self._lanes[loaded.lane]

    def _drop(self, loaded: _Loaded) -> None:
        if loaded.number > 0:
            self._open -= 1
        elif loaded.number == SHUT:
            for name in loaded.lane.names:
                if (lanes := self._shut.get(name)) is not None and lanes.pop(loaded.lane, "") is None and not lanes:
                    del self._shut[name]
        loaded.number = 0
        del self._lanes[loaded.lane]
        self._leave_out()

    def _leave_out(self) -> None:
        self._more = self._left_out = self._crowded = True

    def _make_room(self) -> bool:
        """Whether one more lane can be held, if need be in the place of one that is shut."""
        if len(self._lanes) < MOST_LANES:
            return True
        shut = next((loaded for loaded in self._lanes.values() if loaded.number == SHUT), None)
        if shut is None:
            return False
        self._drop(shut)
        return True

    def _load(self) -> None:
        """Look for lanes in the table as long as few can be served."""
        for _ in range(PAGES):
            if not self._more or (self._crowded and self._open >= ENOUGH_LANES):
                return
            rows = self._table.lanes(self._group, self._kind, self._after, PAGE, ROWS)
            found: dict[Lane, list[Claimable]] = {}
            for lane, item in rows:
                found.setdefault(lane, []).append(item)
            last = rows[-1][0] if len(rows) == PAGE else None
            for lane, items in found.items():
                self._seen += 1
                if lane in self._lanes:
                    continue
                if not self._make_room():
                    self._leave_out()
                    return
                whole = len(items) < ROWS and lane != last
                window = Window(self._reader(lane), lambda item: item, size=ROWS, known=(items, whole))
                self._add(_Loaded(lane, window))
                self._after = lane
            self._after = last or self._plain
            if last is None:
                if self._seen <= MOST_LANES // 2:
                    self._crowded = False
                self._more, self._left_out, self._seen = self._left_out, False, 0
