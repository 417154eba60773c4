"""More lanes than fit into memory: each has its turn, none is lost, and what is shut costs no room."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from taskscheduler.domain.definition import Lane
from taskscheduler.domain.values import MINUTE
from taskscheduler.streams import shelf as shelves
from taskscheduler.streams.shelf import Claimable, Shelf, Turns
from tests.support.memory_tables import ClaimRows

NOW = 1_767_571_200_000


class Kept:
    """A shelf of kind `k` over its table. A run is taken out of the table when it is taken from the shelf."""

    def __init__(self) -> None:
        self.table = ClaimRows()
        self.shelf = Shelf(self.table, "queue:q", "k", Turns())
        self.now = NOW

    def put(self, key: str, name: str, order: int = NOW) -> None:
        lane, item = Lane("queue:q", "k", key), Claimable(order, name, "r")
        self.table.put(lane, item)
        self.shelf.put(lane, item)

    def take(self) -> str | None:
        found = self.shelf.next(self.now)
        if found is None:
            return None
        item = self.shelf.pop(found[1])
        self.table.delete(found[1], item)
        return item.task_id

    def take_all(self) -> list[str]:
        return list(iter(self.take, None))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MOST_LANES", 8), ("ENOUGH_LANES", 4), ("ROWS", 2), ("PAGE", 6)):
        monkeypatch.setattr(shelves, name, value)


def test_keys_take_turns_and_a_new_one_does_not_wait_for_those_who_came_with_many() -> None:
    kept = Kept()
    for number in range(9):
        kept.put("a", f"a{number}", NOW + number)
    for number in range(3):
        kept.put("b", f"b{number}", NOW + 100 + number)
    assert [kept.take() for _ in range(4)] == ["a0", "b0", "a1", "b1"]
    kept.put("c", "c0", NOW + 200)
    kept.put("", "plain", NOW + 201)
    assert [kept.take() for _ in range(4)] == ["c0", "plain", "a2", "b2"]


def test_a_key_that_comes_back_has_not_lost_its_turn_and_has_not_won_one() -> None:
    kept = Kept()
    kept.put("a", "a0")
    kept.put("b", "b0")
    assert kept.take_all() == ["a0", "b0"]
    for name in ("b1", "b2", "a1", "a2"):
        kept.put(name[0], name)
    assert kept.take_all() == ["a1", "b1", "a2", "b2"]


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("seed", range(6))
def test_more_lanes_than_fit_all_have_their_turns(seed: int) -> None:
    chance = random.Random(seed)
    kept = Kept()
    made: list[str] = []
    taken: list[str] = []
    for number in range(900):
        key = f"k{chance.randrange(60):02}"
        made.append(f"{key}-{number}")
        kept.put(key, made[-1], NOW + chance.randrange(5) * MINUTE)
        if chance.random() < 0.4 and (name := kept.take()) is not None:
            taken.append(name)
        assert len(kept.shelf._lanes) <= 9
    kept.now += 9 * MINUTE
    rest = kept.take_all()
    assert sorted(taken + rest) == sorted(made)
    assert not kept.table.rows


@pytest.mark.usefixtures("few")
def test_one_of_many_waits_no_longer_than_a_round() -> None:
    kept = Kept()
    for number in range(20):
        for key in range(40):
            kept.put(f"k{key:02}", f"{key}-{number}", NOW + number)
    first = Counter(name.partition("-")[0] for name in (kept.take() for _ in range(400)) if name)
    assert len(first) == 40
    assert max(first.values()) - min(first.values()) <= 8


@pytest.mark.usefixtures("few")
def test_lanes_that_are_shut_make_room_and_are_found_when_they_are_opened() -> None:
    kept = Kept()
    for key in range(30):
        kept.put(f"k{key:02}", f"k{key:02}")
    for _ in range(25):
        found = kept.shelf.next(kept.now)
        assert found is not None
        kept.shelf.shut(found[1], f"key:{found[1].key}")
    assert len(kept.shelf._lanes) <= 9
    assert sum(map(len, kept.shelf._shut.values())) <= 9
    assert kept.shelf.open("key:k00")
    taken = [kept.take() for _ in range(30)]
    assert "k00" in taken


def test_what_is_shut_is_not_given_and_what_comes_to_it_waits_with_it() -> None:
    kept = Kept()
    kept.put("a", "a0")
    kept.put("b", "b0")
    kept.shelf.next(NOW)
    kept.shelf.shut(Lane("queue:q", "k", "a"), "key:a")
    kept.put("a", "a1", NOW - MINUTE)
    assert kept.take_all() == ["b0"]
    assert not kept.shelf.open("key:b")
    assert kept.shelf.open("key:a")
    assert kept.take_all() == ["a1", "a0"]
    kept.shelf.start_over()
    kept.put("c", "c0")
    assert kept.take_all() == ["c0"]


def test_few_lanes_with_many_rows_are_read_once() -> None:
    kept = Kept()
    for number in range(3_000):
        kept.put(f"k{number % 3}", f"{number:05}", NOW + number)
    reads = 0
    lanes = kept.table.lanes

    def counted(*asked: Any) -> list[tuple[Lane, Claimable]]:
        nonlocal reads
        reads += 1
        return lanes(*asked)

    kept.table.lanes = counted  # type: ignore[method-assign]
    kept.shelf.start_over()
    assert [kept.take() for _ in range(60)] == [f"{number:05}" for number in range(60)]
    assert reads == 1
