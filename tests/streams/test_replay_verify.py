"""Verify finds whatever is otherwise than the log says, and nothing else."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from taskscheduler.api.bootstrap import FAMILIES
from taskscheduler.domain.steps import Link, Told
from taskscheduler.domain.values import MINUTE
from taskscheduler.projections.memory import MemoryViews
from taskscheduler.projections.projector import TABLES, Projector
from taskscheduler.streams.replay import verify as module
from taskscheduler.streams.replay.fresh import Fresh
from taskscheduler.streams.replay.fresh_rows import CODECS, add_shared, owner_column
from taskscheduler.streams.replay.jobs import Jobs
from taskscheduler.streams.replay.report import Difference, Report, WaitingStep
from taskscheduler.streams.replay.sides import STALE, EmbeddedRows, Replica
from taskscheduler.streams.replay.sums import NOBODY, Sums, different
from taskscheduler.streams.replay.verify import verify
from taskscheduler.streams.rocksdb import outbox_table
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.outbox_table import row_of, step_of
from taskscheduler.streams.rocksdb.rows import LOG_FAMILIES
from taskscheduler.streams.rocksdb.views import FAMILY
from tests.projections.commands import Step, steps
from tests.projections.history import History
from tests.streams.replay_kit import STREAMS, a_folded_directory, a_history, fold, lay_down, put, rows_in

PARTS_OF_A_TASK = {"tasks", "tasks_by_created", "tasks_by_next_fire", "tasks_by_name", "runs", "events"}


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory in good order. Not to be changed."""
    return a_folded_directory(tmp_path_factory.mktemp("replay"))


@pytest.fixture
def data(folded: Path, tmp_path: Path) -> Path:
    """A copy to do harm to."""
    return Path(shutil.copytree(folded, tmp_path / "data"))


def check(path: Path, processes: int = 1) -> Report:
    return verify(path, [Replica("state", {0: path}), EmbeddedRows(path)], processes)


@pytest.mark.parametrize("processes", [1, 2])
def test_what_was_folded_is_as_the_log_says(folded: Path, processes: int) -> None:
    report = check(folded, processes)
    assert report.same, report
    assert report.different == []
    state, rows = report.compared
    assert (state.side, state.tasks, state.positions) == ("state", len(STREAMS), {"0": report.records})
    assert (rows.side, rows.tasks, rows.positions) == ("read models", len(STREAMS) - 1, {"0": report.records})


def test_shares_of_a_log_are_put_together(folded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARE", 5)
    assert check(folded).same


def _flip(value: bytes, at: int = -2) -> bytes:
    changed = bytearray(value)
    if changed:
        changed[at] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("family", ["state", "state_runs", "state_others", "timers", "claimable"])
@pytest.mark.parametrize("harm", ["changed", "gone", "more"])
def test_a_row_of_the_state_that_is_otherwise_names_its_task(data: Path, family: str, harm: str) -> None:
    name = "calendar/holidays" if family == "state_others" else "waiting"
    key, value = next(row for row in rows_in(data, family) if name.encode() in row[0])
    if harm == "changed" and not value:
        pytest.skip("its key says everything")
    more = _flip(key, -1)
    put(data, family, {"changed": [(key, _flip(value))], "gone": [(key, None)], "more": [(more, value)]}[harm])
    report = check(data)
    assert not report.same
    assert {one.side for one in report.different} == {"state"}
    named = {one.task: one.parts for one in report.different}
    if harm != "more":
        assert named == {name: (family,)}
    else:
        assert all(parts == (family,) for parts in named.values())
        assert named
    assert [one.result for one in report.compared] == ["differs", "same"]


@pytest.mark.parametrize("table", [table.name for table in TABLES])
@pytest.mark.parametrize("harm", ["changed", "gone", "more"])
def test_a_row_of_the_read_models_that_is_otherwise_names_its_task(data: Path, table: str, harm: str) -> None:
    number = next(n for n, one in enumerate(TABLES, start=1) if one.name == table)
    described = TABLES[number - 1]
    prefix = (1).to_bytes(4, "big") + bytes((number,))
    key, value = next(row for row in rows_in(data, FAMILY) if row[0].startswith(prefix))
    if harm == "changed" and not value:
        pytest.skip("its key says everything")
    at = owner_column(described)
    names = [column.name for column in described.key_columns]
    task = None if at is None else CODECS[described].values(key[5:])[names[at]]
    # A digit within the key or the row: what is there can still be decoded.
    more = _flip(key, -3)
    put(data, FAMILY, {"changed": [(key, _flip(value))], "gone": [(key, None)], "more": [(more, value)]}[harm])
    report = check(data)
    assert [one.result for one in report.compared] == ["same", "differs"]
    assert {one.parts for one in report.different} == {(table,)}
    if harm != "more":
        assert report.different == [Difference(None if task is None else str(task), "read models", (table,))]


def test_what_other_rules_made_is_not_compared(data: Path) -> None:
    [(key, value)] = [row for row in rows_in(data, FAMILY) if row[0] == (0).to_bytes(4, "big")]
    catalogue = msgspec.json.decode(value)
    put(data, FAMILY, [(key, msgspec.json.encode({**catalogue, "projection_version": 0}))])
    report = check(data)
    assert [(one.result, one.detail) for one in report.compared] == [("same", ""), ("failed", STALE)]
    assert not report.same


def test_what_another_log_made_is_told(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    history = a_history()
    history.create("one-more")
    history.accepted = [
        msgspec.structs.replace(one, record=msgspec.structs.replace(one.record, record_id=f"other-{one.position}"))
        for one in history.accepted
    ]
    lay_down(history, other)
    asyncio.run(fold(other))
    report = verify(other, [Replica("state", {0: data})], 1)
    assert report.compared[0].result == "failed"
    assert "it was made of another log" in report.compared[0].detail
    ahead = verify(data, [Replica("state", {0: other})], 1)
    assert "the log ends at" in ahead.compared[0].detail


def test_a_replica_that_is_behind_is_compared_where_it_is(tmp_path: Path) -> None:
    history = a_history(1)
    path = tmp_path / "data"
    lay_down(history, path)
    asyncio.run(fold(path))
    at = len(history.entries)
    history.advance(MINUTE)
    history.succeed("often")
    lay_down(history, path)
    report = check(path)
    assert report.same
    assert [(one.positions, one.behind) for one in report.compared] == [({"0": at}, len(history.entries) - at)] * 2


@pytest.mark.parametrize("families", [LOG_FAMILIES, FAMILIES])
def test_a_log_that_nobody_folded_yet_has_nothing_to_compare(tmp_path: Path, families: tuple[str, ...]) -> None:
    lay_down(a_history(1), tmp_path / "data")
    Database(tmp_path / "data", families).close()
    report = check(tmp_path / "data")
    assert [(one.side, one.result, one.detail) for one in report.compared] == [
        ("state", "absent", module.NOTHING_FOLDED),
        ("read models", "absent", module.NOTHING_FOLDED),
    ]
    assert (report.same, report.wrong, report.records) == (False, False, 0)


def test_what_lies_where_nothing_was_folded_is_too_much(tmp_path: Path) -> None:
    lay_down(a_history(1), tmp_path / "data")
    put(tmp_path / "data", "state", [(b"often", b"")])
    report = check(tmp_path / "data")
    assert [one.result for one in report.compared] == ["differs", "absent"]
    assert report.different == [Difference("often", "state", ("state",))]


def test_every_step_that_is_otherwise_is_named(data: Path) -> None:
    rows = {step_of(key): (key, value) for key, value in rows_in(data, outbox_table.FAMILY)}
    waiting = [("often", 2), ("often", 3), ("waiting", 1), ("waiting", 2), ("waiting", 3)]
    assert list(rows) == [("first", *step) for step in waiting]
    changed, gone = rows["first", "often", 2], rows["first", "waiting", 1]
    more = [row_of(sender, "often", Told(9, Link())) for sender in ("first", "nobody")]
    put(data, outbox_table.FAMILY, [(changed[0], _flip(changed[1])), (gone[0], None), *more])
    for processes in (1, 2):
        report = check(data, processes)
        first = (
            WaitingStep("often", 2, "changed"),
            WaitingStep("often", 9, "too many"),
            WaitingStep("waiting", 1, "missing"),
        )
        assert report.different == [
            Difference("first", "state", ("outbox",), first),
            Difference("nobody", "state", ("outbox",), (WaitingStep("often", 9, "too many"),)),
        ]


def test_a_server_that_is_running_is_looked_at_without_disturbing_it(data: Path) -> None:
    with Database(data, FAMILIES):
        assert check(data).same


class _Moving:
    """Read models that somebody else goes on with while they are looked at."""

    name = "read models"

    def __init__(self, looks: list[module.Look]) -> None:
        self._looks = looks

    def look(self, jobs: object, only: object) -> module.Look:
        return self._looks.pop(0)


def test_what_changes_while_it_is_looked_at_is_looked_at_again(tmp_path: Path) -> None:
    history = a_history(1)
    at = len(history.entries)
    history.advance(MINUTE)
    history.succeed("often")
    path = tmp_path / "data"
    lay_down(history, path)
    end = len(history.entries)

    def sums(position: int, only: list[str] | None = None) -> dict[str, int]:
        sums = Sums(only)
        fresh = Fresh(projects=True)
        fresh.fold(history.entries[:position])
        assert fresh.rows is not None
        fresh.rows.sums(sums)
        add_shared(sums, [(0, fresh.rows.counters)], [fresh.rows.shared()])
        return sums.of

    def look(position: int, shown: dict[str, int], until: int = end) -> module.Look:
        return module.Look("rows", {0: position}, shown, until={0: until})

    moved = ["", "often"]
    newer = look(at, sums(end))
    assert verify(path, [_Moving([newer, look(end, sums(end, moved))])], 1).same
    harmed = {**sums(end, moved), "often\0runs": 1}
    [found] = verify(path, [_Moving([newer, look(end, harmed)])], 1).different
    assert found == Difference("often", "read models", ("runs",))
    # What is newer than the position is as the log says of a later one, but for what is of no single task.
    never_still = [newer, *(look(at, sums(end, moved)) for _ in range(module.LOOKS - 1))]
    report = verify(path, [_Moving(never_still)], 1)
    assert report.different == []
    assert (report.compared[0].result, report.compared[0].changing) == ("same", 1)
    mixed = {**sums(end, moved), "often\0runs": sums(at, moved)["often\0runs"]}
    report = verify(path, [_Moving([newer, *(look(at, mixed) for _ in range(module.LOOKS - 1))])], 1)
    assert (report.different, report.compared[0].changing) == ([], 1)
    report = verify(path, [_Moving([newer, *(look(at, harmed) for _ in range(module.LOOKS - 1))])], 1)
    assert (report.different, report.compared[0].changing) == ([], 2)


@given(moves=steps)
@settings(max_examples=20, deadline=None)
def test_fresh_rows_are_those_that_a_store_ends_up_with(moves: list[Step]) -> None:
    history, memory = History(), MemoryViews()
    for move in moves:
        move(history)
    Projector(memory).apply(history.accepted)
    stored = Sums(["a", "b", NOBODY])
    described = {table.name: table for table in TABLES}
    for name, key, value in memory.contents():
        table = described[name]
        at = owner_column(table)
        value = value if table.value_columns else b""
        stored.add(NOBODY if at is None else str(key[at]), name, CODECS[table].of(key), value)
    fresh = Fresh(projects=True)
    fresh.fold(history.entries)
    assert fresh.rows is not None
    sums = Sums(["a", "b", NOBODY])
    fresh.rows.sums(sums)
    add_shared(sums, [(0, fresh.rows.counters)], [fresh.rows.shared()])
    assert different(sums.of, stored.of) == []


def test_read_models_are_looked_at_where_they_stand_at_one_moment(folded: Path) -> None:
    class Apart(Jobs):
        """As if a server had gone on between the first two openings."""

        def all(self, function: Any, each: Any) -> list[Any]:
            found = super().all(function, each)
            if len(found) > 1:
                moved = msgspec.structs.replace(found[1].position, position=1)
                found[1] = msgspec.structs.replace(found[1], position=moved, sums={})
            return found

    with Jobs(1) as jobs, Apart(1) as apart:
        assert EmbeddedRows(folded).look(apart, None) == EmbeddedRows(folded).look(jobs, None)
