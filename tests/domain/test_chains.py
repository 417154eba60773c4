"""Chains: what the end of a run sets off, what its followers make of it, and how both know of each other."""

from __future__ import annotations

import pytest

from taskscheduler.domain import chains
from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.chain_graph import circle_of
from taskscheduler.domain.definition import After, Definition, DefinitionPatch
from taskscheduler.domain.errors import TaskGone, TaskNotFound, WrongState
from taskscheduler.domain.schedule import Manual
from taskscheduler.domain.state import Task
from taskscheduler.domain.steps import Link, RunEnded, Told
from tests.domain.scenario import DAY, Scenario, created, define, given


def steps(scenario: Scenario) -> list[tuple[int, tuple[str, ...], object]]:
    """The steps that the last decision made."""
    assert scenario.decided is not None, scenario.refusal
    return [(e.number, e.to, e.step) for e in scenario.decided.events if isinstance(e, ev.StepsMade)]


def manual(**fields: object) -> Scenario:
    return created(Manual(), **fields)


def ended(
    number: int = 1, status: str = "succeeded", *, direct: bool = True, depth: int = 0, result: str | None = None
) -> Told:
    return Told(number, RunEnded(f"r{number}", status, 1, direct, depth), result)  # type: ignore[arg-type]


def hear(scenario: Scenario, sender: str, *told: Told) -> Scenario:
    return scenario.when(msg.Hear(sender, told), actor="scheduler")


def run_once(scenario: Scenario, how: str) -> Scenario:
    scenario.when(msg.Trigger()).claim()
    match how:
        case "succeeded":
            return scenario.complete()
        case "failed":
            return scenario.fail(retryable=False)
        case _:
            return scenario.when(msg.Delete())


def test_a_manual_task_runs_when_asked_only() -> None:
    task = manual().then("created, next -").status("scheduled").wakes(None)
    task.when(msg.Trigger()).then("queued manual 0:00").claim().complete().status("scheduled")
    task.when(msg.Cancel()).status("cancelled")


@pytest.mark.parametrize(
    ("how", "to"),
    [
        ("succeeded", [(("b", "c"), True), (("s", "e"), False)]),
        ("failed", [(("f",), True), (("x", "e"), False)]),
        ("cancelled", [(("e",), False)]),
    ],
)
def test_an_end_goes_to_those_that_wait_for_it(how: str, to: list[tuple[tuple[str, ...], bool]]) -> None:
    task = manual(then=("b", "c"), on_failure=("f",))
    for other, kind in (("s", "after_success"), ("x", "after_failure"), ("e", "after_end"), ("up", "then")):
        hear(task, other, Told(1, Link((kind,))))  # type: ignore[arg-type]
    run_once(task, how)
    made = [(where, step.direct, step.status) for _, where, step in steps(task) if isinstance(step, RunEnded)]
    assert made == [(where, direct, how) for where, direct in to]


def test_an_attempt_that_is_tried_again_is_no_end() -> None:
    task = manual(then=("b",), on_failure=("b",)).when(msg.Trigger()).claim().fail()
    assert steps(task) == []


def test_a_run_that_nobody_claimed_in_time_has_failed() -> None:
    task = manual(on_failure=("f",), queue_timeout=1_000).when(msg.Trigger()).wake("0:01")
    assert [(to, step.status) for _, to, step in steps(task) if isinstance(step, RunEnded)] == [(("f",), "failed")]


def test_steps_are_numbered_and_wait_until_they_are_taken() -> None:
    task = manual(then=("b",), on_failure=("c",))
    assert steps(task) == [(1, ("b",), Link(("then",))), (2, ("c",), Link(("on_failure",)))]
    run_once(task, "succeeded")
    assert task.task.unsent == {"b": 3, "c": 2}
    task.when(msg.Taken({"b": 2, "c": 2}, {"c": "gone", "z": "never asked"}))
    assert task.decided is not None
    assert task.decided.events == (ev.StepsTaken(task.now, {"b": 2, "c": 2}, {"c": "gone"}),)
    assert task.task.unsent == {"b": 3}
    assert task.when(msg.Taken({"c": 2})).events() == []
    task.when(msg.Taken({"b": 3}))
    assert task.task.unsent == {}


def test_numbers_go_on_when_a_task_is_purged_and_made_again() -> None:
    task = manual(then=("b",)).when(msg.Delete())
    assert steps(task) == [(2, ("b",), Link())]
    task.wake(task.now + 31 * DAY)
    assert task.task.definition is None and task.task.unsent == {}
    task.when(msg.Create(define(Manual(), then=("b",))))
    assert steps(task) == [(3, ("b",), Link(("then",)))]


def test_links_follow_the_definition_until_the_task_ends() -> None:
    task = manual(after=After(("a", "b")), then=("c",))
    assert steps(task) == [(1, ("c",), Link(("then",))), (2, ("a", "b"), Link(("after_success",)))]
    task.when(msg.Update(DefinitionPatch(after=After(("b", "d"), "any", "end"))))
    assert steps(task) == [(3, ("a",), Link()), (4, ("b", "d"), Link(("after_end",)))]
    task.when(msg.Update(DefinitionPatch(name="n")))
    assert steps(task) == []
    task.when(msg.Pause())
    assert steps(task) == []
    task.when(msg.Cancel())
    assert steps(task) == [(5, ("c", "b", "d"), Link())]
    assert steps(task.when(msg.Delete())) == []


def test_what_is_heard_again_changes_nothing() -> None:
    task = manual()
    hear(task, "a", ended(1), ended(2)).then("heard", "queued chain 0:00", "heard", "queued chain 0:00")
    hear(task, "a", ended(1), ended(2)).then()
    hear(task, "a", ended(2), ended(3)).then("heard", "queued chain 0:00")
    hear(task, "b", ended(1)).then("heard", "queued chain 0:00")
    assert task.task.counts.fired == 4


def test_a_run_knows_what_it_follows() -> None:
    task = hear(manual(), "a", ended(7, result='{"n":1}', depth=3))
    run = task.run
    assert (run.cause, run.caused_by, run.depth, run.nominal_at) == ("chain", "a", 4, None)
    assert run.upstream == {"a": ev.Upstream("r7", "succeeded", 1, '{"n":1}', depth=3)}
    task.claim().fail(retryable=False).when(msg.Retry())
    assert (task.run.cause, task.run.caused_by, task.run.upstream) == ("retry", "a", run.upstream)


def test_all_waits_for_a_new_end_of_each() -> None:
    task = manual(after=After(("a", "b")))
    hear(task, "b", ended(1, direct=False, result="1")).then("heard")
    hear(task, "b", ended(2, direct=False, result="2")).then("heard")
    assert task.task.arrived["b"].run_id == "r2", "the newest counts"
    hear(task, "a", ended(5, direct=False, result="3")).then("heard", "queued chain 0:00")
    assert [(name, one.run_id, one.result) for name, one in task.run.upstream.items()] == [
        ("a", "r5", "3"),
        ("b", "r2", "2"),
    ]
    assert task.task.arrived == {}
    hear(task, "a", ended(6, direct=False)).then("heard")
    hear(task, "b", ended(3, direct=False)).then("heard", "queued chain 0:00")


def test_a_round_begins_anew_when_after_changes() -> None:
    task = manual(after=After(("a", "b")))
    hear(task, "a", ended(1, direct=False))
    task.when(msg.Update(DefinitionPatch(name="n")))
    assert task.task.arrived
    task.when(msg.Update(DefinitionPatch(after=After(("a", "c")))))
    assert task.task.arrived == {}


def test_who_names_a_task_does_not_count_for_what_it_waits_for() -> None:
    task = manual(after=After(("a", "b")))
    hear(task, "a", ended(1, direct=False)).then("heard")
    hear(task, "c", ended(1)).then("heard", "queued chain 0:00")
    assert set(task.task.arrived) == {"a"}


def test_any_runs_for_each() -> None:
    task = manual(after=After(("a", "b"), "any", "failure"))
    hear(task, "a", ended(1, "failed", direct=False)).then("heard", "queued chain 0:00")
    hear(task, "a", ended(2, "failed", direct=False)).then("heard", "queued chain 0:00")


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (ended(1, "failed", direct=False), "not_awaited"),
        (ended(1, "succeeded", depth=chains.MAX_DEPTH), "too_deep"),
    ],
)
def test_what_leads_to_nothing_is_told(told: Told, reason: str) -> None:
    task = hear(manual(after=After(("a",))), "a", told).then("heard")
    assert task.decided is not None
    event = task.decided.events[0]
    assert isinstance(event, ev.UpstreamHeard)
    assert (event.outcome, event.reason, event.row is not None) == ("ignored", reason, True)
    hear(task, "a", told).then()


def test_what_comes_in_a_pause_is_left_out() -> None:
    task = hear(manual().when(msg.Pause()), "a", ended(1)).then("heard")
    assert not task.task.runs
    hear(task.when(msg.Resume()), "a", ended(2)).then("heard", "queued chain 0:00")


def test_who_cannot_run_any_more_refuses() -> None:
    hear(given(), "a", ended()).refused(TaskNotFound)
    hear(manual().when(msg.Cancel()), "a", ended()).refused(WrongState)
    hear(manual().when(msg.Delete()), "a", ended()).refused(TaskGone)


def test_a_task_with_as_many_runs_as_it_may_hears_the_rest_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "MAX_ACTIVE_RUNS", 2)
    task = hear(manual(), "a", ended(1), ended(2), ended(3))
    assert (len(task.task.runs), task.task.heard) == (2, {"a": 2})
    hear(task, "a", ended(3)).then()
    task.claim().complete()
    hear(task, "a", ended(3)).then("heard", "queued chain 0:00")


def test_results_that_are_too_much_are_left_out() -> None:
    half = '"' + "x" * (chains.MOST_HANDED_ON // 2) + '"'
    task = manual(after=After(("a", "b", "c")))
    hear(task, "a", ended(1, direct=False, result=half))
    hear(task, "b", ended(1, direct=False, result=half))
    hear(task, "c", ended(1, direct=False, result="1"))
    assert [(run.result is None, run.left_out) for run in task.run.upstream.values()] == [
        (False, False),
        (True, True),
        (False, False),
    ]


def test_circles_are_found() -> None:
    tasks = {
        "a": Task("a", definition=define(then=("b",)), links={"c": ("after_success",), "z": ("then",)}),
        "b": Task("b", definition=define(on_failure=("d",))),
        "c": Task("c", definition=define()),
        "d": Task("d", definition=define(then=("gone",)), cancelled_at=None),
        "off": Task("off", definition=define(then=("a",)), cancelled_at=1),
    }

    def circle(task_id: str, definition: Definition) -> list[str] | None:
        return circle_of(task_id, definition, lambda other: tasks.get(other, Task(other)))

    assert circle("x", define(then=("a",))) is None
    assert circle("x", define(then=("x",))) == ["x", "x"]
    assert circle("x", define(after=After(("x",)))) == ["x", "x"]
    assert circle("x", define(then=("a",), after=After(("d",)))) == ["x", "a", "b", "d", "x"]
    assert circle("x", define(on_failure=("a",), after=After(("c",)))) == ["x", "a", "c", "x"]
    assert circle("d", define(then=("a",))) == ["d", "a", "b", "d"]
    assert circle("c", define(then=("a",))) == ["c", "a", "c"]
    assert circle("a", define(then=("off",))) is None, "who is cancelled leads nowhere"
    assert circle("a", define(after=After(("b",)))) is None, "what it said before is replaced"
