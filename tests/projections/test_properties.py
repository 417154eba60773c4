"""After any history the read models say what the states say."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings

from taskscheduler.domain.calendar import Calendar
from taskscheduler.domain.calendar_days import calendars_used
from taskscheduler.domain.events import FiresSkipped, RunQueued, RunsExpired, TaskPurged
from taskscheduler.domain.ids import run_id_floor
from taskscheduler.domain.limit import Limit
from taskscheduler.projections import calendars, limits
from taskscheduler.projections.memory import MemoryViews
from taskscheduler.projections.projector import Projector
from taskscheduler.projections.queries import Queries
from taskscheduler.projections.runs import RUNS, run_view
from taskscheduler.projections.task_list import BY_CREATED, BY_NAME, BY_NEXT_FIRE, NEVER
from taskscheduler.projections.task_view import view_of
from tests.projections.commands import IDS, Step, steps
from tests.projections.history import History

INDEX = {table.name for table in (BY_CREATED, BY_NAME, BY_NEXT_FIRE)}


def played(moves: list[Step]) -> tuple[History, MemoryViews]:
    history, views = History(), MemoryViews()
    projector = Projector(views)
    for move in moves:
        move(history)
        projector.apply(history.new())
    return history, views


@given(steps)
@settings(max_examples=80, deadline=None)
def test_no_list_has_a_stale_or_a_missing_row(moves: list[Step]) -> None:
    history, views = played(moves)
    expected = set()
    for task in history.tasks.values():
        definition = task.definition
        if definition is None or task.deleted_at is not None:
            continue
        lists = {"all", f"status:{task.status}", *(f"tag:{key}:{value}" for key, value in definition.tags.items())}
        lists |= {f"calendar:{one.calendar}" for one in calendars_used(task)}
        for name in lists:
            expected.add((BY_CREATED.name, (name, task.created_at, task.id)))
            expected.add((BY_NAME.name, (name, definition.name, task.id)))
            expected.add((BY_NEXT_FIRE.name, (name, NEVER if task.upcoming is None else task.upcoming, task.id)))
    assert {(name, key) for name, key, _ in views.contents() if name in INDEX} == expected


@given(steps)
@settings(max_examples=50, deadline=None)
async def test_tasks_and_counters_are_those_of_the_states(moves: list[Step]) -> None:
    history, views = played(moves)
    queries = Queries(views)
    for task_id in IDS:
        task = history.task(task_id)
        shown = await queries.task(task_id)
        assert shown == (None if task.definition is None else view_of(task))
    statuses = Counter(task.status for task in history.tasks.values() if task.exists)
    assert {name: n for name, n in (await queries.status_counts()).items() if n} == statuses


@given(steps)
@settings(max_examples=50, deadline=None)
async def test_calendars_are_those_of_the_states(moves: list[Step]) -> None:
    history, views = played(moves)
    queries = Queries(views)
    found = {id: state for id, state in history.others.items() if isinstance(state, Calendar)}
    there = sorted(id for id, state in found.items() if state.exists)
    assert [view.id for view in (await queries.calendars()).items] == there
    assert [key for name, key, _ in views.contents() if name == calendars.BY_ID.name] == [("all", id) for id in there]
    for id, state in found.items():
        assert await queries.calendar(id) == (calendars.view_of(state) if state.exists else None)


@given(steps)
@settings(max_examples=50, deadline=None)
async def test_limits_are_those_of_the_states(moves: list[Step]) -> None:
    history, views = played(moves)
    queries = Queries(views)
    found = {id: state for id, state in history.others.items() if isinstance(state, Limit)}
    there = sorted(id for id, state in found.items() if state.exists or state.slots)
    assert [view.id for view in (await queries.limits()).items] == there
    for id, state in found.items():
        assert await queries.limit(id) == (limits.view_of(state) if id in there else None)


@given(steps)
@settings(max_examples=50, deadline=None)
async def test_every_run_that_was_made_is_shown_as_it_was_left(moves: list[Step]) -> None:
    history, views = played(moves)
    for task_id in IDS:
        expected: set[str] = set()
        events = [e for a in history.accepted if a.after.id == task_id for e in a.record.events]
        for event in events:
            if isinstance(event, RunQueued | FiresSkipped):
                expected.add(event.run_id)
            elif isinstance(event, RunsExpired):
                expected = {run_id for run_id in expected if run_id >= run_id_floor(event.before)}
            elif isinstance(event, TaskPurged):
                expected = set()
        shown = await views.scan(RUNS, (task_id,), limit=10_000)
        for view in shown:
            run = history.task(task_id).runs.get(view.id)
            if run is not None:
                assert view == run_view(task_id, run)
            else:
                assert view.status in ("succeeded", "failed", "cancelled", "skipped")
        assert {view.id for view in shown} == expected


@given(steps)
@settings(max_examples=30, deadline=None)
def test_records_that_come_again_change_nothing(moves: list[Step]) -> None:
    history, views = played(moves)
    once = views.contents()
    for start in {0, len(history.accepted) // 2, max(0, len(history.accepted) - 1)}:
        Projector(views).apply(history.accepted[start:])
        assert views.contents() == once
