"""Circuits of hosts: when they open, for how long, and what closes them."""

from __future__ import annotations

from typing import Any

import pytest

from taskscheduler.api.settings import Http
from taskscheduler.domain.events import Error
from taskscheduler.streams.dispatch import circuits as module
from taskscheduler.streams.dispatch.circuits import TRIAL, Circuits
from taskscheduler.streams.dispatch.dispatcher import Outcome

HOST, NAME = "api.example", "host:api.example"
PAUSE, LONGEST = 10_000, 60_000
FINE = Outcome(result="1")


class Clock:
    now = 1_000_000

    def __call__(self) -> int:
        return self.now


def failed(kind: str = "connection_failed", retry_after: int | None = None) -> Outcome:
    return Outcome(error=Error(kind, "why"), retry_after=retry_after)


@pytest.fixture
def clock() -> Clock:
    return Clock()


SETTINGS = {"circuit_failures": 3, "circuit_window": 5_000, "circuit_pause": PAUSE, "circuit_longest_pause": LONGEST}


def made(clock: Clock, **given: Any) -> Circuits:
    return Circuits(Http(**{**SETTINGS, **given}), clock)


def fail(circuits: Circuits, times: int = 3, kind: str = "connection_failed") -> None:
    for _ in range(times):
        circuits.record(HOST, failed(kind))


def left(circuits: Circuits, clock: Clock, name: str = NAME) -> int | None:
    room = circuits.room(name, clock.now)
    return None if room is None else room.left


@pytest.mark.parametrize("kind", ["connection_failed", "timed_out", "unresolved", "http_500", "http_503", "http_429"])
def test_so_many_failures_in_a_row_open_it(clock: Clock, kind: str) -> None:
    opened, told = list[str](), list[str]()
    circuits = Circuits(Http(**SETTINGS), clock, opened.append)
    circuits.watch(told.append)
    fail(circuits, 2, kind)
    assert (left(circuits, clock), told) == (None, [])
    fail(circuits, 1, kind)
    room = circuits.room(NAME, clock.now)
    assert room is not None
    assert (room.left, room.until) == (0, clock.now + PAUSE)
    assert kind in room.reason
    assert (told, opened) == ([NAME], [kind])
    assert left(circuits, clock, "host:other.example") is None
    assert left(circuits, clock, "queue:api.example") is None


@pytest.mark.parametrize("kind", ["http_404", "http_401", "http_302"])
def test_an_answer_of_any_other_kind_shows_that_the_host_is_well(clock: Clock, kind: str) -> None:
    circuits = made(clock)
    for outcome in (failed(kind), FINE):
        fail(circuits, 2)
        circuits.record(HOST, outcome)
        fail(circuits, 2)
        assert left(circuits, clock) is None
        circuits.record(HOST, outcome)


@pytest.mark.parametrize("kind", ["forbidden_address", "secret_unusable"])
def test_what_was_never_sent_shows_nothing(clock: Clock, kind: str) -> None:
    circuits = made(clock)
    fail(circuits, 2)
    fail(circuits, 5, kind)
    assert left(circuits, clock) is None
    fail(circuits, 1)
    assert left(circuits, clock) == 0
    circuits.record(HOST, failed(kind))
    assert left(circuits, clock) == 0


def test_failures_far_apart_do_not_open_it(clock: Clock) -> None:
    circuits = made(clock)
    for _ in range(10):
        fail(circuits, 1)
        clock.now += 2_501
    assert left(circuits, clock) is None
    fail(circuits, 2)
    assert left(circuits, clock) == 0


def test_then_one_run_tries_it_and_the_pauses_grow(clock: Clock) -> None:
    circuits = made(clock)
    fail(circuits)
    found = []
    for _ in range(5):
        fail(circuits, 3)  # of calls that were under way when it opened
        room = circuits.room(NAME, clock.now)
        assert room is not None
        assert room.until is not None
        found.append(room.until - clock.now)
        clock.now = room.until
        assert left(circuits, clock) == 1
        circuits.begin(HOST)
        assert left(circuits, clock) == 0
        fail(circuits, 1)
    assert found == [10_000, 20_000, 40_000, 60_000, 60_000]
    assert circuits.open[HOST].pauses == 6
    clock.now += LONGEST
    circuits.begin(HOST)
    circuits.record(HOST, FINE)
    assert left(circuits, clock) is None
    fail(circuits)
    assert circuits.open[HOST].pauses == 1


def test_a_trial_of_which_nothing_is_heard_is_followed_by_another(clock: Clock) -> None:
    circuits = made(clock)
    fail(circuits)
    clock.now += PAUSE
    circuits.begin(HOST)
    clock.now += TRIAL - 1
    assert left(circuits, clock) == 0
    clock.now += 1
    assert left(circuits, clock) == 1


@pytest.mark.parametrize(("asked", "pause"), [(1, 1), (30_000, 30_000), (10**9, LONGEST), (None, None), (0, None)])
def test_a_host_that_asks_to_wait_is_obeyed_at_once(clock: Clock, asked: int | None, pause: int | None) -> None:
    circuits = made(clock)
    circuits.record(HOST, failed("http_429", asked))
    assert (left(circuits, clock) == 0) == (pause is not None)
    if pause is not None:
        assert circuits.open[HOST].until == clock.now + pause
    other = made(clock)
    other.record(HOST, failed("http_503", 30_000))
    assert left(other, clock) is None


def test_it_can_be_turned_off(clock: Clock) -> None:
    circuits = made(clock, circuit_failures=0)
    fail(circuits, 100)
    assert left(circuits, clock) is None


def test_no_more_hosts_are_remembered_than_are_needed(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_HOSTS", 5)
    circuits = made(clock, circuit_failures=2)
    for n in range(20):
        circuits.record(f"h{n}", failed())
    assert len(circuits._failures) == 5
    for n in range(20):
        for _ in range(2):
            circuits.record(f"h{n}", failed())
    assert len(circuits.open) == 5
