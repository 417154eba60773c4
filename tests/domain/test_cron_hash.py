"""`H`: which value a task gets, how even they are, and what is no H."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b

import pytest

from taskscheduler.domain.cron import InvalidCron, compile_cron
from taskscheduler.domain.cron_hash import is_hashed, resolve_hash

TASKS = [f"task-{number}" for number in range(3000)]


def test_the_value_is_that_of_the_formula() -> None:
    """Once published, it may not change: a task would move when its schedule is given again."""
    chosen = int.from_bytes(blake2b(b"minute/nightly", digest_size=8).digest(), "big")
    assert resolve_hash("H 3 * * *", "nightly") == f"{chosen % 60} 3 * * *"
    assert resolve_hash("H/15 3 * * *", "nightly") == f"{chosen % 15}-59/15 3 * * *"
    assert resolve_hash("H(10-19) 3 * * *", "nightly") == f"{10 + chosen % 10} 3 * * *"
    assert resolve_hash("H(10-39)/10 3 * * *", "nightly") == f"{10 + chosen % 10}-39/10 3 * * *"
    assert resolve_hash("0 h 3 * * *", "nightly").split()[1] == str(chosen % 60)


@pytest.mark.parametrize(
    ("expression", "place", "values"),
    [
        ("H * * * *", 0, range(60)),
        ("0 H * * *", 1, range(24)),
        ("0 0 H * *", 2, range(1, 29)),
        ("0 0 1 H *", 3, range(1, 13)),
        ("0 0 * * H", 4, range(7)),
        ("H * * * * *", 0, range(60)),
        ("H(5-9) * * * *", 0, range(5, 10)),
        ("0 0 * * H(MON-FRI)", 4, range(1, 6)),
    ],
)
def test_values_are_even(expression: str, place: int, values: range) -> None:
    found = Counter(int(resolve_hash(expression, task).split()[place]) for task in TASKS)
    assert set(found) == set(values)
    share = len(TASKS) / len(values)
    assert all(abs(count - share) < 6 * share**0.5 for count in found.values())


def test_fields_do_not_move_together() -> None:
    assert len({resolve_hash("H H * * *", task) for task in TASKS}) > 1000


def test_a_step_keeps_its_distance() -> None:
    for task in TASKS[:100]:
        cron = compile_cron(resolve_hash("H/15 * * * *", task))
        assert cron.count(0, 3_600_000, "UTC") == 4
        fires = [cron.next_after(0, "UTC")]
        assert fires[0] is not None
        assert cron.next_after(fires[0], "UTC") == fires[0] + 900_000


def test_in_lists_and_macros() -> None:
    first, rest = resolve_hash("H,30 0 * * *", "a").split()[0].split(",")
    assert (int(first) < 60, rest) == (True, "30")
    assert resolve_hash("@daily", "a") == "0 0 * * *"
    assert not is_hashed("0 0 1 mar THU")
    assert is_hashed("0 0 h * *")


REFUSED = {
    "H(9-5) * * * *": "minute: the range in H(9-5) runs backwards; write H(5-9)",
    "H(0-60) * * * *": "minute: 60 is outside 0-59",
    "H() * * * *": "minute: H() is not understood",
    "H(5) * * * *": "minute: H(5) is not understood",
    "HH * * * *": "minute: HH is not understood; write H, H(0-5) or H/2",
    "H-5 * * * *": "minute: H-5 is not understood",
    "H/0 * * * *": "minute: a step of 0 never moves on",
    "H/ * * * *": "minute: the step after / is a number",
    "0 0 0 1 1 * H": "year: H is not understood",
}


@pytest.mark.parametrize(("expression", "says"), REFUSED.items())
def test_refused(expression: str, says: str) -> None:
    with pytest.raises(InvalidCron) as refusal:
        resolve_hash(expression, "a")
    assert says in str(refusal.value)
