"""The timer index: what is due is triggered, and again until a decision has moved the timer."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import Definition, DefinitionPatch, NoopTarget
from taskscheduler.domain.schedule import Every, OneTime, Schedule
from taskscheduler.domain.values import HOUR, MINUTE, SECOND
from taskscheduler.streams import window
from taskscheduler.streams.timers import Timers, Trigger
from tests.support.accepted import START, Decider
from tests.support.memory_tables import TimerRows


def create(schedule: Schedule) -> msg.Create:
    return msg.Create(Definition(name="t", schedule=schedule, target=NoopTarget()))


def at(instant: int) -> msg.Create:
    return create(OneTime(at=instant, kind="at"))


class Clockwork:
    """Timers that follow a decider."""

    def __init__(self) -> None:
        self.table = TimerRows()
        self.timers = Timers(self.table)
        self.decider = Decider(self.timers)
        self.sooner = 0
        self.timers.changed = self.count

    def count(self) -> None:
        self.sooner += 1

    def due(self, now: int, limit: int = 100) -> list[str]:
        return [trigger.task_id for trigger in self.timers.due(now, limit)]


def test_what_is_due_is_triggered_once_the_earliest_first() -> None:
    clockwork = Clockwork()
    for name, minutes in (("c", 3), ("a", 1), ("b", 2)):
        clockwork.decider.do(at(START + minutes * MINUTE), name)
    assert clockwork.timers.next_due() == START + MINUTE
    assert clockwork.timers.due(START + 2 * MINUTE, 100) == [
        Trigger("a", 1, START + MINUTE),
        Trigger("b", 1, START + 2 * MINUTE),
    ]
    assert clockwork.due(START + 2 * MINUTE) == []
    assert clockwork.timers.next_due() == START + 2 * MINUTE + 30 * SECOND
    assert clockwork.timers.unanswered == 2


def test_no_more_than_asked_for_are_given() -> None:
    clockwork = Clockwork()
    for number in range(5):
        clockwork.decider.do(at(START), f"t{number}")
    assert [clockwork.due(START, 2) for _ in range(4)] == [["t0", "t1"], ["t2", "t3"], ["t4"], []]


def test_a_trigger_is_repeated_ever_more_slowly_until_a_decision_moves_the_timer() -> None:
    clockwork = Clockwork()
    clockwork.decider.do(create(Every(every=HOUR, anchor=0)))
    now, given = START + HOUR, []
    for _ in range(8):
        assert clockwork.due(now - 1) == []
        assert clockwork.due(now) == ["a"]
        given.append(now - START - HOUR)
        following = clockwork.timers.next_due()
        assert following is not None
        now = following
    waits = [(b - a) // SECOND for a, b in pairwise(given)]
    assert waits == [30, 60, 120, 240, 480, 600, 600]
    clockwork.decider.do(msg.Wake(), now=now)
    assert clockwork.timers.unanswered == 0
    assert clockwork.due(now + HOUR - 1 - (now - START) % HOUR) == []
    assert clockwork.timers.next_due() == clockwork.decider.wakeups["a"]


def test_another_decision_may_answer_a_trigger() -> None:
    clockwork = Clockwork()
    clockwork.decider.do(create(Every(every=HOUR, anchor=0)))
    assert clockwork.due(START + HOUR) == ["a"]
    clockwork.decider.do(msg.Pause(), now=START + HOUR)
    assert clockwork.timers.unanswered == 0
    assert clockwork.timers.next_due() is None or clockwork.due(START + 2 * HOUR) == []


def test_a_timer_that_is_set_again_to_the_same_instant_is_given_once() -> None:
    clockwork = Clockwork()
    clockwork.decider.do(at(START + HOUR))
    for name in ("x", "y", "z"):
        clockwork.decider.do(msg.Update(DefinitionPatch(name=name)))
    assert clockwork.timers.due(START + HOUR, 100) == [Trigger("a", 4, START + HOUR)]
    assert clockwork.due(START + HOUR) == []


def test_a_change_that_leaves_the_timer_keeps_the_repetition() -> None:
    clockwork = Clockwork()
    clockwork.decider.do(at(START + HOUR))
    assert clockwork.due(START + HOUR) == ["a"]
    clockwork.decider.do(msg.Update(DefinitionPatch(name="x")), now=START + HOUR - 1)
    assert clockwork.due(START + HOUR) == []
    assert clockwork.timers.due(START + HOUR + 30 * SECOND, 9) == [Trigger("a", 2, START + HOUR)]


def test_a_timer_that_went_away_gives_nothing() -> None:
    clockwork = Clockwork()
    clockwork.decider.do(at(START + HOUR))
    clockwork.decider.do(msg.Cancel())
    assert clockwork.due(START + HOUR) == []


def test_an_earlier_timer_is_told_and_a_later_one_is_not() -> None:
    clockwork = Clockwork()
    clockwork.decider.do(at(START + 2 * HOUR), "a")
    clockwork.decider.do(at(START + 3 * HOUR), "b")
    assert clockwork.sooner == 1
    clockwork.decider.do(at(START + HOUR), "c")
    assert clockwork.sooner == 2


def test_timers_go_on_from_their_table() -> None:
    clockwork = Clockwork()
    clockwork.decider.do(at(START), "a")
    assert clockwork.due(START) == ["a"]
    again = Timers(clockwork.table)
    assert [trigger.task_id for trigger in again.due(START, 9)] == ["a"]


def test_a_timer_that_is_set_again_and_again_is_not_lost_at_the_edge_of_the_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(window, "SIZE", 2)
    clockwork = Clockwork()
    for name in ("a", "b", "c"):
        clockwork.decider.do(at(START + MINUTE), name)
    # None of these moves a timer, but each sets it again: far more rows than the window may hold.
    for name in ("a", "a", "a", "b", "b", "c", "b", "c"):
        clockwork.decider.do(msg.Trigger(), name)
    given = [name for _ in range(3) for name in clockwork.due(START + MINUTE, 1)]
    assert given == ["a", "b", "c"]
    assert clockwork.due(START + MINUTE) == []


def test_the_backlog_is_counted_up_to_a_limit() -> None:
    clockwork = Clockwork()
    for number in range(5):
        clockwork.decider.do(at(START + number), f"t{number}")
    assert clockwork.timers.backlog(START + 2, 100) == 3
    assert clockwork.timers.backlog(START + 9, 4) == 4


@pytest.mark.parametrize("seed", range(5))
def test_more_timers_than_the_window_holds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timers come, move and go in any order; each is given when it is due, in order, none twice and none lost."""
    monkeypatch.setattr(window, "SIZE", 8)
    chance = random.Random(seed)
    clockwork = Clockwork()
    due: dict[str, int] = {}
    now = START
    for number in range(600):
        name = f"t{number}" if chance.random() < 0.7 or not due else chance.choice(sorted(due))
        instant = now + chance.randrange(1, 5_000)
        if name in due:
            clockwork.decider.do(msg.Update(DefinitionPatch(schedule=OneTime(at=instant, kind="at"))), name, now)
        else:
            clockwork.decider.do(at(instant), name, now)
        due[name] = instant
        if chance.random() < 0.2:
            now += chance.randrange(2_000)
            expected = sorted((instant, name) for name, instant in due.items() if instant <= now)
            assert clockwork.due(now, 10_000) == [name for _, name in expected]
            for _, name in expected:
                del due[name]
                clockwork.decider.do(msg.Wake(), name, now)
    assert clockwork.due(now + 10_000, 10_000) == [name for _, name in sorted((i, n) for n, i in due.items())]
    assert clockwork.table.reads > 3
