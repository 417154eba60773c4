"""Operations over many tasks: page by page, each once, and left alone what is not meant any more."""

from __future__ import annotations

import pytest

from taskscheduler.domain import errors
from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.decided import Decided
from taskscheduler.domain.decision import apply
from taskscheduler.domain.operation import Operation, decide, operation_id, wakeup
from taskscheduler.domain.operation_definition import OperationDefinition, Selection
from tests.domain.scenario import HOURLY, START, created, one_time

PAUSE = OperationDefinition("pause", Selection(tags={"team": "a"}))


class Story:
    def __init__(self) -> None:
        self.state = Operation(operation_id("o"))
        self.now = START

    def when(self, command: msg.Command, key: str | None = None) -> Decided:
        self.now += 1
        context = msg.Context(self.now, 1, "ada", None if key is None else msg.Key(key, ""))
        decided = decide(self.state, command, context, msg.Policy())
        if decided.events:
            self.state = apply(self.state, decided.events, self.now)
        return decided


def started() -> Story:
    story = Story()
    story.when(msg.StartOperation(PAUSE))
    return story


def tags(decided: Decided) -> list[str]:
    return [ev.tag_of(event).split(".")[1] for event in decided.events]


def test_it_goes_page_by_page_and_ends() -> None:
    story = started()
    assert tags(story.when(msg.PickPage(1, ("a", "b"), "more"))) == ["picked"]
    assert tags(story.when(msg.PickPage(1, ("x",), None))) == []
    assert tags(story.when(msg.PickPage(2, ("x",), None))) == [], "not before it is known what became of the first"
    refused = {"deleted": 1}
    assert tags(story.when(msg.Advance(1, 1, 0, refused, {"deleted": "b: gone"}))) == ["advanced"]
    assert tags(story.when(msg.Advance(1, 1, 0, refused))) == []
    assert tags(story.when(msg.PickPage(2, (), "further"))) == ["picked"], "a page may be empty"
    assert tags(story.when(msg.PickPage(3, ("c",), None))) == ["picked"]
    assert tags(story.when(msg.Advance(3, 0, 1, {"deleted": 1}, {"deleted": "c: gone"}))) == ["advanced", "ended"]
    state = story.state
    assert (state.status, state.picked, state.changed, state.unchanged, state.refused) == (
        "completed",
        3,
        1,
        1,
        {"deleted": 2},
    )
    assert state.examples == {"deleted": "b: gone"}


def test_where_nothing_matches_it_ends_at_once() -> None:
    story = started()
    assert tags(story.when(msg.PickPage(1, (), None))) == ["picked", "ended"]
    assert story.state.status == "completed"


def test_a_cancelled_one_ends_when_its_page_is_done() -> None:
    story = started()
    story.when(msg.PickPage(1, ("a",), "more"))
    assert tags(story.when(msg.CancelOperation())) == ["cancelled"]
    assert tags(story.when(msg.CancelOperation())) == []
    assert story.state.status == "running"
    assert tags(story.when(msg.Advance(1, 1))) == ["advanced", "ended"]
    assert story.state.status == "cancelled"
    with pytest.raises(errors.WrongState):
        story.when(msg.CancelOperation())
    early = started()
    assert tags(early.when(msg.CancelOperation())) == ["cancelled", "ended"]


def test_it_is_forgotten_and_its_version_goes_on() -> None:
    story = started()
    with pytest.raises(errors.WrongState):
        story.when(msg.StartOperation(PAUSE))
    story.when(msg.PickPage(1, (), None))
    due = wakeup(story.state)
    assert due is not None and tags(story.when(msg.Wake())) == []
    story.now = due
    version = story.state.version
    assert tags(story.when(msg.Wake())) == ["forgotten"]
    assert (story.state.exists, story.state.version, wakeup(story.state)) == (False, version + 1, None)
    with pytest.raises(errors.OperationNotFound):
        story.when(msg.CancelOperation())


def test_a_key_starts_one_operation() -> None:
    story = Story()
    story.when(msg.StartOperation(PAUSE), "k")
    again = story.when(msg.StartOperation(PAUSE), "k")
    assert again.replayed is not None and not again.events


@pytest.mark.parametrize(
    ("selection", "meant"),
    [
        (Selection(), True),
        (Selection("scheduled", "NIGHT", {"team": "a"}, START + 7_200_000, ("b", "a")), True),
        (Selection("paused"), False),
        (Selection(name_contains="day"), False),
        (Selection(tags={"team": "b"}), False),
        (Selection(tags={"none": "a"}), False),
        (Selection(due_before=START), False),
        (Selection(ids=("b",)), False),
    ],
)
def test_the_decision_asks_whether_the_task_is_meant(selection: Selection, meant: bool) -> None:
    task = created(HOURLY, name="Nightly", tags={"team": "a"})
    asked = msg.Selected(selection, START, msg.Cancel())
    if meant:
        task.when(asked).then("cancelled")
    else:
        task.when(asked).refused(errors.NotSelected)


def test_what_was_made_later_is_left_alone() -> None:
    created(HOURLY).when(msg.Selected(Selection(), START - 1, msg.Cancel())).refused(errors.NotSelected)


def test_what_is_due_is_settled_before_it_is_asked() -> None:
    task = created(one_time("1:00"))
    task.when(msg.Selected(Selection("scheduled"), START, msg.Pause()), "1:00").refused(errors.NotSelected)


def test_each_hears_it_once() -> None:
    task = created(HOURLY)
    asked = msg.Selected(Selection("scheduled"), START, msg.Trigger())
    assert len(task.when(asked, key="o", body="o").events()) == 2
    task.when(asked, key="o", body="o").then()
    assert task.decided is not None and task.decided.replayed is not None


def test_tags_are_set_and_taken_off() -> None:
    task = created(HOURLY, tags={"a": "1", "b": "2"})
    task.when(msg.Retag(set={"b": "3", "c": "4"}, remove=("a", "z")))
    assert task.task.definition is not None
    assert (task.task.definition.tags, task.task.revision) == ({"b": "3", "c": "4"}, 2)
    task.when(msg.Retag(set={"c": "4"})).then()
    task.when(msg.Retag(set={str(number): "" for number in range(15)})).refused(errors.WrongState)
