"""Limits: what is granted and released, how claims hold slots, and that a rate is never exceeded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.decided import Decided
from taskscheduler.domain.decision import apply
from taskscheduler.domain.definition import (
    Concurrency,
    Definition,
    DefinitionPatch,
    ExecTarget,
    HttpTarget,
    QueueTarget,
)
from taskscheduler.domain.entities import empty, id_of, rules_of, stream_of
from taskscheduler.domain.errors import KeyReused, LimitNotFound, NotClaimable, RevisionMismatch, WrongState
from taskscheduler.domain.limit import Limit, decide, fate_of, next_allowed, starts_allowed
from taskscheduler.domain.limit_definition import Granted, LimitDefinition, Rate, limit_id, limits_of, own_limit
from taskscheduler.domain.schedule import OneTime
from taskscheduler.domain.state import Task
from taskscheduler.domain.values import HOUR, MINUTE, SECOND
from tests.support.accepted import START, Decider

MAIL = QueueTarget("mail", "send")


class Limits:
    """One limit whose decisions are taken one after another."""

    def __init__(self, **definition: object) -> None:
        self.state = Limit(limit_id("key:a"))
        self.now = START
        if definition:
            self.when(msg.DefineLimit(LimitDefinition(**definition)))  # type: ignore[arg-type]

    def when(self, command: msg.Command, *, key: msg.Key | None = None, if_match: int | None = None) -> Decided:
        decided = decide(self.state, command, msg.Context(self.now, 1, "ada", key, if_match), msg.Policy())
        if decided.events:
            before, self.state = self.state, apply(self.state, decided.events, self.now)
            assert self.state == replace(decided.limit, version=before.version + 1, recorded_at=self.now)
        return decided

    def grant(self, *ids: str, own: int | None = None) -> list[str]:
        """Ask for slots; those that were granted."""
        wants = tuple(msg.Want(Granted(id, "t", f"r-{id}", 1), own) for id in ids)
        return list(self.when(msg.GrantSlots(wants)).granted)


def test_as_many_slots_are_granted_as_there_are_and_again_when_some_are_released() -> None:
    limits = Limits(concurrency=2)
    assert limits.grant("a", "b", "c") == ["a", "b"]
    assert limits.grant("c") == []
    assert limits.grant("b") == ["b"], "who asks again for what it has gets it, and no other slot"
    assert list(limits.state.slots) == ["a", "b"]
    [event] = limits.when(msg.ReleaseSlots(("a", "x"))).events
    assert event == ev.SlotsReleased(START, ("a",))
    assert limits.when(msg.ReleaseSlots(("a",))).events == ()
    assert limits.grant("c", "d") == ["c"]


def test_what_tasks_say_holds_where_nothing_is_defined() -> None:
    limits = Limits()
    assert limits.grant("a", "b", own=1) == ["a"]
    assert limits.state.own == 1
    limits.when(msg.DefineLimit(LimitDefinition(concurrency=3)))
    assert limits.grant("b", "c", "d", own=1) == ["b", "c"]
    limits.when(msg.DeleteLimit())
    assert limits.grant("d", own=4) == ["d"]
    assert limits.grant("e") == ["e"], "a limit that is not there grants anything"
    assert list(limits.state.slots) == ["a", "b", "c", "d"]


def test_a_limit_that_is_lowered_grants_nothing_until_it_fits() -> None:
    limits = Limits(concurrency=3)
    limits.grant("a", "b", "c")
    limits.when(msg.DefineLimit(LimitDefinition(concurrency=1)))
    for id in ("a", "b"):
        limits.when(msg.ReleaseSlots((id,)))
        assert limits.grant("d") == []
    limits.when(msg.ReleaseSlots(("c",)))
    assert limits.grant("d") == ["d"]


def test_a_rate_lets_a_burst_begin_and_then_one_after_another() -> None:
    limits = Limits(rate=Rate(2, SECOND, 3))
    assert limits.grant("a", "b", "c", "d") == ["a", "b", "c"]
    assert not limits.state.slots, "who only has to keep to a rate holds nothing"
    rate = limits.state.rate
    assert rate is not None
    assert next_allowed(limits.state.next_start, rate) == START + 500
    limits.now = START + 499
    assert limits.grant("d") == []
    limits.now += 1
    assert limits.grant("d", "e") == ["d"]
    limits.now += MINUTE
    assert starts_allowed(limits.state.next_start, rate, limits.now) == 3


@pytest.mark.parametrize(
    ("old", "used", "new", "at_once", "then"),
    [
        (Rate(5, HOUR, 1), 1, Rate(100, SECOND, 100), 0, 10),
        (Rate(5, HOUR, 5), 3, Rate(100, SECOND, 100), 2, 10),
        (Rate(100, SECOND, 100), 100, Rate(1, HOUR, 1), 0, HOUR),
        (Rate(100, SECOND, 100), 10, Rate(1, HOUR, 1), 1, HOUR),
        (None, 3, Rate(1, HOUR, 2), 2, HOUR),
    ],
)
def test_a_rate_that_is_changed_goes_on_from_as_many_as_might_begin_before(
    old: Rate | None, used: int, new: Rate, at_once: int, then: int
) -> None:
    limits = Limits(rate=old, concurrency=1_000)
    assert len(limits.grant(*(f"a{n}" for n in range(used)))) == used
    limits.when(msg.DefineLimit(LimitDefinition(rate=new)))
    assert len(limits.grant(*(f"b{n}" for n in range(used + 5)))) == at_once
    assert next_allowed(limits.state.next_start, new) == limits.now + then


def test_a_rate_that_was_taken_away_is_forgotten() -> None:
    limits = Limits(rate=Rate(1, HOUR, 1))
    assert limits.grant("a", "b") == ["a"]
    limits.when(msg.DefineLimit(LimitDefinition(concurrency=9)))
    limits.when(msg.DefineLimit(LimitDefinition(rate=Rate(1, HOUR, 1))))
    assert limits.grant("b", "c") == ["b"]
    limits.when(msg.DefineLimit(LimitDefinition(rate=Rate(1, HOUR, 1), note="the same rate")))
    assert limits.grant("c") == []


@given(
    st.integers(1, 50),
    st.integers(1, 5_000),
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(0, 700), st.integers(1, 9)), max_size=60),
)
def test_no_stretch_of_time_sees_more_starts_than_the_rate_allows(
    count: int, per: int, burst: int, asked: list[tuple[int, int]]
) -> None:
    limits = Limits(rate=Rate(count, per, burst))
    starts: list[int] = []
    for number, (wait, many) in enumerate(asked):
        limits.now += wait
        rate = limits.state.rate
        assert rate is not None
        allowed = starts_allowed(limits.state.next_start, rate, limits.now)
        granted = limits.grant(*(f"{number}-{n}" for n in range(many)))
        assert len(granted) == min(allowed, many)
        if not allowed:
            assert next_allowed(limits.state.next_start, rate) > limits.now
        starts += [limits.now] * len(granted)
    for first in range(len(starts)):
        for last in range(first, len(starts)):
            assert last - first + 1 <= burst + (starts[last] - starts[first]) * count / per


def test_a_limit_is_made_changed_and_deleted() -> None:
    limits = Limits(concurrency=2)
    made = limits.state
    assert (made.name, made.exists, made.defined, made.created_version) == ("key:a", True, 1, 1)
    assert limits.when(msg.DefineLimit(LimitDefinition(concurrency=2))).events == ()
    limits.now += 5
    limits.when(msg.DefineLimit(LimitDefinition(concurrency=3)), if_match=1)
    assert (limits.state.defined, limits.state.created_at, limits.state.updated_at) == (2, START, START + 5)
    with pytest.raises(RevisionMismatch, match="at version 2"):
        limits.when(msg.DeleteLimit(), if_match=1)
    key = msg.Key("k", "f")
    limits.when(msg.DeleteLimit(), key=key)
    assert not limits.state.exists
    replayed = limits.when(msg.DeleteLimit(), key=key).replayed
    assert replayed is not None and replayed.verb == "delete"
    with pytest.raises(KeyReused):
        limits.when(msg.DeleteLimit(), key=msg.Key("k", "other"))
    with pytest.raises(LimitNotFound):
        limits.when(msg.DeleteLimit())
    with pytest.raises(WrongState):
        limits.when(msg.Wake())
    assert rules_of("limit/key:a").wakeup(limits.state) is None
    assert id_of(stream_of("limit/tag:a=b/c")) == "limit/tag:a=b/c"
    assert empty("limit/key:a") == Limit("limit/key:a")


def test_the_limits_that_a_task_may_be_under() -> None:
    task = Definition(name="t", schedule=OneTime(at=0), target=MAIL, tags={"team": "red", "env": "a=b"})
    assert limits_of(task) == ("queue:mail", "tag:env=a=b", "tag:team=red")
    task = replace(task, target=HttpTarget("https://API.example.com:8443/x"), concurrency=Concurrency("c-42", 2))
    assert limits_of(task) == ("host:api.example.com", "key:c-42", "tag:env=a=b", "tag:team=red")
    assert own_limit(task) == ("key:c-42", 2)
    task = replace(task, target=ExecTarget("mail", ("sendmail",)), tags={}, concurrency=None)
    assert limits_of(task) == ("queue:mail",), "a queue is one, whatever its workers run"


def test_a_host_is_the_same_with_a_final_dot() -> None:
    task = Definition(name="t", schedule=OneTime(at=0), target=HttpTarget("http://api.example.com.:8080/x"))
    assert limits_of(task) == ("host:api.example.com",)


class Running:
    """A task under its own limit, with a run that waits."""

    def __init__(self) -> None:
        self.decider = Decider()
        target = Definition(
            name="t", schedule=OneTime(at=0), target=MAIL, tags={"a": "b"}, concurrency=Concurrency("c", 1)
        )
        self.do(msg.Create(target))
        self.do(msg.Wake())

    def do(self, command: msg.Command) -> Decided:
        return self.decider.do(command)  # type: ignore[arg-type]

    @property
    def task(self) -> Task:
        return self.decider.tasks["a"]

    @property
    def run_id(self) -> str:
        assert self.task.last_run_id is not None
        return self.task.last_run_id

    def claim(self, grants: dict[str, str] | None, number: int = 1, revoked: int = 0) -> None:
        names = ("key:c", "queue:mail", "tag:a=b")
        under = None if grants is None else msg.Under(number, revoked, names, grants)
        self.do(msg.Claim(self.run_id, "w", "token", MINUTE, under=under))

    def fate(self, id: str, number: int = 1, revoked: int = 0) -> str:
        return fate_of(self.task, "key:c", Granted(id, "a", self.run_id, number, revoked))


def test_a_claim_holds_the_slots_that_it_names_until_its_attempt_ends() -> None:
    running = Running()
    assert running.fate("g1") == "waiting"
    running.claim({"key:c": "g1", "tag:a=b": "g2"})
    assert running.task.runs[running.run_id].attempts[-1].grants == {"key:c": "g1", "tag:a=b": "g2"}
    assert (running.fate("g1"), running.fate("other")) == ("active", "over")
    running.do(msg.Fail(running.run_id, 1, "token", ev.Error("E", "why")))
    assert (running.fate("g1"), running.fate("g3", number=2)) == ("over", "waiting")
    running.decider.now += MINUTE
    running.do(msg.Wake())
    running.claim({"key:c": "g3"}, number=2)
    running.do(msg.Complete(running.run_id, 2, "token"))
    assert running.fate("g3", number=2) == "over"


def test_a_task_that_names_a_limit_is_not_claimed_without_a_slot_of_it() -> None:
    running = Running()
    with pytest.raises(NotClaimable, match="key:c"):
        running.claim(None)
    with pytest.raises(NotClaimable, match="key:c"):
        running.claim({"tag:a=b": "g"})


def test_slots_that_were_revoked_cannot_be_claimed_with() -> None:
    running = Running()
    [event] = running.do(msg.Revoke(running.run_id, 1, 0)).events
    assert event == ev.GrantsRevoked(START, running.run_id)
    assert running.do(msg.Revoke(running.run_id, 1, 0)).events == ()
    assert (running.fate("g1"), running.fate("g2", revoked=1)) == ("over", "waiting")
    with pytest.raises(NotClaimable, match="not used in time"):
        running.claim({"key:c": "g1"})
    running.claim({"key:c": "g2"}, revoked=1)
    assert running.do(msg.Revoke(running.run_id, 1, 1)).events == (), "it is claimed"
    with pytest.raises(NotClaimable):
        running.claim({"key:c": "g3"}, number=2, revoked=1)


@pytest.mark.parametrize(
    "patch",
    [
        DefinitionPatch(tags={"a": "c"}),
        DefinitionPatch(tags={}),
        DefinitionPatch(target=QueueTarget("print", "send")),
        DefinitionPatch(concurrency=Concurrency("d", 1)),
        DefinitionPatch(concurrency=None),
    ],
)
def test_slots_that_do_not_fit_the_definition_in_force_are_refused(patch: DefinitionPatch) -> None:
    running = Running()
    running.do(msg.Update(patch))
    with pytest.raises(NotClaimable, match="other limits"):
        running.claim({"key:c": "g1"})


def test_slots_for_another_attempt_are_refused() -> None:
    running = Running()
    running.claim({"key:c": "g1"})
    running.do(msg.Fail(running.run_id, 1, "token", ev.Error("E", "why")))
    running.decider.now += MINUTE
    running.do(msg.Wake())
    with pytest.raises(NotClaimable, match="not used in time"):
        running.claim({"key:c": "g1"}, number=1)
