"""The backfills of a task, followed through its events: each has a page of its own, from the first time to the last."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.backfill import MAX_BACKFILL_RUNS
from taskscheduler.domain.schedule import Schedule
from taskscheduler.domain.state import Task
from tests.simulation.nominal import Nominal


class Page:
    """The nominal times of one; `made` of them have a run, `failed` of these failed for good."""

    def __init__(self, times: list[int], overlap: ev.BackfillOverlap) -> None:
        self.times, self.overlap = times, overlap
        self.made = self.failed = 0
        self.ended = False

    @property
    def next(self) -> int | None:
        return None if self.ended or self.made == len(self.times) else self.times[self.made]


class Backfills:
    """`times` gives the nominal times of a schedule."""

    def __init__(self, times: Callable[[Schedule], Nominal]) -> None:
        self._times = times
        self.pages: dict[str, Page] = {}
        self.active: dict[str, str] = {}
        """Active runs, and which backfill each is part of."""

    def asked(self, schedule: Schedule, command: msg.Backfill) -> list[int]:
        """The nominal times that somebody asks for."""
        return self._times(replace(schedule, jitter=0, max_runs=None)).between(command.start, command.until)

    def requested(self, event: ev.BackfillRequested, schedule: Schedule, commands: Sequence[msg.Command]) -> None:
        command = next((c for c in commands if isinstance(c, msg.Backfill)), None)
        assert command is not None, f"nobody asked for {event}"
        times = self.asked(schedule, command)
        assert (event.total, event.next) == (len(times), times[0]), f"{event} is not what {command} asks for"
        self.pages[event.backfill_id] = Page(times, event.overlap)

    def queued(self, event: ev.RunQueued, *, paused: bool) -> None:
        assert event.backfill_id is not None
        page = self.pages[event.backfill_id]
        assert not paused, f"{event} was made during a pause"
        assert event.cause == "backfill"
        assert event.nominal_at == event.scheduled_for == page.next, f"{event} is not the one for {page.next}"
        if page.overlap == "buffer_all":
            assert event.backfill_id not in self.active.values(), f"{event} did not wait for the one before it"
        page.made += 1
        self.active[event.run_id] = event.backfill_id

    def run_ended(self, run_id: str, *, failed: bool = False) -> None:
        if (backfill_id := self.active.pop(run_id, None)) is not None:
            self.pages[backfill_id].failed += failed

    def ended(self, event: ev.BackfillEnded, commands: Sequence[msg.Command]) -> None:
        by = msg.CancelBackfill if event.reason == "cancelled" else (msg.Cancel, msg.Delete)
        assert any(isinstance(c, by) for c in commands), f"{event} was asked for by nobody"
        page = self.pages[event.backfill_id]
        assert event.remaining == len(page.times) - page.made, f"{event} leaves {len(page.times) - page.made}"
        assert event.backfill_id not in self.active.values(), f"a run of {event} goes on"
        page.ended = True

    def check(self, state: Task) -> None:
        """The state says the same of each, and none that could go on stands still."""
        for backfill in state.backfills.values():
            page = self.pages[backfill.id]
            active = sum(of == backfill.id for of in self.active.values()) if self.active else 0
            counted = (backfill.next, backfill.total, backfill.fired, backfill.active, backfill.failed)
            known = (page.next, len(page.times), page.made, active, page.failed)
            assert counted == known, f"of {backfill.id} the state says {counted}, known is {known}"
            full = active if page.overlap == "buffer_all" else len(self.active) >= MAX_BACKFILL_RUNS
            assert page.next is None or state.pause is not None or full, f"{backfill.id} does not go on"

    def waiting(self) -> bool:
        """Whether runs are still to be made."""
        return any(page.next is not None for page in self.pages.values())

    def forget(self) -> None:
        """The task is purged."""
        self.pages.clear()
