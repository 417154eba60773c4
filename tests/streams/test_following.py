"""Tasks follow the calendars that they use, in whatever order their records and those of the calendars come."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path

import pytest

from taskscheduler.commands.handler import Answer, Ask, Unavailable
from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.calendar import Calendar, calendar_id
from taskscheduler.domain.calendar_definition import CalendarDefinition, ResolvedDays
from taskscheduler.domain.decision import AcceptedOther, Record, apply
from taskscheduler.domain.definition import Definition, DefinitionPatch, NoopTarget
from taskscheduler.domain.excluded import ExceptCalendar
from taskscheduler.domain.schedule import Cron
from taskscheduler.domain.state import Task
from taskscheduler.streams import following as module
from taskscheduler.streams.calendar_uses import CalendarUses, Use
from taskscheduler.streams.following import Following
from taskscheduler.streams.looking import LOOK
from taskscheduler.streams.rocksdb.buffer import Buffer
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.use_table import FAMILY, RocksUseTable
from tests.support.accepted import START, Decider
from tests.support.memory_log import MemoryLog
from tests.support.memory_tables import UseRows
from tests.support.node import Node
from tests.support.virtual_time import virtual

NAME = "holidays"
CALENDAR = calendar_id(NAME)


def schedule(*calendars: ExceptCalendar) -> Cron:
    return Cron("0 0 1 1 *", excluded=calendars)


def create(*calendars: ExceptCalendar) -> msg.Create:
    return msg.Create(Definition(name="t", schedule=schedule(*calendars), target=NoopTarget()))


def define(*days: str) -> msg.DefineCalendar:
    return msg.DefineCalendar(CalendarDefinition(dates=days), ResolvedDays(days, len(days)))


def version(number: int, *days: str, name: str = NAME) -> ExceptCalendar:
    return ExceptCalendar(name, number, days)


def held(task: Task) -> list[ExceptCalendar]:
    assert task.definition is not None
    return list(task.definition.schedule.excluded)  # type: ignore[arg-type]


class TestUses:
    """The index, over both tables."""

    @pytest.fixture(params=["memory", "rocksdb"])
    def uses(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CalendarUses]:
        if request.param == "memory":
            yield CalendarUses(UseRows())
            return
        with Database(tmp_path / "uses", [FAMILY]) as database:
            yield CalendarUses(RocksUseTable(Buffer(database)))

    def test_it_follows_the_definitions_of_tasks(self, uses: CalendarUses) -> None:
        decider = Decider(uses)
        decider.do(create(version(3), version(1, name="z")), "b")
        decider.do(create(version(2)), "a")
        decider.do(create(version(9, name="holidays2")), "c")
        decider.do(create(), "d")
        assert uses.of(NAME) == [Use("a", 2), Use("b", 3)]
        assert uses.of("z") == [Use("b", 1)]
        assert uses.calendars() == ["holidays", "holidays2", "z"]
        assert uses.of(NAME, "a") == [Use("b", 3)]
        assert uses.of(NAME, limit=1) == [Use("a", 2)]
        decider.do(msg.Update(DefinitionPatch(schedule=schedule(version(1, name="z")))), "b")
        decider.do(msg.Follow(version(4)), "a")
        assert (uses.of(NAME), uses.of("z")) == ([Use("a", 4)], [Use("b", 1)])
        decider.do(msg.Cancel(), "a")
        decider.do(msg.Delete(), "b")
        assert uses.calendars() == ["holidays2"]

    def test_it_says_what_was_defined_and_what_is_used(self, uses: CalendarUses) -> None:
        said: list[object] = []
        uses.defined = said.append
        uses.used = lambda *use: said.append(use)
        decider = Decider(uses)
        decider.do(create(version(3)))
        decider.do(msg.Pause())
        assert said == [(NAME, 3)]
        before = Calendar(CALENDAR)
        events = (ev.CalendarDefined(1, CalendarDefinition(), ResolvedDays((), 0)),)
        record = Record(stream=CALENDAR, record_id="r", expected_version=0, recorded_at=1, events=events)
        uses.apply([AcceptedOther(0, 9, 1, record, before, apply(before, events, 1))])
        assert said == [(NAME, 3), NAME]


async def settled(node: Node) -> None:
    """Returns when nothing is left to follow: virtual time passes over whatever waits."""
    await asyncio.sleep(2 * LOOK)
    await node.handler.drain()


@virtual
async def test_every_task_that_uses_it_follows_a_calendar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    log = MemoryLog(lambda: START)
    node = Node(tmp_path, log, lambda: START)
    await node.start()
    await node.do(define("2026-12-25"), CALENDAR)
    for name in "abcde":
        await node.do(create(version(1, "2026-12-25")), name)
    await node.do(create(version(1, name="other")), "f")
    await node.do(define("2026-12-25", "2027-01-01"), CALENDAR)
    await settled(node)
    for name in "abcde":
        assert held(node.state(name)) == [version(2, "2026-12-25", "2027-01-01")]
        assert (node.state(name).revision, node.state(name).version) == (1, 2)
    assert node.state("f").version == 1
    followed = [record for record in log.records if isinstance(record.events[0], ev.CalendarFollowed)]
    assert {(record.actor, record.cause) for record in followed} == {("scheduler", "calendar/holidays@2")}
    await node.stop()


@virtual
@pytest.mark.parametrize("first", ["task", "calendar"])
async def test_a_task_that_is_made_while_the_calendar_changes_ends_with_the_new_days(
    tmp_path: Path, first: str
) -> None:
    node = Node(tmp_path, MemoryLog(lambda: START), lambda: START)
    await node.start()
    await node.do(define("2026-12-25"), CALENDAR)
    # Both were decided before either was on the log: the task with the days as they were.
    made = asyncio.ensure_future(node.do(create(version(1, "2026-12-25"))))
    if first == "task":
        await made
    await node.do(define("2027-01-01"), CALENDAR)
    await made
    await settled(node)
    assert held(node.state()) == [version(2, "2027-01-01")]
    await node.do(msg.Update(DefinitionPatch(schedule=schedule(version(1, "2026-12-25")))))
    await settled(node)
    assert held(node.state()) == [version(2, "2027-01-01")]
    await node.stop()


@virtual
async def test_what_a_process_left_undone_is_done_by_the_next(tmp_path: Path) -> None:
    log = MemoryLog(lambda: START)
    node = Node(tmp_path, log, lambda: START)
    await node.start(work=False)
    await node.do(define("2026-12-25"), CALENDAR)
    await node.do(create(version(1, "2026-12-25")))
    await node.do(define("2027-01-01"), CALENDAR)
    await node.crash()
    node = Node(tmp_path, log, lambda: START, name="again")
    await node.start()
    await settled(node)
    assert held(node.state()) == [version(2, "2027-01-01")]
    await node.stop()


@virtual
async def test_a_calendar_that_was_deleted_leaves_its_days_and_is_followed_again_when_it_is_made_again(
    tmp_path: Path,
) -> None:
    node = Node(tmp_path, MemoryLog(lambda: START), lambda: START)
    await node.start()
    await node.do(define("2026-12-25"), CALENDAR)
    await node.do(create(version(1, "2026-12-25")))
    await node.do(msg.DeleteCalendar(), CALENDAR)
    await settled(node)
    assert held(node.state()) == [version(1, "2026-12-25")]
    await node.do(define("2027-01-01"), CALENDAR)
    await settled(node)
    assert held(node.state()) == [version(3, "2027-01-01")]
    await node.stop()


@virtual
async def test_what_could_not_be_decided_is_tried_again(tmp_path: Path) -> None:
    log = MemoryLog(lambda: START)
    node = Node(tmp_path, log, lambda: START, timeout=1.0)
    await node.start()
    await node.do(define("2026-12-25"), CALENDAR)
    await node.do(create(version(1, "2026-12-25")))
    log.failing = {log.appends + 2, log.appends + 3}
    await node.do(define("2027-01-01"), CALENDAR)
    await settled(node)
    assert held(node.state()) == [version(2, "2027-01-01")]
    await node.stop()


class _Reader:
    """One reader of a log of two partitions: tasks in 0, the calendar in 1. It may fold them in any order."""

    def __init__(self) -> None:
        self.uses = {0: CalendarUses(UseRows()), 1: CalendarUses(UseRows())}
        self.tasks = Decider(self.uses[0])
        self.state = Calendar(CALENDAR)
        self.asked: list[tuple[str, int]] = []
        self.mine: tuple[int, ...] = (0, 1)
        self.following = Following(self.uses, self, lambda: self.mine)  # type: ignore[arg-type]

    def calendar(self, name: str) -> Calendar:
        return self.state

    async def handle_many(self, asks: Sequence[Ask]) -> list[Answer]:
        for ask in asks:
            assert isinstance(ask.command, msg.Follow)
            self.asked.append((ask.task_id, ask.command.calendar.version))
            self.tasks.do(ask.command, ask.task_id)
        return [Unavailable("", "none")] * 0

    def define(self) -> None:
        before, number = self.state, self.state.version
        events = (ev.CalendarDefined(1, CalendarDefinition(), ResolvedDays((f"{2026 + number}-01-01",), 1)),)
        record = Record(stream=CALENDAR, record_id=f"c{number}", expected_version=number, recorded_at=1, events=events)
        self.state = apply(before, events, 1)
        self.uses[1].apply([AcceptedOther(1, number + 1, 1, record, before, self.state)])


_ORDERS = sorted(set(permutations(["define", "define", "make a", "make b", "look"])))


@virtual
@pytest.mark.parametrize("order", _ORDERS, ids=[" ".join(word[0] + word[-1] for word in order) for order in _ORDERS])
async def test_in_whatever_order_two_partitions_are_folded_all_tasks_end_with_the_newest_days(
    order: tuple[str, ...],
) -> None:
    reader = _Reader()
    running = asyncio.ensure_future(reader.following.run())
    for word in order:
        match word.split():
            case ["define"]:
                reader.define()
            case ["make", name]:
                # Made by an instance that knew of the first version only.
                reader.tasks.do(create(version(1, "2026-01-01")), name)
            case _:
                await asyncio.sleep(2 * LOOK)
    await asyncio.sleep(2 * LOOK)
    for name in "ab":
        assert held(reader.tasks.tasks[name]) == [version(2, "2027-01-01")]
    assert sorted(reader.asked) == [("a", 2), ("b", 2)], "once each"
    running.cancel()


@virtual
async def test_partitions_that_come_to_a_process_are_looked_at_whole() -> None:
    reader = _Reader()
    reader.mine = (1,)
    running = asyncio.ensure_future(reader.following.run())
    reader.tasks.do(create(version(1)), "a")
    reader.define()
    reader.define()
    await asyncio.sleep(2 * LOOK)
    assert reader.asked == []
    reader.mine = (0, 1)
    await asyncio.sleep(2 * LOOK)
    assert reader.asked == [("a", 2)]
    running.cancel()
