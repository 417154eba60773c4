"""Unique keys: who holds one, what becomes of it when its task ends or was never made, and who has to make way."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taskscheduler.domain import errors
from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.decided import Decided
from taskscheduler.domain.decision import apply
from taskscheduler.domain.definition import Definition, NoopTarget, OnConflict, Uniqueness
from taskscheduler.domain.entities import Entity, empty, rules_of
from taskscheduler.domain.schedule import OneTime
from taskscheduler.domain.state import Task
from taskscheduler.domain.steps import Told
from taskscheduler.domain.unique import GRACE, MOST_KEYS, Unique, unique_id
from tests.domain.scenario import HOUR, START

KEY = "report"
STREAM = unique_id(KEY)
LATER = OneTime(at=START + 1_000 * HOUR, kind="at")


class World:
    """Tasks and a key, with the steps that are on the way between them."""

    def __init__(self) -> None:
        self.now = START
        self.states: dict[str, Entity] = {}
        self.steps: dict[tuple[str, str], list[Told]] = {}
        self._seeds = count(1)

    def state(self, id: str) -> Entity:
        return self.states.get(id) or empty(id)

    def task(self, id: str) -> Task:
        task = self.state(id)
        assert isinstance(task, Task)
        return task

    @property
    def unique(self) -> Unique:
        unique = self.state(STREAM)
        assert isinstance(unique, Unique)
        return unique

    def do(self, id: str, command: msg.Command, key: msg.Key | None = None) -> Decided:
        rules = rules_of(id)
        decided = rules.decide(self.state(id), command, msg.Context(self.now, next(self._seeds), key=key), msg.Policy())
        if decided.events:
            self.states[id] = apply(self.state(id), decided.events, self.now)
        for event in decided.events:
            if isinstance(event, ev.StepsMade):
                for to in event.to:
                    self.steps.setdefault((id, to), []).append(Told(event.number, event.step))
            elif isinstance(event, ev.StepsTaken):
                for to, number in event.up_to.items():
                    left = [told for told in self.steps.get((id, to), ()) if told.number > number]
                    self.steps[id, to] = left
        return decided

    def reserve(
        self, task_id: str, on_conflict: OnConflict = "reject", period: int | None = None, key: msg.Key | None = None
    ) -> str | None:
        """Who holds the key then."""
        self.do(STREAM, msg.Reserve(task_id, Uniqueness(KEY, period, on_conflict)), key)
        return self.unique.holder

    def create(self, task_id: str, period: int | None = None) -> None:
        unique = Uniqueness(KEY, period)
        self.do(task_id, msg.Create(Definition(name="t", schedule=LATER, target=NoopTarget(), unique=unique)))

    def make(self, task_id: str, on_conflict: OnConflict = "reject", period: int | None = None) -> bool:
        """As the API does: reserve, cancel whose place is taken, create."""
        try:
            if self.reserve(task_id, on_conflict, period) != task_id:
                return False
        except errors.NotUnique:
            return False
        self.carry(STREAM)
        self.create(task_id, period)
        self.carry(task_id)
        return True

    def carry(self, sender: str) -> None:
        """Carry out what waits of the sender."""
        for (of, to), told in list(self.steps.items()):
            if of != sender or not told:
                continue
            last, refused = told[-1].number, {}
            try:
                self.do(to, msg.Hear(of, tuple(told)))
            except errors.DomainError as error:
                refused = {to: error.detail}
            self.do(of, msg.Taken({to: last}, refused))

    def settle(self) -> None:
        """Until nothing is on the way."""
        while any(self.steps.values()):
            for sender, _ in list(self.steps):
                self.carry(sender)

    def live(self) -> Iterator[str]:
        """The tasks with the key that are there and have not ended."""
        for id, state in self.states.items():
            if isinstance(state, Task) and state.exists and state.cancelled_at is None:
                yield id


@pytest.fixture
def world() -> World:
    return World()


def test_the_first_has_the_key_and_a_second_is_refused(world: World) -> None:
    assert world.make("a")
    with pytest.raises(errors.NotUnique) as refused:
        world.reserve("b")
    assert refused.value.holder == "a"
    assert world.unique.check_at is None, "it has said that it is there"
    assert not any(world.steps.values())


@pytest.mark.parametrize("end", [msg.Cancel(), msg.Delete()])
def test_it_is_given_back_when_its_task_ends(world: World, end: msg.Command) -> None:
    world.make("a")
    world.do("a", end)
    assert not world.make("b"), "its word is still on the way"
    world.settle()
    assert world.make("b")
    assert world.unique.holder == "b"


def test_it_is_given_back_by_one_that_completes_or_fails(world: World) -> None:
    for task_id, ok in (("a", True), ("b", False)):
        world.make(task_id)
        world.do(task_id, msg.Trigger())
        run = next(iter(world.task(task_id).runs.values()))
        world.do(task_id, msg.Update(definition_patch()))
        world.do(task_id, msg.Claim(run.id, "w", "t", HOUR))
        done = msg.Complete(run.id, 1, "t") if ok else msg.Fail(run.id, 1, "t", ev.Error("E", "why"), retryable=False)
        world.do(task_id, done)
        for other in list(world.task(task_id).runs.values()):
            world.do(task_id, msg.Claim(other.id, "w", "u", HOUR))
            world.do(task_id, msg.Complete(other.id, 1, "u"))
        assert world.task(task_id).status in ("completed", "failed")
        world.settle()
        assert world.unique.holder is None


def definition_patch() -> object:
    from taskscheduler.domain.definition import DefinitionPatch

    return DefinitionPatch(schedule=OneTime(at=0))


def test_a_reservation_without_a_task_is_freed_after_a_while(world: World) -> None:
    world.reserve("a")
    assert world.unique.check_at == START + GRACE
    world.now += GRACE
    world.do(STREAM, msg.Wake())
    assert world.unique.check_at is None
    assert world.unique.holder == "a", "it is asked first"
    world.settle()
    assert world.unique.holder is None
    assert world.make("b")


def test_a_task_whose_word_is_late_keeps_its_key(world: World) -> None:
    world.reserve("a")
    world.create("a")
    world.now += GRACE
    world.do(STREAM, msg.Wake())
    world.settle()
    assert (world.unique.holder, world.unique.asked) == ("a", False)
    assert world.task("a").cancelled_at is None


def test_a_task_that_is_made_too_late_makes_way(world: World) -> None:
    world.reserve("a")
    world.now += GRACE
    world.do(STREAM, msg.Wake())
    world.settle()
    world.make("b")
    world.create("a")
    world.settle()
    assert list(world.live()) == ["b"]
    assert world.unique.holder == "b"


def test_one_that_is_made_too_late_has_the_key_if_nobody_else_has(world: World) -> None:
    world.reserve("a")
    world.now += GRACE
    world.do(STREAM, msg.Wake())
    world.settle()
    world.create("a")
    world.settle()
    assert world.unique.holder == "a"
    assert not world.make("b")


def test_an_answer_to_an_earlier_question_frees_nothing(world: World) -> None:
    world.reserve("a")
    world.now += GRACE
    world.do(STREAM, msg.Wake())
    world.reserve("a")
    world.settle()
    assert world.unique.holder == "a"


def test_one_takes_the_place_of_another(world: World) -> None:
    world.make("a")
    world.do("a", msg.Trigger())
    assert world.make("b", "replace")
    assert list(world.live()) == ["b"]
    assert (world.task("a").status, world.task("a").runs) == ("cancelled", {})
    world.settle()
    assert world.unique.holder == "b"
    assert not world.make("c")


def test_who_is_to_make_way_before_it_was_made_does_so_after(world: World) -> None:
    world.reserve("a")
    assert world.make("b", "replace")
    world.create("a")
    world.settle()
    assert list(world.live()) == ["b"]


def test_who_is_patient_takes_no_place_of_one_that_is_just_being_made(world: World) -> None:
    wants = msg.Reserve("b", Uniqueness(KEY, None, "replace"), patient=True)
    world.reserve("a")
    with pytest.raises(errors.BeingMade):
        world.do(STREAM, wants)
    world.create("a")
    world.settle()
    world.do(STREAM, wants)
    world.settle()
    assert (world.unique.holder, list(world.live())) == ("b", [])


def test_for_a_period_it_is_held_although_the_task_has_ended_and_no_longer(world: World) -> None:
    world.make("a", period=HOUR)
    world.do("a", msg.Cancel())
    world.settle()
    assert not world.make("b")
    world.now += HOUR - 1
    assert not world.make("b")
    world.now += 1
    assert world.make("b", period=HOUR)
    assert world.unique.until == world.now + HOUR


def test_a_question_is_not_answered_by_a_task_without_the_key(world: World) -> None:
    world.reserve("a")
    world.do("a", msg.Create(Definition(name="t", schedule=LATER, target=NoopTarget())))
    world.now += GRACE
    world.do(STREAM, msg.Wake())
    world.settle()
    assert world.unique.holder is None


def test_a_request_is_answered_the_same_again(world: World) -> None:
    world.make("a")
    key = msg.Key("k", "f")
    assert world.reserve("b", "return_existing", key=key) == "a"
    world.do("a", msg.Cancel())
    world.settle()
    again = world.do(STREAM, msg.Reserve("b", Uniqueness(KEY, None, "return_existing")), key)
    assert again.replayed is not None
    assert (again.replayed.task_id, world.unique.holder) == ("a", None)
    with pytest.raises(errors.KeyReused):
        world.do(STREAM, msg.Reserve("b", Uniqueness(KEY)), msg.Key("k", "other"))


def test_no_more_requests_are_remembered_than_there_is_room_for(world: World) -> None:
    world.make("a")
    for number in range(MOST_KEYS + 5):
        world.reserve("b", "return_existing", key=msg.Key(f"k{number}", "f"))
    assert list(world.unique.keys) == [f"k{number}" for number in range(5, MOST_KEYS + 5)]


def test_nothing_else_can_be_asked_of_a_key(world: World) -> None:
    with pytest.raises(errors.WrongState):
        world.do(STREAM, msg.Cancel())
    assert world.do(STREAM, msg.Wake()).events == ()
    assert world.do(STREAM, msg.Taken({"a": 1})).events == ()


MOVES = st.lists(st.tuples(st.sampled_from("mrcxdwgs"), st.sampled_from("abcd"), st.booleans()), max_size=40)


@given(MOVES)
@example([("c", "d", True), ("m", "d", False), ("g", "a", True), ("w", "a", True), ("m", "d", True), ("r", "a", True)])
@settings(max_examples=200, deadline=None)
def test_whatever_happens_in_between_one_task_is_left(moves: list[tuple[str, str, bool]]) -> None:
    world = World()
    for move, task_id, flag in moves:
        world.now += 1
        try:
            match move:
                case "m":
                    world.make(task_id, "replace" if flag else "reject")
                case "r":
                    world.reserve(task_id, "replace" if flag else "return_existing")
                case "c":
                    world.create(task_id)
                case "x":
                    world.do(task_id, msg.Cancel())
                case "d":
                    world.do(task_id, msg.Delete())
                case "w":
                    world.do(STREAM, msg.Wake())
                    assert world.unique.check_at is None or world.unique.check_at > world.now
                case "g":
                    world.now += GRACE
                case _:
                    world.carry(STREAM if flag else task_id)
        except errors.DomainError:
            pass
    world.settle()
    live = list(world.live())
    assert len(live) <= 1
    assert world.unique.holder == live[0] if live else world.unique.holder is None or world.unique.check_at is not None
