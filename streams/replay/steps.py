"""Steps that wait, folded afresh in memory, and how verify names one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from taskscheduler.domain.steps import Told
from taskscheduler.streams.replay.report import WaitingStep
from taskscheduler.streams.replay.sums import Sums, hash_of, joined
from taskscheduler.streams.rocksdb.outbox_table import FAMILY, row_of, step_of

_NUL = "\0"


class FreshSteps:
    """Takes steps in and out as a table on disk does."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str, dict[int, Told]]] = {}

    def put(self, sender: str, receiver: str, told: Told) -> None:
        """Let a step wait."""
        self._waiting.setdefault(sender, {}).setdefault(receiver, {})[told.number] = told

    def delete_up_to(self, sender: str, receiver: str, number: int) -> None:
        """Steps up to a number wait no more."""
        mine = self._waiting.get(sender, {}).get(receiver, {})
        for taken in [one for one in mine if one <= number]:
            del mine[taken]

    def clear(self, sender: str) -> None:
        """No step of a stream waits."""
        self._waiting.pop(sender, None)

    def rows(self, sender: str) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of each step of a stream, as on disk."""
        for receiver, waiting in self._waiting.get(sender, {}).items():
            for told in waiting.values():
                yield row_of(sender, receiver, told)


def add_step(sums: Sums, key: bytes, value: bytes) -> None:
    """Take in a row of an outbox. Where parts are kept apart, each step is one, so that it can be named."""
    sender, receiver, number = step_of(key)
    sums.add_hash(sender, _NUL.join((FAMILY, receiver, str(number))), hash_of(FAMILY, key, value))


def named(
    task_id: str, parts: list[str], fresh: Mapping[str, int], found: Mapping[str, int]
) -> tuple[tuple[str, ...], tuple[WaitingStep, ...]]:
    """The parts in which a task differs, the outbox as one of them, and which of its steps do.

    `fresh` has the sums of what should be there, `found` of what is, by task and part.
    """
    names, steps = dict[str, None](), list[WaitingStep]()
    for part in parts:
        name, *step = part.split(_NUL)
        names[name] = None
        if step:
            whole = joined(task_id, part)
            steps.append(WaitingStep(step[0], int(step[1]), _how(fresh.get(whole, 0), found.get(whole, 0))))
    return tuple(names), tuple(sorted(steps, key=lambda one: (one.to, one.number)))


def _how(fresh: int, found: int) -> Literal["missing", "too many", "changed"]:
    if not found:
        return "missing"
    return "changed" if fresh else "too many"
