"""Waiting runs of several partitions: whose share is taken first, and who helps whom."""

from __future__ import annotations

import pytest

from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import Definition, QueueTarget
from taskscheduler.domain.schedule import OneTime
from taskscheduler.domain.values import MINUTE
from taskscheduler.streams.claimable import Claimables
from taskscheduler.streams.claimable_shares import ClaimableShares, HolderShares
from taskscheduler.streams.holders import Holders
from tests.support.accepted import START, Decider
from tests.support.memory_tables import ClaimRows, HolderRows

GROUP = "queue:q"


class Floor:
    """Two partitions, the task's first letter names its own: a, b."""

    def __init__(self, mine: set[int], help_after: int) -> None:
        self.now = START
        self.parts = [Claimables(ClaimRows(), lambda: self.now) for _ in range(2)]
        self.held = [Holders(HolderRows()) for _ in range(2)]
        self.deciders = [Decider(*both) for both in zip(self.parts, self.held, strict=True)]
        self.shares = ClaimableShares(
            self.parts, self.partition_of, lambda: mine, clock=lambda: self.now, help_after=help_after
        )

    @staticmethod
    def partition_of(task_id: str) -> int:
        return "ab".index(task_id[0])

    def run(self, task_id: str) -> None:
        decider = self.deciders[self.partition_of(task_id)]
        definition = Definition(name=task_id, schedule=OneTime(at=0), target=QueueTarget("q", "mail"))
        decider.do(msg.Create(definition), task_id)
        decider.do(msg.Wake(), task_id)

    def claim(self, task_id: str, request: str) -> None:
        decider = self.deciders[self.partition_of(task_id)]
        run_id = decider.tasks[task_id].last_run_id or ""
        decider.do(msg.Claim(run_id, "w", "token", MINUTE, request), task_id)

    def take(self, limit: int = 10) -> list[str]:
        return sorted(item.task_id for _, item in self.shares.take(GROUP, None, limit))


def test_the_own_share_goes_first_and_others_are_helped_when_there_is_none() -> None:
    floor = Floor({0}, help_after=0)
    for task_id in ("b1", "a1", "a2"):
        floor.run(task_id)
    assert floor.take() == ["a1", "a2"]
    assert floor.take() == ["b1"]
    assert floor.take() == []


def test_others_are_helped_only_where_nothing_has_been_taken_for_a_while() -> None:
    floor = Floor({0}, help_after=2_000)
    floor.run("b1")
    assert floor.take() == []
    floor.now += 1_999
    assert floor.take() == []
    floor.now += 1
    assert floor.take() == ["b1"]


def test_where_somebody_takes_nobody_needs_help() -> None:
    floor = Floor({0}, help_after=2_000)
    floor.run("b1")
    floor.run("b2")
    assert floor.take() == []
    floor.claim("b1", "x")
    floor.now += 2_000
    assert floor.take() == []


def test_no_more_are_taken_than_asked_for() -> None:
    floor = Floor({0, 1}, help_after=0)
    for task_id in ("a1", "a2", "b1", "b2"):
        floor.run(task_id)
    assert len(floor.take(3)) == 3
    assert len(floor.take(3)) == 1


async def test_whoever_waits_is_told_of_any_partition() -> None:
    floor = Floor({0}, help_after=0)
    came, other = floor.shares.wait(GROUP), floor.shares.wait("queue:other")
    floor.run("b1")
    await came
    assert not other.done()
    other.cancel()


async def test_whoever_waits_looks_again_when_it_may_be_time_to_help() -> None:
    await Floor({0}, help_after=1).shares.wait(GROUP)


async def test_what_could_not_be_claimed_can_be_taken_again() -> None:
    floor = Floor({0}, help_after=0)
    floor.run("b1")
    [(lane, item)] = floor.shares.take(GROUP, None, 1)
    floor.shares.give_back(lane, item)
    assert floor.take() == ["b1"]


@pytest.mark.parametrize("task_id", ["a1", "b1"])
def test_holdings_are_found_in_every_partition(task_id: str) -> None:
    floor = Floor({0}, help_after=0)
    floor.run(task_id)
    floor.claim(task_id, "request")
    [(holding, number)] = HolderShares(floor.held).held("w", "request")
    assert (holding.task_id, number) == (task_id, 1)
