"""The book of fire times: each nominal time up to now is a run, a skip, owed by the backlog, or waits for a pause.

Each backfill has a page of its own: every nominal time that it was asked for is a run, to come, or given up.
"""

from __future__ import annotations

from msgspec.structs import replace

from taskscheduler.domain import events as ev
from taskscheduler.domain.calendar_days import with_calendar
from taskscheduler.domain.excluded import ExceptCalendar
from taskscheduler.domain.schedule import Schedule, first_fire, next_after, nominal_of
from taskscheduler.domain.state import Task

NEVER = 1 << 60


def fire_times(schedule: Schedule, since: int, until: int) -> list[int]:
    """The nominal times that a schedule fires for in since < t <= until, by walking through them."""
    found: list[int] = []
    at = next_after(schedule, since)
    while at is not None and at <= until:
        found.append(nominal_of(schedule, at))
        at = next_after(schedule, at)
    return found


class Ledger:
    """Fed with the decisions on one task. A nominal time is open from when it comes until it is settled, once."""

    def __init__(self) -> None:
        self.given: Schedule | None = None
        """What the definition says; `schedule` is that for as long as it has fire times to come."""
        self.schedule: Schedule | None = None
        self.seen_until = 0
        self.open: set[int] = set()
        self.pending: ev.Pending | None = None
        self.paused = False
        self.backfills: dict[str, list[int]] = {}
        """The nominal times of each that no run has been made for."""
        self.fired = self.skipped = self.runs = 0
        self.scheduled = 0
        """Runs for nominal times, under all schedules together."""

    def record(self, events: tuple[ev.Event, ...]) -> None:
        """Take in the events of an accepted decision."""
        for event in events:
            self._come(event.at)
            match event:
                case ev.TaskCreated():
                    self._begin(event.definition.schedule, event.at)
                    self.fired = self.skipped = self.scheduled = 0
                    self.pending, self.paused, self.backfills = None, False, {}
                case ev.TaskUpdated():
                    self.pending = event.pending
                    if event.definition.schedule != self.given:
                        self._end()
                        self._begin(event.definition.schedule, event.at)
                case ev.ScheduleSwitched():
                    pending, self.pending = self.pending, None
                    assert pending is not None and event.at >= pending.effective_from
                    assert (event.schedule, event.effective_from) == (pending.schedule, pending.effective_from)
                    self._end()
                    self._begin(event.schedule, event.effective_from - 1)
                    self._come(event.at)
                case ev.TaskPaused() | ev.TaskResumed():
                    self.paused = isinstance(event, ev.TaskPaused)
                case ev.CalendarFollowed():
                    self._follow(event.calendar, event.at)
                    self.pending = event.pending
                case ev.TaskCancelled() | ev.TaskDeleted():
                    self._end()
                    self.pending = None
                    assert not any(self.backfills.values()), "a task ended before a backfill of it"
                case ev.RunQueued():
                    self.fired += 1
                    if event.nominal_at is not None:
                        assert not self.paused, f"{event} was made in a pause"
                    if event.backfill_id is not None:
                        assert event.cause == "backfill"
                        assert event.nominal_at == self.backfills[event.backfill_id].pop(0)
                    elif event.nominal_at is not None:
                        self._settle([event.nominal_at])
                        self.runs += 1
                        self.scheduled += 1
                case ev.BackfillRequested():
                    times = fire_times(event.schedule, event.start - 1, event.until - 1)
                    assert (len(times), times[0]) == (event.total, event.next)
                    self.backfills[event.backfill_id] = times
                case ev.BackfillEnded():
                    assert event.remaining == len(self.backfills[event.backfill_id])
                    self.backfills[event.backfill_id] = []
                case ev.FiresSkipped():
                    assert event.reason != "paused" or self.paused, f"{event} is of no pause"
                    self.skipped += event.count
                    last = event.nominal_at if event.nominal_until is None else event.nominal_until
                    times = self._between(event.nominal_at, last)
                    assert (len(times), times[-1]) == (event.count, last)
                    self._settle(times)
                case _:
                    pass
        if self.schedule is not None and self.runs == self.schedule.max_runs:
            self._end()

    def check(self, task: Task, now: int) -> None:
        """What has come by now is settled, but for what the state still owes."""
        self._come(now)
        if task.definition is not None:
            assert (task.counts.fired, task.counts.skipped) == (self.fired, self.skipped)
        owed: set[int] = set()
        if task.backlog is not None:
            owed.update(self._due(task.backlog.next, task.backlog.until - 1))
            assert task.backlog.count == len(owed)
        if task.next_fire is not None and task.next_fire <= now:
            owed.update(self._due(task.next_fire, now))
        if self.pending is not None and self.pending.effective_from <= now:
            owed = {time for time in owed if time < self.pending.effective_from}
        vanished, twice = self.open - owed, owed - self.open
        assert not vanished, f"neither settled nor owed: {sorted(vanished)}"
        assert not twice, f"settled and owed: {sorted(twice)}"
        assert task.pending == self.pending
        for backfill in task.backfills.values():
            left = self.backfills[backfill.id]
            assert backfill.next == (left[0] if left else None)
            assert backfill.reason is not None or backfill.remaining == len(left)
            assert not left or self.paused or backfill.active or task.backfilling, "a backfill does not go on"

    def _begin(self, schedule: Schedule, at: int) -> None:
        self.schedule = self.given = schedule
        self.seen_until, self.runs = at, 0
        first = first_fire(schedule, at)
        if first is not None:
            self.seen_until = first - 1
            self._come(at)

    def _follow(self, calendar: ExceptCalendar, at: int) -> None:
        assert self.given is not None
        self.given = with_calendar(self.given, calendar)
        before = self.schedule
        if before is None:
            return
        after = self.schedule = with_calendar(before, calendar)
        pending = next_after(before, max(at, self.seen_until))
        first = first_fire(after, at)
        if pending is not None and (nominal := nominal_of(before, pending)) <= at:
            # Its time had come, and only jitter had put it off: it still fires, unless it is left out now.
            again = first_fire(after, nominal - 1)
            first = again if again is not None and nominal_of(after, again) == nominal else first
        self.seen_until = at if first is None else first - 1
        self._come(at)

    def _come(self, now: int) -> None:
        if self.schedule is None:
            return
        pending = self.pending
        if pending is not None and now >= pending.effective_from:
            # The old schedule names what its jitter would have put off beyond the change, and nothing after that.
            at = next_after(self.schedule, self.seen_until)
            while at is not None and (nominal := nominal_of(self.schedule, at)) < pending.effective_from:
                self.open.add(nominal)
                at = next_after(self.schedule, at)
            self.seen_until = NEVER
        elif now > self.seen_until:
            self.open.update(fire_times(self.schedule, self.seen_until, now))
            self.seen_until = now

    def _end(self) -> None:
        assert not self.open, f"vanished: {sorted(self.open)}"
        self.schedule = None

    def _settle(self, times: list[int]) -> None:
        for time in times:
            assert time in self.open, f"{time} was settled twice, or never came"
            self.open.remove(time)

    def _between(self, first: int, last: int) -> list[int]:
        assert self.schedule is not None
        return [first, *fire_times(replace(self.schedule, jitter=0), first, last)]

    def _due(self, first: int, until: int) -> list[int]:
        """The nominal times that are due from the fire time `first` on."""
        assert self.schedule is not None
        return [nominal_of(self.schedule, first), *fire_times(self.schedule, first, until)]
