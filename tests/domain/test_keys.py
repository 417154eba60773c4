"""Idempotency-Keys: the same request again changes nothing; they are bounded and forgotten after two days."""

from __future__ import annotations

import pytest

from taskscheduler.domain import errors
from taskscheduler.domain import messages as msg
from taskscheduler.domain.decide import MAX_KEYS
from taskscheduler.domain.definition import DefinitionPatch
from taskscheduler.domain.evolve import KEY_LIFETIME
from tests.domain.scenario import DAY, HOURLY, START, created, define, given


@pytest.mark.parametrize(
    "command",
    [
        msg.Update(DefinitionPatch(name="x")),
        msg.Pause(),
        msg.Resume(),
        msg.Trigger(),
        msg.Cancel(),
    ],
)
def test_a_repeated_request_is_answered_from_memory(command: msg.Command) -> None:
    task = created(HOURLY).when(command, "0:30", key="k", body="b")
    assert task.decided is not None
    verb, run_id, version = type(command).__name__.lower(), task.decided.run_id, task.task.version
    assert task.events()[-1] == f"key k {verb}"
    task.when(command, "1:30", key="k", body="b").then()
    assert task.decided.replayed is not None
    assert (task.decided.replayed.verb, task.decided.run_id, task.task.version) == (verb, run_id, version)


def test_a_repeated_creation_is_the_first_one() -> None:
    task = given().when(msg.Create(define(HOURLY)), "0:00", key="k").then("created, next 1:00", "key k create")
    task.when(msg.Create(define(HOURLY)), "0:01", key="k").then()
    assert task.decided is not None
    assert task.decided.replayed is not None


def test_the_same_key_for_another_request_is_refused() -> None:
    task = created(HOURLY).when(msg.Trigger(), "0:30", key="k", body="b")
    task.when(msg.Trigger(), "0:31", key="k", body="c").refused(errors.KeyReused)


def test_a_refused_request_uses_no_key() -> None:
    task = created(HOURLY).when(msg.Retry(), "0:30", key="k").refused(errors.WrongState)
    task.when(msg.Trigger(), "0:31", key="k").then("queued manual 0:31", "key k trigger")


def test_a_sign_of_life_uses_no_key() -> None:
    task = created().wake("0:00").claim()
    task.when(msg.Renew(task.run.id, 1, "t"), "0:01", key="k").then()
    assert task.task.keys == {}


def test_keys_are_kept_at_least_a_day_and_then_make_room() -> None:
    assert KEY_LIFETIME > DAY
    task = created(HOURLY).when(msg.Pause(), "0:00", key="old")
    task.when(msg.Pause(), START + KEY_LIFETIME - 1, key="new")
    assert set(task.task.keys) == {"old", "new"}
    task.when(msg.Pause(), START + KEY_LIFETIME, key="newer")
    assert set(task.task.keys) == {"new", "newer"}


def test_keys_are_bounded_but_not_for_ever() -> None:
    task = created(HOURLY).when(msg.Pause(), "0:00")
    for number in range(MAX_KEYS):
        task.when(msg.Pause(), "0:01", key=f"k{number}")
    task.when(msg.Pause(), "0:02", key="more").refused(errors.TooManyKeys)
    task.when(msg.Pause(), "0:02", key="k1").then()
    task.when(msg.Pause(), START + 60_000 + KEY_LIFETIME, key="later")
    assert set(task.task.keys) == {"later"}
