"""The fire times of a task, followed through its events: each is settled once, as its policies say, or still owed.

What must come is worked out apart from the scheduler (`nominal`); each fire time is touched when it comes and when it
is settled, so that checking a decision costs the same however long the task has lived.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from taskscheduler.domain import events as ev
from taskscheduler.domain.definition import Definition
from taskscheduler.domain.schedule import OneTime, Schedule
from taskscheduler.domain.state import MAX_ACTIVE_RUNS, Task

if TYPE_CHECKING:
    from tests.simulation.nominal import Nominal


class Fires:
    """`times` gives the nominal times of a schedule, `late_after` is the policy's."""

    def __init__(self, times: Callable[[Schedule], Nominal], late_after: int) -> None:
        self._times = times
        self._late_after = late_after
        self.definition: Definition | None = None
        self.nominal: Nominal | None = None
        self.next = 0
        """The index of the first time that has not come."""
        self.open: dict[int, None] = {}
        """Those that have come and are not settled, in order."""
        self.fired = self.skipped = 0
        self.begin_record(0)

    def begin_record(self, now: int, *, dropping: bool = False) -> None:
        """A decision made at `now` follows. `dropping`: its command may end the schedule, and what is owed with it."""
        self._dropping = dropping
        self._owing = bool(self.open)
        self._caught_up = 0
        self._missed: list[int] = []
        self._fresh = self.next
        self._queued = self._overlapped = self._created = False
        self.come(now)

    def come(self, now: int) -> None:
        """Open what has come by now."""
        if self.nominal is not None:
            while (time := self.nominal.at(self.next)) is not None and time <= now:
                self.open[self.next] = None
                self.next += 1

    def created(self, event: ev.TaskCreated) -> None:
        self._created = True
        self.fired = self.skipped = 0
        self._begin(event.definition, event.at)

    def updated(self, event: ev.TaskUpdated) -> None:
        assert self.definition is not None
        if event.definition.schedule == self.definition.schedule:
            self.definition = event.definition
        else:
            self.end()
            self._begin(event.definition, event.at)

    def end(self) -> None:
        """The schedule is in force no longer."""
        assert not self.open, f"the fire times {self._shown()} vanished when their schedule ended"
        self.definition = self.nominal = None

    def queued(self, event: ev.RunQueued, *, active: int, paused: bool) -> None:
        self.fired += 1
        self._queued = True
        if event.nominal_at is None:
            assert event.cause in ("manual", "retry"), f"{event} has no fire time"
            return
        time, late = event.nominal_at, event.at - event.nominal_at
        index = self._settle(time)
        assert self.definition is not None
        assert not paused, f"the fire time {time} ran during a pause"
        assert not active, f"the fire time {time} ran although another run was active"
        if event.cause == "schedule":
            one_time = isinstance(self.definition.schedule, OneTime)
            assert one_time or late <= self._late_after, f"the fire time {time} ran {late} ms late, as if on time"
            return
        assert event.cause == "catch_up"
        policy = self.definition.catch_up
        self._caught_up += 1
        if self._owing or policy.policy == "all":
            oldest = next(iter(self.open), index)
            assert index <= oldest, f"the fire time {time} was caught up before {self._shown()}"
        if self._owing:
            return
        assert late <= max(policy.window, self._late_after), f"the fire time {time} is outside the window"
        assert policy.policy != "none", f"the fire time {time} was caught up against the policy"
        assert policy.policy == "all" or index == self.next - 1, f"{time} was caught up, though it is not the latest"

    def skip(self, event: ev.FiresSkipped, *, active: int, paused: bool) -> None:
        """The times of one row of skips."""
        assert self.nominal is not None and self.definition is not None
        self.skipped += event.count
        until = event.nominal_at if event.nominal_until is None else event.nominal_until
        first, last = self.nominal.index(event.nominal_at), self.nominal.index(until)
        assert first is not None and last == first + event.count - 1, f"{event} names other fire times than it counts"
        for index in range(first, first + event.count):
            time = self.nominal.at(index)
            assert time is not None
            late = event.at - time
            self._settle(time)
            match event.reason:
                case "paused":
                    assert paused, f"the fire time {time} was skipped for a pause that is not"
                case "overlap":
                    self._overlapped = self._overlapped or not active
                case "missed":
                    was_late = late > self._late_after or self._dropping
                    assert was_late, f"the fire time {time} counts as missed after {late} ms"
                    self._missed.append(index)
                case "outside_window":
                    assert late > self.definition.catch_up.window, f"the fire time {time} is within the window"
                case "too_many_active":
                    assert active >= MAX_ACTIVE_RUNS, f"{active} active runs are too many"

    def check(self, state: Task) -> None:
        """After the record: what has come is settled or owed, and the state knows what comes next."""
        if self.nominal is None or self.definition is None:
            assert state.next_fire is None and state.backlog is None, "a schedule that ended still has fire times"
            return
        assert state.counts.fired == self.fired, f"{self.fired} runs were made, the state counts {state.counts.fired}"
        assert state.counts.skipped == self.skipped, f"{self.skipped} skips, the state counts {state.counts.skipped}"
        owed = dict(self.open)
        expected = self.nominal.at(self.next)
        one_time = isinstance(self.definition.schedule, OneTime)
        if state.pause is not None or (self._created and one_time):
            # What comes waits: for the end of the pause, or for the trigger that follows the creation.
            while owed and state.next_fire is not None:
                time = self.nominal.at(last := next(reversed(owed)))
                assert time is not None
                if time < state.next_fire:
                    break
                expected = time
                del owed[last]
        if state.backlog is not None:
            self._check_backlog(state.backlog, owed)
        else:
            assert not owed, f"the fire times {self._shown()} are neither settled nor owed"
        assert state.next_fire == expected, f"the next fire time is {expected}, the state waits for {state.next_fire}"
        if self._overlapped:
            busy = self._queued or self._owing or state.backlog is not None
            assert busy, "a fire time was skipped for an overlap with nothing"
        if self._missed and not self._dropping:
            self._check_missed()

    def next_due(self) -> int | None:
        """The first fire time that is still to come."""
        return None if self.nominal is None else self.nominal.at(self.next)

    def overdue(self, now: int) -> list[int]:
        """What came by `now` without any decision since."""
        found: list[int] = []
        if self.nominal is not None:
            index = self.next
            while (time := self.nominal.at(index)) is not None and time <= now:
                found.append(time)
                index += 1
        return found

    def _begin(self, definition: Definition, at: int) -> None:
        self.definition = definition
        self.nominal = self._times(definition.schedule)
        self.next = self._fresh = 0 if isinstance(definition.schedule, OneTime) else self.nominal.after(at)
        self.come(at)

    def _settle(self, time: int) -> int:
        assert self.nominal is not None
        index = self.nominal.index(time)
        assert index is not None, f"{time} is no fire time of the schedule"
        assert index in self.open, f"the fire time {time} was settled twice, or before it came"
        del self.open[index]
        return index

    def _check_backlog(self, backlog: ev.Backlog, owed: dict[int, None]) -> None:
        assert self.nominal is not None
        assert owed, f"{backlog} names no fire time that is owed"
        first, last = next(iter(owed)), next(reversed(owed))
        assert last - first + 1 == len(owed) == backlog.count, f"{backlog} is not the one stretch {self._shown()}"
        following = self.nominal.at(last + 1)
        assert self.nominal.at(first) == backlog.next, f"{backlog} and the fire times {self._shown()} differ"
        whole = backlog.until > (self.nominal.at(last) or 0) and (following is None or backlog.until <= following)
        assert whole, f"{backlog} does not end with the last of {self._shown()}"

    def _check_missed(self) -> None:
        assert self.definition is not None
        policy = self.definition.catch_up
        missed = [index for index in self._missed if index >= self._fresh]
        if policy.policy == "latest":
            assert self.next - 1 not in missed, "the latest fire time was missed and not caught up"
        if policy.policy == "all" and missed:
            kept = len(self.open) + self._caught_up
            assert kept >= policy.limit, f"{len(missed)} fire times were missed, {kept} caught up of {policy.limit}"

    def _shown(self) -> list[int | None]:
        return [self.nominal.at(index) for index in self.open] if self.nominal is not None else []
