"""What workers held and when, by what `wire_worker` wrote down, and whether that was ever more than may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from taskscheduler.domain.limit_definition import Rate

CLOCKS = 0.005
"""Seconds by which the clocks of a journal and of a server may differ."""


class Hold(NamedTuple):
    """An attempt that a worker had from `since` to `until`, for sure; `asked` is when it first asked for it.

    A worker that dies holds what it has until its lease ends: nobody else knows.
    """

    worker: str
    run_id: str
    attempt: int
    under: tuple[str, ...]
    asked: float
    since: float
    until: float
    left: bool


def holds(entries: Iterable[dict[str, Any]]) -> list[Hold]:
    """All of them. Raises AssertionError where an attempt was given or begun twice."""
    given: dict[str, Hold] = {}
    begun: Counter[tuple[str, int]] = Counter()
    for entry in entries:
        match entry["what"]:
            case "given" if entry["token"] not in given:  # else a reply came again
                given[entry["token"]] = Hold(
                    entry["worker"],
                    entry["run_id"],
                    entry["attempt"],
                    tuple(entry["under"]),
                    entry["asked"],
                    entry["at"],
                    entry["until"] - CLOCKS,
                    False,
                )
            case "kept":
                hold = given[entry["token"]]
                given[entry["token"]] = hold._replace(until=max(hold.until, entry["until"] - CLOCKS))
            case "left" if not (hold := given[entry["token"]]).left:  # else it is reported again
                given[entry["token"]] = hold._replace(until=min(hold.until, entry["at"]), left=True)
            case "begun":
                begun[entry["run_id"], entry["attempt"]] += 1
    attempts = Counter((hold.run_id, hold.attempt) for hold in given.values())
    for what, counts in (("given", attempts), ("begun", begun)):
        twice = [attempt for attempt, count in counts.items() if count > 1]
        assert not twice, f"{twice} were {what} twice"
    assert begun.keys() <= attempts.keys()
    return sorted(given.values(), key=lambda hold: hold.since)


def most_at_once(held: Iterable[Hold], name: str) -> int:
    """How many attempts under a limit were held at once at most."""
    steps = []
    for hold in held:
        if name in hold.under and hold.since < hold.until:
            steps += [(hold.since, 1), (hold.until, -1)]
    now = most = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most


def check_rate(held: Sequence[Hold], name: str, rate: Rate) -> None:
    """In no time did more begin than may. An attempt begins after it was asked for and before the reply came."""
    begun = [hold for hold in held if name in hold.under]
    for start in sorted(hold.asked for hold in begun):
        for number, hold in enumerate((hold for hold in begun if hold.asked >= start), start=1):
            seconds = hold.since - start + CLOCKS
            most = rate.burst + seconds * 1e6 / rate.gap
            assert number <= most, f"{number} began under {name} within {seconds:.3f} s"
