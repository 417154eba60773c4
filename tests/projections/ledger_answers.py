"""Ledgers and reasons asked of read models, on every ViewStore. Subclasses give the fixture `opened`."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import CatchUp, Definition, DefinitionPatch, NoopTarget, Overlap
from taskscheduler.domain.errors import Invalid
from taskscheduler.domain.events import RunsExpired
from taskscheduler.domain.excluded import ExceptCalendar
from taskscheduler.domain.ledger import Ledger
from taskscheduler.domain.schedule import Every
from taskscheduler.domain.values import DAY, HOUR, MINUTE
from taskscheduler.projections.calendar import day_of
from taskscheduler.projections.changes import Delete, Put
from taskscheduler.projections.ledger_rows import STRETCHES
from taskscheduler.projections.ledgers import Ledgers, TaskLedger, TooMany
from taskscheduler.projections.projector import Projector
from taskscheduler.projections.queries import Queries
from taskscheduler.projections.runs import RUNS
from tests.projections.conformance import OpenedViews
from tests.projections.history import EVERY_MINUTE, START, History

MONTH = msg.Policy(keep_runs=30 * DAY)


class Asked:
    """A history, and the ledgers of it so far."""

    def __init__(self, opened: OpenedViews) -> None:
        self.history = History(MONTH)
        self.opened = opened

    def project(self) -> None:
        Projector(self.opened.views).apply(self.history.new())

    async def whole(self, start: int | None = None, end: int | None = None, most: int = 50_000) -> TaskLedger:
        self.project()
        view = await Queries(self.opened.views).task("a")
        assert view is not None
        end = self.history.now + 1 if end is None else end
        found = await Ledgers(self.opened.views).ledger(view, start, end, self.history.now, most=most)
        assert found is not None
        return found

    async def sums(self, start: int | None = None, end: int | None = None) -> Ledger:
        found = (await self.whole(start, end)).ledger
        assert found.balanced, found.differences
        assert found.nominal == found.accounted
        return found


class LedgersConformance:
    @pytest.fixture
    def asked(self, opened: OpenedViews) -> Asked:
        return Asked(opened)

    async def test_runs_skips_and_what_is_to_come(self, asked: Asked) -> None:
        history = asked.history
        history.create("a", schedule=EVERY_MINUTE)
        for _ in range(3):
            history.advance(MINUTE)
            history.succeed("a")
        history.advance(MINUTE)
        history.wake("a")
        history.advance(MINUTE)
        history.wake("a")
        history.do("a", msg.Trigger())
        found = await asked.sums(end=history.now + 10 * MINUTE + 1)
        assert (found.fired, found.skipped, found.to_come, found.nominal) == (4, {"overlap": 1}, 10, 15)
        # From ≤ t < to.
        part = await asked.sums(START + 2 * MINUTE, START + 5 * MINUTE)
        assert (part.fired, part.skipped, part.nominal) == (3, {}, 3)
        assert (await asked.sums(START + 5 * MINUTE, START + 5 * MINUTE)).nominal == 0
        view = await Queries(asked.opened.views).task("a")
        assert view is not None
        default = await Ledgers(asked.opened.views).ledger(view, None, None, history.now)
        assert default is not None
        assert (default.start, default.end, default.ledger.nominal) == (START, START + 5 * MINUTE, 4)

    async def test_a_long_pause_is_one_row_and_still_counted_by_the_minute(self, asked: Asked) -> None:
        history = asked.history
        history.create("a", schedule=EVERY_MINUTE)
        history.advance(MINUTE)
        history.succeed("a")
        history.do("a", msg.Pause())
        history.advance(3 * HOUR)
        assert (await asked.sums()).pending == 180
        history.do("a", msg.Resume())
        found = await asked.sums()
        assert (found.fired, found.skipped, found.nominal) == (1, {"paused": 180}, 181)
        part = await asked.sums(START + HOUR, START + 2 * HOUR)
        assert (part.skipped, part.nominal) == ({"paused": 60}, 60)
        assert (await asked.sums(START + 2 * MINUTE, START + 3 * MINUTE)).skipped == {"paused": 1}

    async def test_the_days_of_a_calendar_count_from_when_the_task_follows_it(self, asked: Asked) -> None:
        history = asked.history
        closed = ExceptCalendar("closed", 1, ())
        second = day_of(START + 2 * DAY)
        history.create("a", schedule=Every(every=DAY, anchor=START, anchored=True, excluded=(closed,)))
        history.advance(DAY)
        history.succeed("a")
        history.do("a", msg.Follow(replace(closed, version=2, days=(second,))))
        history.advance(DAY + HOUR)
        history.wake("a")
        history.do("a", msg.Follow(replace(closed, version=3)))
        history.advance(DAY - HOUR)
        history.succeed("a")
        found = await asked.sums()
        assert (found.fired, found.skipped, found.nominal) == (2, {}, 2)
        assert (await asked.sums(START + 2 * DAY, START + 3 * DAY)).nominal == 0
        assert (await asked.sums(START + DAY, START + 2 * DAY)).fired == 1

    @pytest.mark.parametrize("overlap", ["buffer_all", "skip"])
    async def test_what_waits_stays_owed_when_a_calendar_changes(self, asked: Asked, overlap: Overlap) -> None:
        history = asked.history
        closed = ExceptCalendar("closed", 1, ())
        schedule = Every(every=HOUR, anchor=START, anchored=True, excluded=(closed,))
        history.do(
            "a", msg.Create(Definition("a", schedule, NoopTarget(), overlap=overlap, catch_up=CatchUp("all", DAY)))
        )
        history.advance(3 * HOUR)
        history.wake("a")
        owed = history.task("a").backlog
        assert owed is not None and owed.count == 2
        history.do("a", msg.Follow(replace(closed, version=2, days=(day_of(START + 9 * DAY),))))
        found = await asked.sums()
        assert (found.owed, found.nominal) == (2, 3)
        history.do("a", msg.Pause())
        history.advance(2 * HOUR)
        history.do("a", msg.Follow(replace(closed, version=3)))
        found = await asked.sums()
        assert (found.owed, found.pending, found.nominal) == (2, 2, 5)
        history.do("a", msg.Resume())
        for _ in range(8):
            history.advance(MINUTE)
            while history.task("a").runs:
                history.complete("a", history.claim("a"))
        found = await asked.sums()
        assert (found.owed, found.pending, found.nominal) == (0, 0, 5)

    async def test_a_calendar_that_changes_gives_no_runs_back_to_a_schedule_that_has_made_all(
        self, asked: Asked
    ) -> None:
        history = asked.history
        closed = ExceptCalendar("closed", 1, ())
        schedule = Every(every=HOUR, anchor=START, anchored=True, max_runs=1, excluded=(closed,))
        history.create("a", schedule=schedule)
        history.advance(HOUR)
        history.succeed("a")
        history.advance(MINUTE)
        history.do("a", msg.Follow(replace(closed, version=2, days=(day_of(START + 9 * DAY),))))
        history.advance(DAY)
        assert (await asked.sums(end=history.now + DAY)).nominal == 1

    async def test_a_long_skip_of_what_waited_while_a_calendar_changed_is_one_row(self, asked: Asked) -> None:
        history = asked.history
        closed = ExceptCalendar("closed", 1, ())
        schedule = replace(EVERY_MINUTE, excluded=(closed,))
        history.do("a", msg.Create(Definition("a", schedule, NoopTarget(), overlap="buffer_all")))
        for version in range(2, 5):
            for _ in range(60):
                history.advance(MINUTE)
                history.wake("a")
            history.do("a", msg.Follow(replace(closed, version=version, days=(day_of(START + version * DAY),))))
        assert (await asked.sums()).owed == 179
        history.do("a", msg.PurgeOwed())
        found = await asked.sums()
        assert (found.owed, found.skipped, found.nominal) == (0, {"purged": 179}, 180)
        part = await asked.sums(START + 30 * MINUTE, START + 90 * MINUTE)
        assert (part.skipped, part.nominal) == ({"purged": 60}, 60)
        assert (await asked.sums(START + 150 * MINUTE)).skipped == {"purged": 31}
        history.do("a", msg.Update(DefinitionPatch(schedule=Every(every=HOUR, anchor=START, anchored=True))))
        assert (await asked.sums()).skipped == {"purged": 179}

    async def test_each_schedule_counts_for_as_long_as_it_was_in_force(self, asked: Asked) -> None:
        history = asked.history
        history.create("a", schedule=EVERY_MINUTE)
        history.advance(10 * MINUTE)
        history.succeed("a")
        for number in range(600):
            # Far more changes than are read at a time.
            history.do("a", msg.Resume() if number % 2 else msg.Pause())
        assert (await asked.sums(history.now + 1, history.now + 2 * MINUTE)).to_come == 1
        hourly = Every(every=HOUR, anchor=START, anchored=True, max_runs=2)
        history.do("a", msg.Update(DefinitionPatch(schedule=hourly)))
        for _ in range(4):
            history.advance(HOUR - 10 * MINUTE if history.now < START + HOUR else HOUR)
            if history.task("a").next_fire is not None:
                history.succeed("a")
        found = await asked.sums()
        assert (found.nominal, found.fired + found.caught_up) == (12, 3)
        assert (await asked.sums(START + 10 * MINUTE + 1)).nominal == 2
        assert (await asked.sums(START + 10 * MINUTE, START + 10 * MINUTE + 1)).nominal == 1
        assert (await asked.sums(START + 2 * HOUR + 1)).nominal == 0
        history.do("a", msg.Update(DefinitionPatch(schedule=EVERY_MINUTE)))
        history.advance(MINUTE)
        history.succeed("a")
        assert (await asked.sums(START + 2 * HOUR + 1)).fired == 1
        history.do("a", msg.Cancel())
        history.advance(DAY)
        assert (await asked.sums(START + 2 * HOUR + 1)).nominal == 1
        history.do("a", msg.Delete())
        assert (await asked.sums()).nominal == 13

    async def test_what_is_no_longer_kept_is_not_counted(self, asked: Asked) -> None:
        history = asked.history
        history.create("a", schedule=Every(every=6 * HOUR, anchor=START, anchored=True))
        while history.now < START + 40 * DAY:
            history.advance(6 * HOUR)
            history.succeed("a")
        found = await asked.whole()
        assert found.known_from is not None
        assert START + 8 * DAY <= found.known_from <= START + 10 * DAY
        assert found.ledger.balanced
        assert found.ledger.nominal == (history.now - found.known_from) // (6 * HOUR) + 1
        assert (await asked.whole(START, START + DAY)).ledger.nominal == 0
        assert (await asked.whole(START + 20 * DAY)).known_from is None

    async def test_a_planned_change_counts_from_the_instant_on_that_it_names(self, asked: Asked) -> None:
        history = asked.history
        history.create("a", schedule=EVERY_MINUTE)
        change, hourly = START + 10 * MINUTE + 30_000, Every(every=HOUR, anchor=START, anchored=True)
        history.do("a", msg.Update(DefinitionPatch(schedule=hourly), effective_from=change))
        planned = await asked.sums(end=START + 2 * HOUR + 1)
        assert (planned.nominal, planned.to_come) == (12, 12)
        history.advance(5 * MINUTE)
        history.succeed("a")
        assert (await asked.sums(end=START + 2 * HOUR + 1)).to_come == 7
        history.do("a", msg.Update(DefinitionPatch(), drop_pending=True))
        assert (await asked.sums(end=START + 2 * HOUR + 1)).to_come == 115
        history.do("a", msg.Update(DefinitionPatch(schedule=hourly), effective_from=change))
        # It is found late that the change was due.
        history.advance(20 * MINUTE)
        history.succeed("a")
        found = await asked.sums(end=START + 2 * HOUR + 1)
        assert (found.nominal, found.to_come) == (12, 2)
        assert (await asked.sums(change, history.now)).nominal == 0
        assert (await asked.sums(START + 10 * MINUTE, START + HOUR + 1)).nominal == 2

    async def test_backfills_stand_beside_the_sum(self, asked: Asked) -> None:
        history = asked.history
        history.create("a", schedule=Every(every=MINUTE, anchor=START - HOUR, anchored=True))
        history.advance(MINUTE)
        history.succeed("a")
        history.do("a", msg.Backfill(START - 3 * MINUTE, START + 1, "buffer_all"))
        made = await asked.whole(START - HOUR)
        assert (made.backfilled, made.ledger.nominal, made.ledger.balanced) == (1, 1, True)
        while history.task("a").runs:
            history.complete("a", history.claim("a"))
        assert (await asked.whole(START - HOUR)).backfilled == 4
        assert (await asked.whole(START - 2 * MINUTE, START)).backfilled == 2

    async def test_a_long_skip_is_kept_as_long_as_one_of_its_times(self, asked: Asked) -> None:
        history = asked.history
        history.create("a", schedule=EVERY_MINUTE)
        history.do("a", msg.Pause())
        history.advance(3 * HOUR)
        history.do("a", msg.Resume())
        for since, skipped in ((HOUR, 121), (3 * HOUR + 1, 0)):
            history.record("a", (RunsExpired(history.now, START + since, None),))
            found = await asked.whole()
            assert (found.known_from, found.ledger.balanced) == (START + since, True)
            assert found.ledger.skipped == ({"paused": skipped} if skipped else {})
        assert await asked.opened.views.scan(STRETCHES, ("a",), limit=9) == []

    async def test_a_run_that_jitter_puts_off_beyond_the_range_belongs_to_it(self, asked: Asked) -> None:
        history = asked.history
        history.create("a", schedule=Every(every=HOUR, anchor=START, anchored=True, jitter=59 * MINUTE))
        for number in range(1, 6):
            assert history.sleep_until_due("a")
            history.complete("a", history.claim("a"))
            nominal = START + number * HOUR
            assert (await asked.sums(nominal, nominal + 1)).fired == 1
        assert any(
            run.task_id
            for run in await asked.opened.views.scan(RUNS, ("a",), limit=9)
            if run.nominal_at != run.scheduled_for
        )

    async def test_a_run_that_is_lost_or_made_twice_is_found(self, asked: Asked) -> None:
        history = asked.history
        history.create("a", schedule=EVERY_MINUTE)
        for _ in range(5):
            history.advance(MINUTE)
            history.succeed("a")
        asked.project()
        rows = await asked.opened.views.scan(RUNS, ("a",), limit=9)
        asked.opened.views.apply([Delete(RUNS, ("a", rows[2].id))], 0, 1_000)
        found = (await asked.whole()).ledger
        assert [(one.first, one.nominal, one.accounted) for one in found.differences] == [(START + 3 * MINUTE, 1, 0)]
        twin = type(rows[2])("a", rows[1].id + "x", "schedule", "succeeded", rows[1].scheduled_for, rows[1].nominal_at)
        asked.opened.views.apply([Put(RUNS, rows[2]), Put(RUNS, twin)], 0, 1_001)
        found = (await asked.whole()).ledger
        assert [(one.first, one.nominal, one.accounted) for one in found.differences] == [(START + 4 * MINUTE, 1, 2)]

    async def test_ranges_that_are_too_long_are_refused_with_what_is_not(self, asked: Asked) -> None:
        history = asked.history
        history.create("a", schedule=EVERY_MINUTE)
        history.advance(HOUR)
        history.wake("a")
        with pytest.raises(TooMany) as error:
            await asked.whole(most=10)
        assert (await asked.whole(end=error.value.until, most=10)).ledger.nominal == 10
        with pytest.raises(Invalid) as turned:
            await asked.whole(START, START - 1)
        assert turned.value.pointer == "/to"
        with pytest.raises(Invalid):
            await asked.whole(START, START + 3_654 * DAY)
