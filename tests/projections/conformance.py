"""What every ViewStore does. Subclasses give the fixture `opened`."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

import pytest

from taskscheduler.domain.definition import Definition, NoopTarget
from taskscheduler.domain.schedule import OneTime
from taskscheduler.domain.state import Task
from taskscheduler.projections import task_list
from taskscheduler.projections.changes import Change, Count, Delete, DeleteRange, Put, Reindex
from taskscheduler.projections.counters import COUNTERS
from taskscheduler.projections.dead_letters import DEAD_LETTERS, DEAD_LETTERS_OF_TASK, DeadLetter
from taskscheduler.projections.ports import ViewStore
from taskscheduler.projections.runs import RUNS, RunView
from taskscheduler.projections.tables import Key
from taskscheduler.projections.task_list import BY_CREATED, BY_NAME, ByCreated, ByName

Way: TypeAlias = Literal["at once", "flushed", "reopened"]
"""What lies between a write and a read: nothing, or what is held back is written, or the store is opened again too."""


class OpenedViews(Protocol):
    """A store under test: `views` is the one that is open now."""

    @property
    def views(self) -> ViewStore: ...

    async def settle(self, way: Way) -> None: ...

    async def contents(self) -> list[tuple[str, Key, bytes]]:
        """Every row, encoded, in order."""
        ...


def run(task_id: str, run_id: str, *, result: str | None = None) -> RunView:
    return RunView(task_id, run_id, "schedule", "succeeded", 1, result=result)


def letter(task_id: str, run_id: str, finished_at: int, month: str = "2025-11") -> DeadLetter:
    return DeadLetter(month, finished_at, task_id, run_id, "name", "gave_up", "Boom")


def listed(task_id: str, name: str, next_fire: int | None = 5) -> Task:
    definition = Definition(name=name, schedule=OneTime(at=0), target=NoopTarget(), tags={"team": "ops"})
    return Task(task_id, definition=definition, created_at=7, next_fire=next_fire)


class ViewStoreConformance:
    position = 0

    def apply(self, opened: OpenedViews, *changes: Change) -> None:
        self.position += 1
        opened.views.apply(changes, 0, self.position)

    @pytest.fixture(params=["at once", "flushed", "reopened"])
    def settle(self, request: pytest.FixtureRequest, opened: OpenedViews) -> object:
        """What lies between a write and a read."""
        return lambda: opened.settle(request.param)

    async def test_a_row_is_what_was_put_last(self, opened: OpenedViews, settle) -> None:
        self.apply(opened, Put(RUNS, run("a", "1")), Put(RUNS, run("a", "2")))
        await settle()
        self.apply(opened, Put(RUNS, run("a", "1", result='{"it": "changed"}')), Delete(RUNS, ("a", "2")))
        await settle()
        assert await opened.views.get(RUNS, ("a",), ("1",)) == run("a", "1", result='{"it": "changed"}')
        assert await opened.views.get(RUNS, ("a",), ("2",)) is None
        assert await opened.views.get(RUNS, ("b",), ("1",)) is None
        assert await opened.views.scan(RUNS, ("a",), limit=9) == [run("a", "1", result='{"it": "changed"}')]

    async def test_partitions_do_not_mix(self, opened: OpenedViews, settle) -> None:
        ids = ["a", "a.b", "ab", "A", "a-", "ä", "b\0", "b", "\U0001f600"]
        self.apply(opened, *[Put(RUNS, run(task_id, "1")) for task_id in ids])
        await settle()
        for task_id in ids:
            assert await opened.views.scan(RUNS, (task_id,), limit=9) == [run(task_id, "1")]

    async def test_text_lies_in_the_order_of_its_code_points(self, opened: OpenedViews, settle) -> None:
        names = ["", "A", "Z", "a", "a\0", "a\0b", "a ", "ab", "b", "z", "ß", "ÿ", "€", "\uffff", "\U0001f600"]
        self.apply(opened, *[Put(BY_NAME, ByName("all", name, "x")) for name in reversed(names)])
        await settle()
        found = await opened.views.scan(BY_NAME, ("all",), limit=99)
        assert [row.name for row in found] == sorted(names)

    async def test_integers_lie_in_their_order(self, opened: OpenedViews, settle) -> None:
        numbers = [-(2**63), -257, -256, -1, 0, 1, 255, 256, 2**31, 2**63 - 1]
        self.apply(opened, *[Put(BY_CREATED, ByCreated("all", n, "x")) for n in reversed(numbers)])
        self.apply(opened, *[Put(DEAD_LETTERS, letter("a", "1", n)) for n in numbers])
        await settle()
        assert [row.created_at for row in await opened.views.scan(BY_CREATED, ("all",), limit=99)] == numbers
        newest_first = [row.finished_at for row in await opened.views.scan(DEAD_LETTERS, ("2025-11",), limit=99)]
        assert newest_first == numbers[::-1]

    async def test_a_scan_keeps_to_its_bounds_in_both_directions(self, opened: OpenedViews, settle) -> None:
        rows = [ByCreated("all", created, task_id) for created in (1, 2, 3) for task_id in ("a", "b")]
        self.apply(opened, *[Put(BY_CREATED, row) for row in rows])
        await settle()

        async def scan(**bounds) -> list[ByCreated]:
            return await opened.views.scan(BY_CREATED, ("all",), **{"limit": 99, **bounds})

        assert await scan() == rows
        assert await scan(reverse=True) == rows[::-1]
        assert await scan(start=(2,)) == rows[2:]
        assert await scan(end=(2,)) == rows[:2]
        assert await scan(start=(2,), end=(3,), reverse=True) == rows[3:1:-1]
        assert await scan(start=(2, "b"), end=(3, "b")) == rows[3:5]
        assert await scan(after=(2, "a")) == rows[3:]
        assert await scan(after=(2, "a"), reverse=True) == rows[1::-1]
        assert await scan(after=(2, "aa"), limit=2) == rows[3:5]
        assert await scan(start=(3,), after=(1, "a")) == rows[4:]
        assert await scan(end=(2,), after=(3, "b"), reverse=True) == rows[1::-1]
        assert await scan(start=(3,), end=(2,)) == []
        assert await scan(limit=1) == rows[:1]
        assert await scan(limit=1, reverse=True) == rows[-1:]

    async def test_bounds_of_a_descending_table_go_with_its_order(self, opened: OpenedViews, settle) -> None:
        self.apply(opened, *[Put(RUNS, run("a", run_id)) for run_id in ("1", "2", "20", "3", "4")])
        await settle()

        async def ids(**bounds) -> list[str]:
            return [row.id for row in await opened.views.scan(RUNS, ("a",), limit=99, **bounds)]

        assert await ids() == ["4", "3", "20", "2", "1"]
        assert await ids(start=("3",), end=("2",)) == ["3", "20"]
        assert await ids(after=("3",)) == ["20", "2", "1"]
        assert await ids(after=("2",), reverse=True) == ["20", "3", "4"]

    async def test_a_range_is_deleted_with_its_companions(self, opened: OpenedViews, settle) -> None:
        letters = [letter("a", run_id, int(run_id)) for run_id in ("1", "2", "3")] + [letter("b", "1", 1)]
        self.apply(opened, *[Put(table, row) for row in letters for table in (DEAD_LETTERS, DEAD_LETTERS_OF_TASK)])
        await settle()
        self.apply(opened, DeleteRange(DEAD_LETTERS_OF_TASK, ("a",), ("2",)))
        await settle()
        assert await opened.views.scan(DEAD_LETTERS_OF_TASK, ("a",), limit=9) == [letters[2]]
        assert await opened.views.scan(DEAD_LETTERS, ("2025-11",), limit=9) == [letters[2], letters[3]]
        self.apply(opened, DeleteRange(DEAD_LETTERS_OF_TASK, ("a",), None, ("2",)), DeleteRange(RUNS, ("a",)))
        await settle()
        assert await opened.views.scan(DEAD_LETTERS, ("2025-11",), limit=9) == [letters[3]]

    async def test_rows_put_after_a_range_was_deleted_stay(self, opened: OpenedViews, settle) -> None:
        self.apply(opened, Put(RUNS, run("a", "1")), Put(RUNS, run("a", "2")))
        await settle()
        self.apply(opened, DeleteRange(RUNS, ("a",)), Put(RUNS, run("a", "2")))
        await settle()
        assert await opened.views.scan(RUNS, ("a",), limit=9) == [run("a", "2")]

    async def test_a_record_that_comes_again_is_counted_once(self, opened: OpenedViews, settle) -> None:
        counts = [Count("totals", "succeeded", 1), Count("totals", "failed", 3)]
        opened.views.apply(counts, 0, 1)
        opened.views.apply(counts, 1, 1)
        await settle()
        opened.views.apply(counts, 0, 1)
        opened.views.apply([Count("totals", "succeeded", -5)], 0, 2)
        opened.views.apply(counts, 1, 1)
        await settle()
        rows = await opened.views.scan(COUNTERS, ("totals",), limit=9)
        assert [(row.name, row.partition, row.value) for row in rows] == [
            ("failed", 0, 3),
            ("failed", 1, 3),
            ("succeeded", 0, -4),
            ("succeeded", 1, 1),
        ]

    async def test_index_rows_follow_the_task(self, opened: OpenedViews, settle) -> None:
        nothing, first, renamed = Task("a"), listed("a", "one"), listed("a", "two", None)

        async def names(name: str) -> list[str]:
            return [row.name for row in await opened.views.scan(BY_NAME, (name,), limit=9)]

        self.apply(opened, Reindex(task_list.index, nothing, first))
        await settle()
        assert await names("all") == await names("status:scheduled") == await names("tag:team:ops") == ["one"]
        self.apply(opened, Reindex(task_list.index, first, renamed))
        await settle()
        assert await names("all") == await names("status:completed") == ["two"]
        assert await names("status:scheduled") == []
        self.apply(opened, Reindex(task_list.index, renamed, first))
        self.apply(opened, Reindex(task_list.index, first, nothing))
        await settle()
        assert await opened.contents() == []

    async def test_the_same_changes_again_change_nothing(self, opened: OpenedViews, settle) -> None:
        records: list[list[Change]] = [
            [
                Put(RUNS, run("a", "1")),
                Count("totals", "succeeded", 1),
                Reindex(task_list.index, Task("a"), listed("a", "x")),
            ],
            [Put(RUNS, run("a", "2")), Reindex(task_list.index, listed("a", "x"), listed("a", "y"))],
            [DeleteRange(RUNS, ("a",), ("1",)), Count("totals", "succeeded", 1), Put(BY_NAME, ByName("l", "n", "i"))],
            [Delete(BY_NAME, ("l", "n", "i")), Reindex(task_list.index, listed("a", "y"), listed("a", "z"))],
        ]
        for position, changes in enumerate(records, start=1):
            opened.views.apply(changes, 0, position)
        await settle()
        once = await opened.contents()
        for start in range(len(records)):
            for position, changes in list(enumerate(records, start=1))[start:]:
                opened.views.apply(changes, 0, position)
            await settle()
            assert await opened.contents() == once
