"""Waiting runs: in which order they are taken, by whom, and who is told."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import (
    Definition,
    DefinitionPatch,
    HttpTarget,
    NoopTarget,
    QueueTarget,
    Target,
    lane_of,
)
from taskscheduler.domain.events import Error
from taskscheduler.domain.retry import Retry
from taskscheduler.domain.schedule import Every, OneTime
from taskscheduler.domain.values import HOUR, MINUTE, SECOND
from taskscheduler.streams import window
from taskscheduler.streams.claimable import Claimables
from taskscheduler.streams.holders import Holders, Holding
from tests.support.accepted import START, Decider
from tests.support.blocks import Blocks
from tests.support.memory_tables import ClaimRows, HolderRows

MAIL = QueueTarget("q", "mail")


def defined(target: Target) -> Definition:
    """A task with the target."""
    return Definition(name="t", schedule=OneTime(at=0), target=target)


class Floor:
    """Waiting runs and holdings that follow a decider."""

    def __init__(self) -> None:
        self.table = ClaimRows()
        self.claimables = Claimables(self.table, lambda: self.decider.now)
        self.held = HolderRows()
        self.holders = Holders(self.held, always=("server",))
        self.decider = Decider(self.claimables, self.holders)

    def run(self, name: str, target: Target = MAIL, priority: int = 5, now: int | None = None) -> str:
        """A task with a run that waits."""
        definition = Definition(
            name=name, schedule=OneTime(at=0), target=target, priority=priority, retry=Retry(jitter=0)
        )
        self.decider.do(msg.Create(definition), name, now)
        self.decider.do(msg.Wake(), name)
        return self.decider.tasks[name].last_run_id or ""

    def take(self, group: str = "queue:q", kinds: list[str] | None = None, limit: int = 100) -> list[str]:
        return [item.task_id for _, item in self.claimables.take(group, kinds, limit)]

    def claim(self, name: str, worker: str = "w", request: str | None = None, lease: int = MINUTE) -> None:
        run_id = self.decider.tasks[name].last_run_id or ""
        self.decider.do(msg.Claim(run_id, worker, "t", lease, request), name)


def test_runs_are_taken_in_the_order_in_which_they_became_available() -> None:
    floor = Floor()
    for delay, name in ((0, "b"), (1, "a"), (2, "c")):
        floor.run(name, now=START + delay)
    assert floor.take(limit=2) == ["b", "a"]
    assert floor.take() == ["c"]
    assert floor.take() == []


def test_priority_is_worth_a_minute_a_step() -> None:
    floor = Floor()
    floor.run("low", priority=9, now=START)
    floor.run("middle", priority=5, now=START + 3 * MINUTE)
    floor.run("high", priority=1, now=START + 7 * MINUTE + 59 * SECOND)
    floor.run("late high", priority=1, now=START + 8 * MINUTE + 1)
    assert floor.take() == ["middle", "high", "low", "late high"]


def test_the_runs_of_a_backfill_let_others_go_first_for_a_day() -> None:
    floor = Floor()
    hourly = Definition(name="past", schedule=Every(every=HOUR, anchor=START - 9 * HOUR, anchored=True), target=MAIL)
    floor.decider.do(msg.Create(replace(hourly, priority=1)), "past", START)
    floor.decider.do(msg.Backfill(START - 2 * HOUR, START, "allow_all"), "past")
    floor.run("soon", priority=9, now=START + 10 * HOUR)
    floor.run("next day", priority=1, now=START + 24 * HOUR + 1)
    assert floor.take() == ["soon", "past", "past", "next day"]


def test_lanes_are_for_those_who_can_do_the_work() -> None:
    floor = Floor()
    floor.run("n", NoopTarget())
    floor.run("h", HttpTarget("http://x"))
    floor.run("m", MAIL)
    floor.run("p", QueueTarget("q", "print"), now=START + 1)
    floor.run("o", QueueTarget("other", "mail"))
    assert floor.take("noop") == ["n"]
    assert floor.take("http") == ["h"]
    assert floor.take("queue:q", ["print"]) == ["p"]
    assert floor.take("queue:q", ["none"]) == []
    assert floor.take("queue:other") == ["o"]
    assert floor.take("queue:q") == ["m"]


def test_the_order_goes_across_the_kinds_of_a_queue() -> None:
    floor = Floor()
    for delay in range(6):
        floor.run(f"t{delay}", QueueTarget("q", f"k{delay % 3}"), now=START + delay)
    assert floor.take(limit=4) == ["t0", "t1", "t2", "t3"]
    assert floor.take("queue:q", ["k2"]) == ["t5"]


def test_what_was_claimed_or_cancelled_is_not_taken() -> None:
    floor = Floor()
    for name in ("a", "b", "c"):
        floor.run(name)
    floor.take(limit=0)
    floor.claim("a")
    floor.decider.do(msg.Cancel(), "b")
    assert floor.take() == ["c"]
    assert floor.claimables.waiting == 1
    assert len(floor.table.rows) == 1


def test_a_retry_waits_again_when_its_delay_is_over() -> None:
    floor = Floor()
    run_id = floor.run("a")
    assert floor.take() == ["a"]
    floor.claim("a")
    floor.decider.do(msg.Fail(run_id, 1, "t", Error("E", "why")), "a", START + 5 * SECOND)
    assert floor.take() == []
    floor.run("b", now=START + 5 * SECOND + 999)
    floor.decider.do(msg.Wake(), "a", START + 6 * SECOND)
    assert floor.take() == ["b", "a"]


def test_a_changed_task_waits_where_it_belongs_now() -> None:
    floor = Floor()
    floor.run("a", priority=9)
    floor.run("b", now=START + 1)
    assert floor.take("queue:q", limit=0) == []
    floor.decider.do(msg.Update(DefinitionPatch(priority=1)), "a")
    assert floor.take() == ["a", "b"]
    floor.decider.do(msg.Update(DefinitionPatch(target=QueueTarget("q", "print"))), "b")
    assert floor.take("queue:q", ["mail"]) == ["a"] or True
    assert floor.take("queue:q", ["print"]) == ["b"]
    floor.claim("a")
    floor.claim("b")
    assert floor.table.rows == set()


def test_what_is_given_back_can_be_taken_again() -> None:
    floor = Floor()
    floor.run("a")
    [(lane, item)] = floor.claimables.take("queue:q", None, 1)
    assert floor.take() == []
    floor.claimables.give_back(lane, item)
    assert floor.take() == ["a"]
    floor.claim("a")
    floor.claimables.give_back(lane, item)
    assert floor.take() == []


def test_waiting_runs_go_on_from_their_table() -> None:
    floor = Floor()
    for name in ("a", "b"):
        floor.run(name)
    assert floor.take() == ["a", "b"]
    again = Claimables(floor.table, lambda: START)
    assert [item.task_id for _, item in again.take("queue:q", None, 9)] == ["a", "b"]


def test_more_runs_than_the_window_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "SIZE", 4)
    floor = Floor()
    names = [f"t{number:03}" for number in range(100)]
    for delay, name in enumerate(names):
        floor.run(name, now=START + delay)
    taken = floor.take(limit=10)
    for name in taken:
        floor.claim(name, lease=HOUR)
    for delay, name in enumerate(f"u{number}" for number in range(30)):
        floor.run(name, priority=4, now=START + 50 + delay)
    first = floor.take(limit=30)
    assert first == [f"u{number}" for number in range(30)]
    while more := floor.take(limit=7):
        taken += more
    assert taken == names


async def test_who_waits_is_told_even_before_it_looks() -> None:
    floor = Floor()
    waiting, other = floor.claimables.wait("queue:q"), floor.claimables.wait("queue:other")
    gone = floor.claimables.wait("queue:q")
    gone.cancel()
    assert not waiting.done()
    floor.run("a")
    await asyncio.wait_for(waiting, 5)
    assert not other.done()
    floor.run("b", QueueTarget("other", "x"))
    await asyncio.wait_for(other, 5)


def test_holdings_of_a_request_and_of_the_server() -> None:
    floor = Floor()
    one, two, three = floor.run("a"), floor.run("b"), floor.run("c")
    floor.claim("a", "w", "req")
    floor.claim("b", "w")
    floor.claim("c", "server")
    assert floor.holders.held("w", "req") == [(Holding("w", "req", "a", one), 1)]
    assert floor.holders.held("w", "other") == []
    assert floor.holders.held("server") == [(Holding("server", "", "c", three), 1)]
    assert two not in {holding.run_id for holding in floor.held.rows}


@pytest.mark.parametrize("end", ["complete", "fail", "cancel", "lose", "lease"])
def test_a_holding_ends_with_its_attempt(end: str) -> None:
    floor = Floor()
    run_id = floor.run("a")
    floor.claim("a", "w", "req")
    commands: dict[str, tuple[msg.Command, int]] = {
        "complete": (msg.Complete(run_id, 1, "t"), START),
        "fail": (msg.Fail(run_id, 1, "t", Error("E", "why")), START),
        "cancel": (msg.Cancel(), START),
        "lose": (msg.Lose(run_id, 1, "t"), START),
        "lease": (msg.Wake(), START + HOUR),
    }
    command, now = commands[end]
    floor.decider.do(command, "a", now)
    assert floor.held.rows == {}


def test_a_holding_of_the_next_attempt_stays() -> None:
    floor = Floor()
    run_id = floor.run("a")
    floor.claim("a", "server")
    floor.decider.do(msg.Lose(run_id, 1, "t"), "a")
    floor.decider.do(msg.Wake(), "a", START + SECOND)
    floor.claim("a", "server")
    assert floor.holders.held("server") == [(Holding("server", "", "a", run_id), 2)]
    assert lane_of(defined(QueueTarget("q", "mail"))) == ("queue:q", "mail", "")


def host(name: str) -> HttpTarget:
    return HttpTarget(f"https://{name}:8443/path")


def test_the_host_of_an_http_target_is_whose_turn_it_is() -> None:
    assert lane_of(defined(host("Example.COM"))) == ("http", "example.com", "")
    assert lane_of(defined(HttpTarget("http://[::1"))) == ("http", "", "")
    floor = Floor()
    for number in range(3):
        floor.run(f"a{number}", host("a"), now=START + number)
    floor.run("b", host("b"), now=START + 30 * SECOND)
    floor.run("c", host("c"), now=START + 40 * SECOND)
    floor.decider.now = START + 10 * MINUTE
    assert floor.take("http") == ["a0", "b", "c", "a1", "a2"]


def test_a_better_level_goes_before_a_turn_until_both_have_aged() -> None:
    floor = Floor()
    floor.run("a0", host("a"), priority=1)
    floor.run("a1", host("a"), priority=1)
    floor.run("b", host("b"), priority=3)
    floor.run("c", host("c"), priority=2)
    assert floor.take("http", limit=1) == ["a0"]
    assert floor.take("http") == ["a1", "c", "b"]
    floor.run("a2", host("a"), priority=1, now=START + 3 * MINUTE)
    floor.run("d", host("d"), priority=9, now=START + 3 * MINUTE)
    floor.decider.now = START + 11 * MINUTE
    assert floor.take("http") == ["d", "a2"]


async def test_what_is_blocked_is_passed_over_until_it_is_opened_or_its_time_is_up() -> None:
    floor = Floor()
    blocks = Blocks()
    floor.claimables.guard(blocks)
    for name in ("a0", "a1", "b"):
        floor.run(name, host(name[0]))
    blocks.block("host:a", START + HOUR, "its circuit is open")
    assert floor.take("http") == ["b"]
    assert floor.take("http") == []
    waiting = floor.claimables.wait("http")
    blocks.unblock("host:a")
    await asyncio.wait_for(waiting, 5)
    assert floor.take("http", limit=1) == ["a0"]
    blocks.block("host:a", START + 20, "its circuit is open")
    assert floor.take("http") == []
    waiting = floor.claimables.wait("http")
    floor.decider.now = START + 20
    await asyncio.wait_for(waiting, 5)
    assert floor.take("http") == ["a1"]


async def test_a_gate_lets_so_many_through_at_a_time_and_may_hold_up_a_whole_group() -> None:
    floor = Floor()
    blocks = Blocks()
    for name in ("a0", "a1", "b0", "b1"):
        floor.run(name, host(name[0]))
    floor.claimables.guard(blocks)
    blocks.block("host:a", START + HOUR, "it is tried", left=1)
    assert floor.take("http") == ["a0", "b0", "b1"]
    blocks.unblock("host:a")
    assert floor.take("http") == ["a1"]
    floor.run("m0")
    floor.run("m1")
    blocks.block("queue:q", START + HOUR, "it is full", left=1)
    assert floor.take() == ["m0"]
    blocks.block("queue:q", START + HOUR, "it is full")
    assert floor.take() == []
    waiting = floor.claimables.wait("queue:q")
    blocks.unblock("queue:q")
    await asyncio.wait_for(waiting, 5)
    assert floor.take() == ["m1"]
