"""What queries answer, on every ViewStore. Subclasses give the fixture `opened`."""

from __future__ import annotations

import json

import pytest

from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import DefinitionPatch
from taskscheduler.domain.errors import Invalid
from taskscheduler.domain.events import RunsExpired, TaskPurged
from taskscheduler.domain.excluded import ExceptCalendar
from taskscheduler.domain.retry import Retry
from taskscheduler.domain.schedule import Every, OneTime
from taskscheduler.domain.values import DAY, HOUR, MINUTE, SECOND
from taskscheduler.projections.calendars import view_of as calendar_view_of
from taskscheduler.projections.filters import DeadLetterFilter, Page, RunFilter, TaskFilter
from taskscheduler.projections.projector import Projector
from taskscheduler.projections.queries import Queries
from taskscheduler.projections.task_view import TaskView, view_of
from taskscheduler.streams.codec import encode_record, raw_events
from tests.projections.conformance import OpenedViews
from tests.projections.history import EVERY_MINUTE, NOW, START, History


class Reader:
    """A history and the queries that see what happened in it so far."""

    def __init__(self, opened: OpenedViews) -> None:
        self.history = History()
        self._opened = opened

    def queries(self, examined: int = 20_000) -> Queries:
        Projector(self._opened.views).apply(self.history.new())
        return Queries(self._opened.views, examined=examined)

    async def ids(self, **given) -> list[str]:
        return [view.id for view in await self.all_tasks(TaskFilter(**given))]

    async def all_tasks(self, filter: TaskFilter, limit: int = 200) -> list[TaskView]:
        found: list[TaskView] = []
        page: Page[TaskView] = await self.queries().tasks(filter, limit=limit)
        while True:
            assert len(page.items) <= limit
            found += page.items
            if page.next_cursor is None:
                return found
            page = await self.queries().tasks(filter, limit=limit, cursor=page.next_cursor)


class QueriesConformance:
    @pytest.fixture
    def reader(self, opened: OpenedViews) -> Reader:
        return Reader(opened)

    async def test_a_task_is_shown_as_its_state_is(self, reader: Reader) -> None:
        history = reader.history
        history.create("a", schedule=EVERY_MINUTE, tags={"team": "ops"})
        history.advance(MINUTE)
        history.succeed("a", '{"rows": 3}')
        history.do("a", msg.Pause(note="broken"), actor="bob")
        view = await reader.queries().task("a")
        assert view == view_of(history.task("a"))
        assert view is not None
        assert (view.status, view.revision, view.version) == ("paused", 1, history.task("a").version)
        assert view.pause is not None
        assert (view.pause.note, view.pause.at, view.pause.by) == ("broken", history.now, "bob")
        assert (view.counts.fired, view.counts.succeeded, view.next_fire_at) == (1, 1, START + 2 * MINUTE)
        assert view.last_run is not None
        assert (view.last_run.status, view.last_run.result) == ("succeeded", None)
        assert await reader.queries().task("b") is None

    async def test_a_deleted_task_leaves_the_lists_and_keeps_its_history(self, reader: Reader) -> None:
        history = reader.history
        history.create("a", tags={"team": "ops"})
        run_id = history.fail("a")
        history.do("a", msg.Delete())
        view = await reader.queries().task("a")
        assert view is not None
        assert view.deleted_at == history.now
        for given in ({}, {"status": "failed"}, {"tags": (("team", "ops"),)}):
            for sort in ("created_at", "next_fire_at", "name"):
                assert await reader.ids(**given, sort=sort) == []
        assert await reader.queries().run("a", run_id) is not None
        assert len((await reader.queries().events("a")).items) == history.task("a").version
        assert (await reader.queries().letters.page(DeadLetterFilter())).items == []
        assert (await reader.queries().letters.page(DeadLetterFilter(task_id="a"))).items == []
        assert set((await reader.queries().status_counts()).values()) == {0}

    async def test_a_purge_leaves_nothing_but_totals(self, reader: Reader, opened: OpenedViews) -> None:
        history = reader.history
        history.create("a", schedule=EVERY_MINUTE, tags={"team": "ops"})
        history.create("b")
        history.advance(MINUTE)
        history.fail("a")
        day = history.now
        history.do("a", msg.Delete())
        history.advance(31 * DAY)
        history.wake("a")
        assert any(isinstance(event, TaskPurged) for event in history.entries[-1].record.events)
        assert await reader.queries().task("a") is None
        left = [row for row in await opened.contents() if "a" in row[1]]
        assert left == []
        assert await reader.queries().totals() == {"failed:gave_up": 1}
        assert await reader.queries().daily_totals(day) == {"failed:gave_up": 1}
        assert await reader.queries().daily_totals(history.now) == {}

    async def test_an_id_can_be_used_again_in_the_decision_that_purges_it(self, reader: Reader) -> None:
        history = reader.history
        history.create("a", name="old", tags={"team": "ops"})
        history.succeed("a")
        history.do("a", msg.Delete())
        history.advance(31 * DAY)
        history.create("a", name="new", schedule=EVERY_MINUTE)
        view = await reader.queries().task("a")
        assert view is not None
        assert (view.definition.name, view.deleted_at) == ("new", None)
        assert await reader.ids() == ["a"]
        assert await reader.ids(tags=(("team", "ops"),)) == []
        assert (await reader.queries().runs("a")).items == []
        events = (await reader.queries().events("a")).items
        assert [[e["type"] for e in json.loads(bytes(row.events))] for row in events] == [["task.created.v1"]]

    async def test_tasks_are_found_by_everything_that_can_be_asked(self, reader: Reader) -> None:
        history = reader.history
        history.create("a", name="Nightly Report", schedule=EVERY_MINUTE, tags={"team": "ops", "env": "prod"})
        history.create("b", name="backup", schedule=OneTime(at=START + HOUR, kind="at"), tags={"team": "ops"})
        history.create("c", name="report", tags={"team": "dev:x"})
        history.succeed("c")
        assert await reader.ids() == ["a", "b", "c"]
        assert await reader.ids(status="scheduled") == ["a", "b"]
        assert await reader.ids(status="completed") == ["c"]
        assert await reader.ids(status="failed") == []
        assert await reader.ids(name_contains="REPORT") == ["a", "c"]
        assert await reader.ids(tags=(("team", "ops"),)) == ["a", "b"]
        assert await reader.ids(tags=(("team", "ops"), ("env", "prod"))) == ["a"]
        assert await reader.ids(tags=(("team", "dev:x"),)) == ["c"]
        assert await reader.ids(tags=(("team:dev", "x"),)) == []
        assert await reader.ids(tags=(("team", "ops"),), status="completed") == []
        assert await reader.ids(tags=(("team", "ops"),), status="scheduled", name_contains="back") == ["b"]
        for sort in ("created_at", "next_fire_at", "name"):
            assert set(await reader.ids(due_before=START + HOUR, sort=sort)) == {"a"}
            assert set(await reader.ids(due_before=START + HOUR + 1, sort="-" + sort)) == {"a", "b"}

    async def test_tasks_come_in_the_order_asked_for(self, reader: Reader) -> None:
        history = reader.history
        for task_id, name, fire in (("a", "zeta", 3), ("b", "Beta", None), ("c", "alpha", 1), ("d", "alpha", 2)):
            at = START + (fire or 0) * HOUR
            history.create(task_id, name=name, schedule=OneTime(at=at, kind="at"))
            history.advance(SECOND)
        history.succeed("b")
        for sort, ids in (
            ("created_at", ["a", "b", "c", "d"]),
            ("next_fire_at", ["c", "d", "a", "b"]),
            ("name", ["b", "c", "d", "a"]),
        ):
            assert await reader.ids(sort=sort) == ids
            assert await reader.ids(sort="-" + sort) == ids[::-1]
            for limit in (1, 2, 3):
                pages = await reader.all_tasks(TaskFilter(sort=sort), limit=limit)
                assert [view.id for view in pages] == ids

    async def test_a_paused_task_keeps_its_place(self, reader: Reader) -> None:
        history = reader.history
        history.create("a", schedule=EVERY_MINUTE)
        history.do("a", msg.Pause())
        assert await reader.ids(status="paused", due_before=START + 2 * MINUTE) == ["a"]
        assert await reader.ids(status="scheduled") == []
        history.do("a", msg.Resume())
        assert await reader.ids(status="paused") == []
        assert await reader.ids(status="scheduled") == ["a"]

    async def test_a_changed_definition_moves_the_task(self, reader: Reader) -> None:
        history = reader.history
        history.create("a", name="one", schedule=EVERY_MINUTE, tags={"team": "ops", "env": "prod"})
        reader.queries()
        history.do("a", msg.Update(DefinitionPatch(name="two", tags={"team": "dev"})))
        assert await reader.ids(name_contains="one") == []
        assert await reader.ids(sort="name", tags=(("team", "dev"),)) == ["a"]
        assert await reader.ids(tags=(("env", "prod"),)) == []
        assert len(await reader.ids(sort="name")) == 1

    async def test_pages_neither_repeat_nor_lose_tasks_that_stay(self, reader: Reader) -> None:
        history = reader.history
        ids = [f"t{number:02}" for number in range(20)]
        for task_id in ids:
            history.create(task_id, name=task_id, schedule=EVERY_MINUTE)
            history.advance(1)
        filter = TaskFilter(status="scheduled", sort="created_at")
        first = await reader.queries().tasks(filter, limit=5)
        assert [view.id for view in first.items] == ids[:5]
        history.do("t03", msg.Delete())
        history.do("t04", msg.Delete())
        history.do("t06", msg.Pause())
        history.create("t99", schedule=EVERY_MINUTE)
        second = await reader.queries().tasks(filter, limit=5, cursor=first.next_cursor)
        assert [view.id for view in second.items] == ["t05", "t07", "t08", "t09", "t10"]
        last = await reader.queries().tasks(filter, limit=10, cursor=second.next_cursor)
        assert [view.id for view in last.items] == [*ids[11:], "t99"]
        assert last.next_cursor is None

    async def test_a_full_last_page_has_no_next_one(self, reader: Reader) -> None:
        for task_id in ("a", "b"):
            reader.history.create(task_id)
        assert (await reader.queries().tasks(limit=2)).next_cursor is None
        assert (await reader.queries().tasks(limit=1)).next_cursor is not None

    async def test_a_call_looks_at_so_many_rows_only(self, reader: Reader) -> None:
        for number in range(1_000):
            reader.history.create(f"t{number:04}", name="it" if number in (3, 700, 999) else "hay")
        # A part so short that no store can help with looking for it.
        queries, filter = reader.queries(examined=256), TaskFilter(name_contains="it")
        found, calls, cursor = [], 0, None
        while calls == 0 or cursor is not None:
            page = await queries.tasks(filter, limit=10, cursor=cursor)
            found += [view.id for view in page.items]
            cursor, calls = page.next_cursor, calls + 1
        assert found == ["t0003", "t0700", "t0999"]
        assert 3 <= calls <= 5
        page = await reader.queries().tasks(filter, limit=10)
        assert ([view.id for view in page.items], page.next_cursor) == (found, None)

    async def test_a_status_with_many_tasks_is_looked_for_among_those_with_the_tag(self, reader: Reader) -> None:
        history = reader.history
        for number in range(300):
            tags = {"team": "ops"} if number % 100 == 0 else {}
            history.create(f"t{number:03}", schedule=EVERY_MINUTE, tags=tags)
        history.do("t100", msg.Pause())
        assert await reader.ids(status="scheduled", tags=(("team", "ops"),)) == ["t000", "t200"]

    async def test_a_cursor_that_was_not_given_for_the_query_is_refused(self, reader: Reader) -> None:
        history = reader.history
        for task_id in ("a", "b", "c"):
            history.create(task_id, schedule=EVERY_MINUTE, retry=Retry(max_attempts=1))
        for _ in range(3):
            history.advance(MINUTE)
            history.fail("a")
        queries = reader.queries()
        good = (await queries.tasks(limit=1)).next_cursor
        runs = (await queries.runs("a", limit=1)).next_cursor
        assert good is not None
        assert runs is not None
        assert await queries.tasks(limit=1, cursor=good)
        altered = good[:-6] + ("A" if good[-6] != "A" else "B") + good[-5:]
        for bad in ("", "x", "!", "é", "e30", "W10", "WzFd", good + "=", good[:-3], good * 100, altered, runs):
            with pytest.raises(Invalid) as refused:
                await queries.tasks(limit=1, cursor=bad)
            assert refused.value.pointer == "/cursor"
        with pytest.raises(Invalid):
            await queries.tasks(TaskFilter(sort="-created_at"), limit=1, cursor=good)
        with pytest.raises(Invalid):
            await queries.tasks(TaskFilter(status="running"), limit=1, cursor=good)
        with pytest.raises(Invalid):
            await queries.runs("b", limit=1, cursor=runs)
        with pytest.raises(Invalid):
            await queries.runs("a", RunFilter(status="failed"), limit=1, cursor=runs)
        with pytest.raises(Invalid):
            await queries.letters.page(DeadLetterFilter(), limit=1, cursor=runs)
        for limit in (0, 201, -1):
            with pytest.raises(Invalid) as refused:
                await queries.tasks(limit=limit)
            assert refused.value.pointer == "/limit"

    async def test_a_run_is_shown_with_its_attempts_lateness_and_result(self, reader: Reader) -> None:
        history = reader.history
        history.create("a", retry=Retry(max_attempts=2, jitter=0.0, initial=SECOND))
        history.advance(250)
        run_id = history.fail("a", "Timeout", retryable=True)
        run = await reader.queries().run("a", run_id)
        assert run is not None
        assert (run.status, run.retry_at, run.lateness_ms) == ("retrying", history.now + SECOND, 250)
        history.advance(SECOND)
        history.wake("a")
        assert history.claim("a") == run_id
        run = await reader.queries().run("a", run_id)
        assert run is not None
        assert [(a.number, a.outcome) for a in run.attempts] == [(1, "failed"), (2, None)]
        history.complete("a", run_id, '{"rows": [1, 2]}')
        run = await reader.queries().run("a", run_id)
        assert run is not None
        assert (run.status, run.result, run.scheduled_for, run.nominal_at) == (
            "succeeded",
            '{"rows": [1, 2]}',
            START,
            START,
        )
        first = run.attempts[0]
        assert (first.started_at, first.error and first.error.type) == (START + 250, "Timeout")
        assert run.lateness_ms == 250

    async def test_a_late_report_leaves_the_result_alone(self, reader: Reader) -> None:
        history = reader.history
        history.create("a", retry=Retry(jitter=0.0, initial=0))
        history.wake("a")
        run_id = history.claim("a")
        history.advance(31 * SECOND)
        history.wake("a")
        history.do("a", msg.Claim(run_id=run_id, worker="second", token_hash="other", lease=30 * SECOND))
        history.do("a", msg.Complete(run_id=run_id, number=2, token_hash="other", result='"second"'))
        history.do("a", msg.Complete(run_id=run_id, number=1, token_hash="hash", result='"first"'))
        run = await reader.queries().run("a", run_id)
        assert run is not None
        assert (run.result, [a.outcome for a in run.attempts]) == ('"second"', ["lost", "succeeded"])

    async def test_runs_that_end_out_of_order_are_all_shown_ended(self, reader: Reader) -> None:
        history = reader.history
        history.create("a")
        history.wake("a")
        first = history.claim("a")
        history.do("a", msg.Trigger())
        second = history.claim("a")
        history.complete("a", first, "1")
        assert [(run.id, run.status) for run in (await reader.queries().runs("a")).items] == [
            (run_id, status) for run_id, status in sorted({first: "succeeded", second: "running"}.items(), reverse=True)
        ]
        for _ in range(3):
            history.do("a", msg.Trigger())
        history.do("a", msg.Cancel())
        statuses = [run.status for run in (await reader.queries().runs("a")).items]
        assert sorted(statuses) == ["cancelled"] * 4 + ["succeeded"]
        assert await reader.queries().totals() == {"succeeded": 1, "cancelled": 4}

    async def test_runs_come_newest_first_by_status_and_time(self, reader: Reader) -> None:
        history = reader.history
        history.create("a", schedule=EVERY_MINUTE, retry=Retry(max_attempts=1))
        history.create("b", schedule=EVERY_MINUTE)
        for number in range(1, 8):
            history.advance(MINUTE)
            (history.fail if number % 3 == 0 else history.succeed)("a")
            history.succeed("b")

        async def minutes(limit: int = 200, **given) -> list[int]:
            found, cursor, filter = [], None, RunFilter(**given)
            while True:
                page = await reader.queries().runs("a", filter, limit=limit, cursor=cursor)
                found += [(run.scheduled_for - START) // MINUTE for run in page.items]
                cursor = page.next_cursor
                if cursor is None:
                    return found

        assert await minutes() == await minutes(limit=2) == [7, 6, 5, 4, 3, 2, 1]
        assert await minutes(status="failed") == await minutes(1, status="failed") == [6, 3]
        assert await minutes(since=START + 3 * MINUTE, until=START + 6 * MINUTE) == [5, 4, 3]
        assert await minutes(2, since=START + 3 * MINUTE, until=START + 6 * MINUTE, status="succeeded") == [5, 4]
        assert await minutes(since=START + 8 * MINUTE) == []

    async def test_many_skipped_fire_times_are_one_row(self, reader: Reader) -> None:
        history = reader.history
        history.create("a", schedule=EVERY_MINUTE)
        history.do("a", msg.Pause())
        history.advance(150 * MINUTE)
        history.do("a", msg.Resume())
        [run] = (await reader.queries().runs("a")).items
        assert (run.status, run.reason, run.count) == ("skipped", "paused", 150)
        assert (run.nominal_at, run.nominal_until) == (START + MINUTE, START + 150 * MINUTE)
        assert await reader.queries().totals() == {"skipped:paused": 150}
        assert await reader.queries().daily_totals(history.now) == {"skipped:paused": 150}

    async def test_events_are_those_on_the_log(self, reader: Reader) -> None:
        history = reader.history
        history.create("a", schedule=EVERY_MINUTE)
        history.advance(MINUTE)
        history.succeed("a", '"<&>\\u00e9"')
        records = [entry.record for entry in history.entries]
        page = await reader.queries().events("a", limit=3)
        rest = await reader.queries().events("a", limit=3, cursor=page.next_cursor)
        rows = [*page.items, *rest.items]
        assert rest.next_cursor is None
        assert [bytes(row.events) for row in rows] == [raw_events(encode_record(record)) for record in records]
        assert [row.version for row in rows] == [1, 2, 3, 4]
        assert [(row.recorded_at, row.actor, row.cause) for row in rows] == [
            (record.recorded_at, record.actor, record.cause) for record in records
        ]

    async def test_dead_letters_by_task_tag_error_and_time(self, reader: Reader) -> None:
        history = reader.history
        for task_id, team in (("a", "ops"), ("b", "dev")):
            history.create(task_id, schedule=EVERY_MINUTE, tags={"team": team}, retry=Retry(max_attempts=1))
        ended = []
        for day in (0, 10, 40, 70):
            history.now = START + day * DAY + MINUTE
            for task_id, error in (("a", "Boom"), ("b", "Crash")):
                ended.append((task_id, history.now, history.fail(task_id, error)))
                history.advance(MINUTE)
        history.succeed("a")
        kept = [(task_id, at) for task_id, at, _ in ended if await reader.queries().run(task_id, _) is not None]
        assert len(kept) < len(ended)

        async def found(limit: int = 200, **given) -> list[tuple[str, int]]:
            rows, cursor = [], None
            while True:
                page = await reader.queries().letters.page(DeadLetterFilter(**given), limit=limit, cursor=cursor)
                for item in page.items:
                    assert (item.run.status, item.run.id) == ("failed", item.letter.run_id)
                    rows.append((item.letter.task_id, item.letter.finished_at))
                cursor = page.next_cursor
                if cursor is None:
                    return rows

        newest = sorted(kept, key=lambda row: -row[1])
        assert await found() == await found(limit=1) == newest
        assert await found(task_id="a") == await found(1, task_id="a") == [row for row in newest if row[0] == "a"]
        assert (
            await found(tags=(("team", "dev"),))
            == await found(error_type="Crash")
            == [row for row in newest if row[0] == "b"]
        )
        assert await found(error_type="Other") == []
        middle = newest[1][1]
        assert await found(since=middle) == newest[:2]
        assert await found(until=middle) == newest[2:]
        assert await found(1, since=newest[-1][1], until=newest[0][1]) == newest[1:]

    async def test_dead_letters_are_grouped_by_their_errors(self, reader: Reader) -> None:
        history = reader.history
        failed: dict[str, list[int]] = {}
        for task_id, team in (("a", "ops"), ("b", "dev")):
            history.create(task_id, schedule=EVERY_MINUTE, tags={"team": team}, retry=Retry(max_attempts=1))
        for number in range(6):
            for task_id, error in (("a", "Boom"), ("b", "Boom" if number % 2 else "Crash")):
                history.advance(MINUTE)
                last = history.fail(task_id, error)
                failed.setdefault(error, []).append(history.now)

        async def groups(examined: int = 20_000, **given) -> dict[str, tuple[int, bool, int, int, int]]:
            filter = DeadLetterFilter(**given)
            page = await reader.queries(examined).letters.groups(filter)
            return {g.error_type: (g.count, g.exact, g.tasks, g.first_seen, g.last_seen) for g in page.items}

        boom, crash = failed["Boom"], failed["Crash"]
        assert await groups() == {
            "Boom": (len(boom), True, 2, boom[0], boom[-1]),
            "Crash": (len(crash), True, 1, crash[0], crash[-1]),
        }
        assert await groups(error_type="Crash") == {"Crash": (3, True, 1, crash[0], crash[-1])}
        of_ops = boom[0], boom[-2]
        assert await groups(tags=(("team", "ops"),)) == {"Boom": (6, True, 1, *of_ops)}
        assert await groups(since=boom[1], until=boom[-1]) == {
            "Boom": (len(boom) - 2, True, 2, boom[1], boom[-2]),
            "Crash": (2, True, 1, crash[1], crash[2]),
        }
        assert set(await groups(task_id="b")) == {"Boom", "Crash"}
        assert (await groups(task_id="b"))["Boom"][0] == 3
        assert await groups(error_type="None") == {}
        page = await reader.queries().letters.groups(DeadLetterFilter(), limit=1)
        assert ([g.error_type for g in page.items], page.items[0].last.run_id) == (["Boom"], last)
        page = await reader.queries().letters.groups(DeadLetterFilter(), limit=1, cursor=page.next_cursor)
        assert [g.error_type for g in page.items] == ["Crash"]

    async def test_more_than_is_counted_is_said_to_be_more(self, reader: Reader) -> None:
        history = reader.history
        history.create("a", schedule=EVERY_MINUTE, retry=Retry(max_attempts=1))
        for _ in range(300):
            history.do("a", msg.Trigger())
            history.fail("a")
            history.advance(1)
        [group] = (await reader.queries(examined=10).letters.groups(DeadLetterFilter())).items
        assert (group.count, group.exact, group.first_seen, group.last_seen) == (256, False, START, START + 299)
        counted = await reader.queries(examined=10).letters.count(DeadLetterFilter())
        assert (counted.number, counted.exact) == (256, False)
        assert (await reader.queries().letters.count(DeadLetterFilter())) == (300, True)

    async def test_the_whole_story_of_a_dead_letter(self, reader: Reader) -> None:
        history = reader.history
        history.create("a", name="then", schedule=EVERY_MINUTE, retry=Retry(max_attempts=2, jitter=0.0))
        history.advance(MINUTE)
        history.wake("a")
        run_id = history.claim("a")
        history.advance(31 * SECOND)
        history.wake("a")
        history.advance(SECOND)
        history.fail("a", "Boom")
        history.do("a", msg.Update(DefinitionPatch(name="now")))
        assert history.do("a", msg.Complete(run_id, 1, "hash", '"late"')).refused is not None
        again = history.do("a", msg.Retry(run_id), actor="eve").run_id
        story = await reader.queries().letters.story("a", run_id)
        assert story is not None
        assert story.definition is not None
        assert (story.definition.name, story.view.letter.error_type) == ("then", "Boom")
        assert [attempt.outcome for attempt in story.view.run.attempts] == ["lost", "failed"]
        assert [(late.number, late.outcome, late.result) for late in story.late] == [(1, "succeeded", '"late"')]
        assert story.view.retried is not None
        assert (story.view.retried.by_run, story.view.retried.actor) == (again, "eve")
        assert story.again is not None
        assert (story.again.id, story.again.status) == (again, "queued")
        assert await reader.queries().letters.story("a", again or "") is None
        assert await reader.queries().letters.story("b", run_id) is None

    async def test_dead_letters_that_were_retried_and_others(self, reader: Reader) -> None:
        history = reader.history
        history.create("a", schedule=EVERY_MINUTE, retry=Retry(max_attempts=1))
        runs = []
        for _ in range(3):
            history.advance(MINUTE)
            runs.append(history.fail("a"))
        history.do("a", msg.Retry(runs[1]))

        async def found(**given) -> list[str]:
            page = await reader.queries().letters.page(DeadLetterFilter(**given))
            return [view.run.id for view in page.items]

        assert await found() == runs[::-1]
        assert await found(retried=True) == [runs[1]]
        assert await found(retried=False, error_type="Boom") == [runs[2], runs[0]]
        assert (await reader.queries().letters.count(DeadLetterFilter(retried=False))).number == 2
        first = await reader.queries().letters.page(DeadLetterFilter(), limit=1, oldest_first=True)
        assert [view.run.id for view in first.items] == runs[:1]
        cursor = first.next_cursor
        assert (await reader.queries().letters.count(DeadLetterFilter(retried=False), cursor=cursor)).number == 1
        rest = await reader.queries().letters.page(DeadLetterFilter(), cursor=cursor, oldest_first=True)
        assert [view.run.id for view in rest.items] == runs[1:]

    async def test_a_purged_dead_letter_is_gone_and_its_run_is_not(self, reader: Reader, opened: OpenedViews) -> None:
        history = reader.history
        history.create("a", schedule=EVERY_MINUTE, retry=Retry(max_attempts=1))
        history.advance(MINUTE)
        run_id = history.fail("a")
        history.do("a", msg.Retry(run_id))
        history.do("a", msg.PurgeDeadLetter(run_id, history.now, "Boom"))
        assert (await reader.queries().letters.page(DeadLetterFilter())).items == []
        assert (await reader.queries().letters.groups(DeadLetterFilter())).items == []
        assert await reader.queries().letters.story("a", run_id) is None
        assert await reader.queries().run("a", run_id) is not None
        left = {row[0] for row in await opened.contents() if row[0].startswith("dead_letter")}
        assert left == {"dead_letter_months", "dead_letter_errors"}

    async def test_expired_runs_go_with_their_dead_letters(self, reader: Reader, opened: OpenedViews) -> None:
        history = reader.history
        history.create("a", schedule=EVERY_MINUTE, retry=Retry(max_attempts=1))
        history.advance(MINUTE)
        old = history.fail("a")
        history.do("a", msg.Pause())
        reader.queries()
        for _ in range(2):
            assert history.sleep_until_due("a")
            assert any(isinstance(event, RunsExpired) for event in history.entries[-1].record.events)
        history.do("a", msg.Resume())
        assert await reader.queries().run("a", old) is None
        assert (await reader.queries().letters.page(DeadLetterFilter())).items == []
        assert [row for row in await opened.contents() if row[0].startswith("dead_letters")] == []
        assert (await reader.queries().totals())["failed:gave_up"] == 1
        view = await reader.queries().task("a")
        assert view is not None
        assert view.counts.failed == 1

    async def test_tasks_are_counted_by_status(self, reader: Reader) -> None:
        history = reader.history
        for task_id in ("a", "b", "c", "d"):
            history.create(task_id, schedule=EVERY_MINUTE if task_id < "c" else NOW)
        history.succeed("c")
        history.do("b", msg.Pause())
        history.do("a", msg.Cancel())
        counts = await reader.queries().status_counts()
        assert {name: n for name, n in counts.items() if n} == {
            "cancelled": 1,
            "paused": 1,
            "completed": 1,
            "scheduled": 1,
        }

    async def test_calendars_are_found_and_listed_by_name(self, reader: Reader) -> None:
        history = reader.history
        for name in ("c", "a", "b", "gone"):
            history.define(name, "2026-12-25", "2027-01-01/2027-01-06")
        history.define("b", "2026-05-01", note="again")
        history.undefine("gone")
        view = await reader.queries().calendar("calendar/b")
        assert view == calendar_view_of(history.others["calendar/b"])
        assert view is not None
        assert (view.name, view.version, view.definition.note, view.resolved.days) == ("b", 2, "again", ("2026-05-01",))
        assert await reader.queries().calendar("calendar/gone") is None
        first = await reader.queries().calendars(limit=2)
        assert [one.name for one in first.items] == ["a", "b"]
        rest = await reader.queries().calendars(limit=2, cursor=first.next_cursor)
        assert ([one.name for one in rest.items], rest.next_cursor) == (["c"], None)
        with pytest.raises(Invalid):
            await reader.queries().calendars(cursor="x")

    async def test_tasks_are_found_by_a_calendar_that_they_use(self, reader: Reader) -> None:
        def using(*names: str) -> Every:
            excluded = tuple(ExceptCalendar(name, 1) for name in names)
            return Every(every=MINUTE, anchor=START, anchored=True, excluded=excluded)

        history = reader.history
        history.create("one", schedule=using("holidays"))
        history.create("both", schedule=using("holidays", "closed"), tags={"team": "ops"})
        history.create("none")
        assert await reader.ids(calendar="holidays") == ["both", "one"]
        assert await reader.ids(calendar="holidays", tags=(("team", "ops"),)) == ["both"]
        assert await reader.ids(calendar="other") == []
        history.do("one", msg.Follow(ExceptCalendar("holidays", 2, ("2026-12-25",))))
        history.do("both", msg.Update(DefinitionPatch(schedule=using("closed"))))
        assert await reader.ids(calendar="holidays") == ["one"]
        assert await reader.ids(calendar="closed") == ["both"]
        history.do("one", msg.Delete())
        assert await reader.ids(calendar="holidays") == []
