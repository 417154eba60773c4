"""The ledger: every nominal fire time that a task's definitions name, held against what became of it.

What should have been follows from the definitions alone, by the functions of `schedule`; nothing that the fold wrote
down of a schedule is asked for it. What was is given as `Settled` and `Open`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from taskscheduler.domain import events as ev
from taskscheduler.domain.schedule import (
    Schedule,
    count_between,
    first_fire,
    next_after,
    nominal_of,
    prev_before,
)
from taskscheduler.domain.values import Instant

MOST_DIFFERENCES = 100
"""Differences that a ledger names; `differing` counts all of them."""

How: TypeAlias = Literal["fired", "caught_up", "skipped"]

RUNS_FOR: dict[ev.RunCause, How] = {"schedule": "fired", "catch_up": "caught_up"}
"""The causes of runs that stand for a nominal time; all others are beside the schedule."""


class Era:
    """A schedule in force: accepted at `since`, and its last fire time at `until` at the latest (None: still in force).

    It names nominal times before `before` only, where that is given. One that is `planned` has not begun yet: all of
    its times are to come. One that `goes_on` is followed by the same schedule with other days of a calendar, which
    takes over what it owes. Ranges are start <= nominal time < end.
    """

    def __init__(
        self,
        schedule: Schedule,
        since: Instant,
        until: Instant | None = None,
        *,
        before: Instant | None = None,
        planned: bool = False,
        goes_on: bool = False,
    ) -> None:
        self.schedule = schedule
        self.since = since
        self.until = until
        self.before = before
        self.planned = planned
        self.goes_on = goes_on
        self._plain = replace(schedule, jitter=0) if schedule.jitter else schedule

    @cached_property
    def _ends(self) -> tuple[Instant, Instant | None] | None:
        """The first nominal time and the last one, which is None where there is none; None for an empty era."""
        schedule, last = self.schedule, None
        first = first_fire(schedule, self.since)
        if first is None:
            return None
        if self.until is not None:
            fire = prev_before(schedule, self.until + 1)
            if fire is None:
                return None
            last = nominal_of(schedule, fire)
        if self.before is not None:
            nominal = prev_before(self._plain, self.before)
            if nominal is None:
                return None
            last = nominal if last is None else min(last, nominal)
        return nominal_of(schedule, first), last

    def following(self, instant: Instant) -> Instant | None:
        """The first nominal time strictly after `instant`, or None."""
        if self._ends is None:
            return None
        first, last = self._ends
        found = next_after(self._plain, max(instant, first - 1))
        return None if found is None or (last is not None and found > last) else found

    def count(self, start: Instant, end: Instant) -> int:
        """How many nominal times there are in a range."""
        if self._ends is None:
            return 0
        first, last = self._ends
        return count_between(self._plain, max(start, first), end if last is None else min(end, last + 1))

    def fire_of(self, nominal: Instant) -> Instant:
        """When one of the nominal times fires: later, where there is jitter."""
        # The time before fires before this one is named.
        fire = next_after(self.schedule, nominal - 1) if self.schedule.jitter else None
        return nominal if fire is None else fire


class Settled(msgspec.Struct, frozen=True, gc=False):
    """What became of `count` nominal times in a row, from `first` to `last` (both included)."""

    first: Instant
    last: Instant
    count: int
    how: How
    reason: ev.SkipReason | None = None


class Open(msgspec.Struct, frozen=True, gc=False):
    """What a task says at `now` of fire times that are not settled: those of `backlog`, and all from `next_fire` on.

    One that came before `forgotten_before` has been let lie for too long, unless a pause lets it.
    """

    now: Instant
    next_fire: Instant | None
    backlog: ev.Backlog | None = None
    forgotten_before: Instant | None = None


class Difference(msgspec.Struct, frozen=True, gc=False):
    """Nominal times from `first` to `last` of which there are `nominal`, and `accounted` are accounted for."""

    first: Instant
    last: Instant
    nominal: int
    accounted: int
    detail: str


class Ledger(msgspec.Struct, gc=False):
    """Nominal times by what became of them.

    `owed` wait in a backlog, `pending` have come and are not settled yet, `to_come` have not come. `differing` counts
    the times that are accounted for otherwise than once.
    """

    nominal: int = 0
    fired: int = 0
    caught_up: int = 0
    skipped: dict[str, int] = {}
    owed: int = 0
    pending: int = 0
    to_come: int = 0
    differing: int = 0
    differences: list[Difference] = []

    @property
    def balanced(self) -> bool:
        """Whether each nominal time is accounted for, exactly once."""
        return not self.differing

    @property
    def accounted(self) -> int:
        """How many nominal times are accounted for, those that were accounted for too often included."""
        return self.fired + self.caught_up + sum(self.skipped.values()) + self.owed + self.pending + self.to_come


def settled_by(event: ev.Event) -> Settled | None:
    """The nominal times that an event settles, if it settles any."""
    match event:
        case ev.RunQueued(nominal_at=int(at), cause="schedule" | "catch_up" as cause):
            return Settled(at, at, 1, RUNS_FOR[cause])
        case ev.FiresSkipped(nominal_at=first, nominal_until=until, count=count, reason=reason):
            return Settled(first, first if until is None else until, count, "skipped", reason)
    return None


class _Cursor:
    """The first nominal time of an era that nothing was said of yet."""

    __slots__ = ("era", "next", "number")

    def __init__(self, era: Era, number: int, start: Instant) -> None:
        self.era = era
        self.number = number
        self.next = era.following(start - 1)

    def __lt__(self, other: _Cursor) -> bool:
        assert self.next is not None and other.next is not None
        return (self.next, self.number) < (other.next, other.number)


class Balance:
    """Holds what is settled in start <= nominal time < end against the eras, in one pass.

    `settle` takes it in the order of `first`, in as many calls as it likes to come; `close` gives the ledger. The last
    of the eras that is not planned is the one that `open` is about.
    """

    def __init__(self, eras: Sequence[Era], start: Instant, end: Instant, open: Open) -> None:
        self._eras = eras
        self._start = start
        self._end = end
        self._open = open
        self._current = sum(not era.planned for era in eras) - 1
        self._owing = self._current
        while self._owing > 0 and eras[self._owing - 1].goes_on:
            self._owing -= 1
        self._ledger = Ledger(nominal=sum(era.count(start, end) for era in eras), skipped={}, differences=[])
        self._cursors = [_Cursor(era, number, start) for number, era in enumerate(eras)]
        self._heap = [cursor for cursor in self._cursors if self._within(cursor)]
        heapq.heapify(self._heap)
        self._last: Instant | None = None
        self._joins = False

    def settle(self, rows: Iterable[Settled]) -> None:
        """Take in what became of some nominal times."""
        for row in rows:
            if row.count != 1 or row.first != row.last:
                self._stretch(row)
            elif self._start <= row.first < self._end:
                self._single(row)

    def close(self) -> Ledger:
        """The ledger; nothing may follow."""
        ledger, heap = self._ledger, self._heap
        while heap:
            cursor = heap[0]
            assert cursor.next is not None
            since = self._open_since(cursor)
            if since is not None and cursor.era.fire_of(cursor.next) >= since:
                self._count_open(cursor.era, cursor.next, self._end)
                heapq.heappop(heap)
                continue
            self._unsettled(cursor)
            self._advance(cursor.next)
        self._check_next()
        return ledger

    def _single(self, row: Settled) -> None:
        self._pass(row.first)
        if self._heap and self._heap[0].next == row.first:
            self._add(row, 1)
            self._advance(row.first)
        elif row.first == self._last:
            self._differs(row.first, row.first, 1, 2, "it was settled more than once", 1)
        else:
            self._differs(row.first, row.first, 0, 1, f"{row.how}, though no schedule in force names it", 1)
        self._last, self._joins = row.first, False

    def _stretch(self, row: Settled) -> None:
        """Many times in one row. They are one schedule's, whatever others name in between."""
        first, last = max(row.first, self._start), min(row.last, self._end - 1)
        if first > last:
            return
        self._pass(first)
        found = self._named_in(row)
        if not found:
            named = sum(era.count(row.first, row.last + 1) for era in self._eras)
            detail = f"one row says that {row.count} were skipped, the schedules name {named}"
            self._differs(row.first, row.last, named, row.count, detail, max(1, abs(named - row.count)))
            found = [cursor for cursor in self._heap if cursor.next is not None and cursor.next <= last]
        else:
            if any(cursor.next != cursor.era.following(first - 1) for cursor in found):
                self._differs(first, last, 1, 2, "some of these were settled more than once", 1)
            nexts = [(cursor.era, cursor.next) for cursor in found if cursor.next is not None]
            self._add(row, sum(era.count(max(first, at), last + 1) for era, at in nexts))
            self._last, self._joins = last, False
        for cursor in found:
            cursor.next = cursor.era.following(last)
        self._heap = [one for one in self._heap if self._within(one)]
        heapq.heapify(self._heap)

    def _named_in(self, row: Settled) -> list[_Cursor]:
        """Of the era that names just what a row settles, or of those together that go on in each other."""
        for number, cursor in enumerate(self._cursors):
            if cursor.era.following(row.first - 1) != row.first:
                continue
            count, end = 0, number
            while end < len(self._cursors) and count < row.count and (end == number or self._eras[end - 1].goes_on):
                count += self._eras[end].count(row.first, row.last + 1)
                end += 1
            if count == row.count:
                return self._cursors[number:end]
        return []

    def _pass(self, instant: Instant) -> None:
        """What is named before `instant` is settled by nothing."""
        while self._heap and (at := self._heap[0].next) is not None and at < instant:
            self._unsettled(self._heap[0])
            self._advance(at)

    def _unsettled(self, cursor: _Cursor) -> None:
        open, ledger, at = self._open, self._ledger, cursor.next
        assert at is not None
        fire, since = cursor.era.fire_of(at), self._open_since(cursor)
        if (
            self._owing <= cursor.number <= self._current
            and open.backlog is not None
            and open.backlog.next <= fire < open.backlog.until
        ):
            ledger.owed += 1
            self._joins = False
        elif since is not None and fire >= since:
            self._count_open(cursor.era, at, at + 1)
        elif self._joins:
            last = ledger.differences[-1]
            ledger.differing += 1
            ledger.differences[-1] = replace(last, last=at, nominal=last.nominal + 1)
        else:
            self._joins = self._differs(at, at, 1, 0, "no run, no skip, and it is not to come", 1)

    def _count_open(self, era: Era, start: Instant, end: Instant) -> None:
        """All that is named from `start` on is to come, but for what has come just now, or is forgotten."""
        come = self._fired_by(era, start, end, self._open.now)
        self._ledger.to_come += era.count(start, end) - come
        self._joins = False
        before = self._open.forgotten_before
        forgotten = 0 if before is None or not come else self._fired_by(era, start, end, before - 1)
        self._ledger.pending += come - forgotten
        if forgotten:
            first = era.following(start - 1)
            assert first is not None
            self._differs(first, first, forgotten, 0, "it has come, and nobody has looked at it", forgotten)

    def _fired_by(self, era: Era, start: Instant, end: Instant, instant: Instant) -> int:
        """How many nominal times in a range fire at `instant` at the latest."""
        if not era.schedule.jitter:
            return era.count(start, min(end, instant + 1))
        last = prev_before(era.schedule, instant + 1)
        return 0 if last is None else era.count(start, min(end, nominal_of(era.schedule, last) + 1))

    def _check_next(self) -> None:
        """The task waits for a time that its schedule names, and waits for one if there is any."""
        if self._current < 0 or self._eras[self._current].until is not None:
            return
        era, waits = self._eras[self._current], self._open.next_fire
        schedule = era.schedule
        if waits is None:
            first = first_fire(schedule, era.since)
            if first is not None and (due := next_after(schedule, max(self._open.now, first - 1))) is not None:
                nominal = nominal_of(schedule, due)
                if era.before is None or nominal < era.before:
                    self._differs(nominal, nominal, 1, 0, "it will come, and the task does not wait for it", 1)
        elif next_after(schedule, waits - 1) != waits:
            self._differs(waits, waits, 0, 1, "the task waits for it, and its schedule does not name it", 1)

    def _open_since(self, cursor: _Cursor) -> Instant | None:
        """From which fire time on those of an era are not settled; None where all of them are."""
        if cursor.era.planned:
            return cursor.era.since
        return self._open.next_fire if cursor.number == self._current and cursor.era.until is None else None

    def _within(self, cursor: _Cursor) -> bool:
        return cursor.next is not None and cursor.next < self._end

    def _advance(self, beyond: Instant) -> None:
        """Move the first cursor on."""
        cursor = self._heap[0]
        cursor.next = cursor.era.following(beyond)
        if self._within(cursor):
            heapq.heapreplace(self._heap, cursor)
        else:
            heapq.heappop(self._heap)

    def _add(self, row: Settled, count: int) -> None:
        ledger = self._ledger
        if row.how == "fired":
            ledger.fired += count
        elif row.how == "caught_up":
            ledger.caught_up += count
        else:
            reason = row.reason or "missed"
            ledger.skipped[reason] = ledger.skipped.get(reason, 0) + count

    def _differs(self, first: Instant, last: Instant, nominal: int, accounted: int, detail: str, times: int) -> bool:
        """Whether it is named, which so many are only."""
        ledger = self._ledger
        ledger.differing += times
        named = len(ledger.differences) < MOST_DIFFERENCES
        if named:
            ledger.differences.append(Difference(first, last, nominal, accounted, detail))
        return named
