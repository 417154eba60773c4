"""The fire times of a task, followed through its events: each is settled once, as its policies say, or still owed.

What must come is worked out apart from the scheduler (`nominal`); each fire time is touched when it comes and when it
is settled, so that checking a decision costs the same however long the task has lived.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
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
        self.made = 0
        """Runs for fire times since the schedule is in force."""
        self.until: int | None = None
        """From when on another schedule names the times."""
        self.begin_record(0, ())

    @property
    def exhausted(self) -> bool:
        """Whether the schedule has made all the runs that it may make."""
        return self.definition is not None and self.made == self.definition.schedule.max_runs

    def begin_record(self, now: int, commands: Sequence[msg.Command]) -> None:
        """A decision for `commands` follows, made at `now`."""
        self._now = now
        self._ends = any(isinstance(c, msg.Update | msg.Cancel | msg.Delete) for c in commands)
        self._ends = self._ends or (self.until is not None and self.until <= now)
        self._purging = any(isinstance(c, msg.PurgeOwed) for c in commands)
        self._missed_in_pause = next((c.missed for c in commands if isinstance(c, msg.Resume)), None)
        self._owing = bool(self.open)
        self._caught_up = 0
        self._missed: list[int] = []
        self._passed: list[int] = []
        self._fresh = self.next
        self._queued = self._overlapped = self._created = False
        self._come(now)

    def created(self, event: ev.TaskCreated) -> None:
        self._created = True
        self.fired = self.skipped = 0
        self._begin(event.definition, event.at)

    def updated(self, event: ev.TaskUpdated) -> None:
        assert self.definition is not None
        self.until = None if event.pending is None else event.pending.effective_from
        if event.definition.schedule == self.definition.schedule:
            self.definition = event.definition
        else:
            self.end()
            self._begin(event.definition, event.at)
            self.until = None if event.pending is None else event.pending.effective_from

    def switched(self, definition: Definition, event: ev.ScheduleSwitched) -> None:
        """`definition` has the new schedule."""
        assert self.until == event.effective_from <= event.at, f"{event} was not planned for {self.until}"
        self.end()
        self._begin(definition, event.effective_from - 1)
        self._come(event.at)

    def end(self) -> None:
        """The schedule is in force no longer."""
        assert not self.open, f"the fire times {self._shown()} vanished when their schedule ended"
        self.definition = self.nominal = self.until = None

    def queued(self, event: ev.RunQueued, *, active: int, total: int, paused: bool) -> None:
        """A run that is part of no backfill; of `total` active ones `active` are none either."""
        self.fired += 1
        self._queued = True
        assert total < MAX_ACTIVE_RUNS, f"{event} is one run too many"
        if event.nominal_at is None:
            assert event.cause in ("manual", "retry"), f"{event} has no fire time"
            return
        time = event.nominal_at
        index = self._settle(time)
        assert self.definition is not None and self.nominal is not None
        due = self.nominal.due(index)
        assert due is not None and event.scheduled_for == min(due, event.at), f"{event} is due at {due}"
        late, policy, overlap = event.at - due, self.definition.catch_up, self.definition.overlap
        self.made += 1
        assert not paused, f"the fire time {time} ran during a pause"
        assert not active or overlap == "allow_all", f"the fire time {time} ran although another run was active"
        if overlap not in ("cancel_other", "allow_all"):
            oldest = next(iter(self.open), index)
            assert index <= oldest, f"the fire time {time} ran before {self._shown()}"
        if event.cause == "schedule":
            one_time = isinstance(self.definition.schedule, OneTime)
            waited = overlap in ("buffer_one", "buffer_all") and index < self._fresh
            assert one_time or waited or late <= self._late_after, f"{time} ran {late} ms late, as if on time"
            return
        assert event.cause == "catch_up"
        self._caught_up += 1
        if self._owing or self._missed_in_pause in ("latest", "all"):
            return
        assert late <= max(policy.window, self._late_after), f"the fire time {time} is outside the window"
        assert policy.policy != "none", f"the fire time {time} was caught up against the policy"
        assert policy.policy == "all" or index == self.next - 1, f"{time} was caught up, though it is not the latest"

    def skip(self, event: ev.FiresSkipped, *, active: int, total: int, paused: bool) -> None:
        """The times of one row of skips."""
        assert self.nominal is not None and self.definition is not None
        self.skipped += event.count
        until = event.nominal_at if event.nominal_until is None else event.nominal_until
        first, last = self.nominal.index(event.nominal_at), self.nominal.index(until)
        assert first is not None and last == first + event.count - 1, f"{event} names other fire times than it counts"
        for index in range(first, first + event.count):
            time, due = self.nominal.at(index), self.nominal.due(index)
            assert time is not None and due is not None
            late = event.at - due
            self._settle(time)
            match event.reason:
                case "paused":
                    assert paused, f"the fire time {time} was skipped for a pause that is not"
                    self._passed.append(index)
                case "overlap":
                    assert self.definition.overlap != "allow_all", f"{time} was skipped, though runs may overlap"
                    self._overlapped = self._overlapped or not active
                case "missed":
                    assert not self._purging or index >= self._fresh, f"{time} was purged, and counts as missed"
                    given_up = self._ends or self.exhausted or self._missed_in_pause == "all"
                    assert given_up or late > self._late_after, f"{time} counts as missed after {late} ms"
                    if not given_up:
                        self._missed.append(index)
                case "outside_window":
                    assert late > self.definition.catch_up.window, f"the fire time {time} is within the window"
                case "too_many_active":
                    assert total >= MAX_ACTIVE_RUNS, f"{total} active runs are too many"
                case "purged":
                    assert self._purging, f"the fire time {time} was purged by nobody"

    def check(self, state: Task) -> None:
        """After the record: what has come is settled or owed, and the state knows what comes next."""
        if self.nominal is None or self.definition is None:
            assert state.next_fire is None and state.backlog is None, "a schedule that ended still has fire times"
            return
        assert state.counts.skipped == self.skipped, f"{self.skipped} skips, the state counts {state.counts.skipped}"
        assert self.until is None or self.until > self._now, f"the change planned for {self.until} was forgotten"
        owed = dict(self.open)
        expected = None if self.exhausted else self.nominal.due(self.next)
        one_time = isinstance(self.definition.schedule, OneTime)
        if state.pause is not None or (self._created and one_time):
            # What comes waits: for the end of the pause, or for the trigger that follows the creation.
            while owed and state.next_fire is not None:
                time = self.nominal.due(last := next(reversed(owed)))
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
        self._check_kept()

    def next_due(self) -> int | None:
        """The first fire time that is still to come."""
        return None if self.nominal is None or self.exhausted else self.nominal.due(self.next)

    def overdue(self, now: int) -> list[int]:
        """What came by `now` without any decision since."""
        found: list[int] = []
        if self.nominal is not None and not self.exhausted:
            index = self.next
            while (time := self.nominal.due(index)) is not None and time <= now:
                found.append(time)
                index += 1
        return found

    def _come(self, now: int) -> None:
        """Open what has come by now; the last ones under a schedule whose time is over come with its end."""
        if self.nominal is None or self.exhausted:
            return
        until = self.until if self.until is not None and self.until <= now else None
        times = self.nominal.due if until is None else self.nominal.at
        last = now if until is None else until - 1
        while (time := times(self.next)) is not None and time <= last:
            self.open[self.next] = None
            self.next += 1

    def _begin(self, definition: Definition, at: int) -> None:
        self.definition = definition
        self.nominal = self._times(definition.schedule)
        self.next = self._fresh = 0 if isinstance(definition.schedule, OneTime) else self.nominal.after(at)
        self.made = 0
        self._come(at)

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
        following = self.nominal.due(last + 1)
        assert self.nominal.due(first) == backlog.next, f"{backlog} and the fire times {self._shown()} differ"
        whole = backlog.until > (self.nominal.due(last) or 0) and (following is None or backlog.until <= following)
        assert whole, f"{backlog} does not end with the last of {self._shown()}"

    def _check_kept(self) -> None:
        """What was missed, or passed in a pause, is no more than the policy or the resume leaves."""
        assert self.definition is not None
        policy, kept = self.definition.catch_up, len(self.open) + self._caught_up
        missed = [index for index in self._missed if index >= self._fresh]
        if policy.policy == "latest":
            assert self.next - 1 not in missed, "the latest fire time was missed and not caught up"
        if policy.policy == "all" and missed:
            assert kept >= policy.limit, f"{len(missed)} fire times were missed, {kept} caught up of {policy.limit}"
        if self._passed and not self._ends and not self.exhausted:
            if self._missed_in_pause == "latest":
                assert self.next - 1 not in self._passed, "the latest fire time in the pause was not caught up"
            if self._missed_in_pause == "all":
                assert kept >= policy.limit, f"{self._passed} passed in the pause, {kept} of {policy.limit} are kept"

    def _shown(self) -> list[int | None]:
        return [self.nominal.at(index) for index in self.open] if self.nominal is not None else []
