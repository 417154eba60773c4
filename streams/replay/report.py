"""What verify tells: of each side whether it is as the log says, and of each task that is not what differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec


class Compared(msgspec.Struct, frozen=True):
    """A side, up to where it was compared, and how many tasks it has; `changing` are those that never stood still.

    `behind` counts the records that the log has beyond `positions`. `detail` says why a side could not be compared
    (`failed`), or that it was not there to compare (`absent`).
    """

    side: str
    result: Literal["same", "differs", "failed", "absent"]
    positions: dict[str, int] = {}
    tasks: int = 0
    different: int = 0
    changing: int = 0
    behind: int = 0
    detail: str = ""


class WaitingStep(msgspec.Struct, frozen=True):
    """A step in the outbox of a task, by its receiver and number, that is otherwise than the log says."""

    to: str
    number: int
    found: Literal["missing", "too many", "changed"]


class Difference(msgspec.Struct, frozen=True):
    """A task that is otherwise than the log says. None stands for what is of no single task, such as counters.

    Where `parts` names the outbox, `steps` are those in it that differ.
    """

    task: str | None
    side: str
    parts: tuple[str, ...] = ()
    steps: tuple[WaitingStep, ...] = ()


class Report(msgspec.Struct, frozen=True):
    """The result. `records` were folded in `seconds`."""

    log: str
    records: int
    seconds: float
    compared: list[Compared]
    different: list[Difference]

    @property
    def same(self) -> bool:
        """Whether everything was compared, and is as the log says."""
        return all(one.result == "same" for one in self.compared)

    @property
    def wrong(self) -> bool:
        """Whether anything is otherwise than the log says, or could not be compared though it is there."""
        return any(one.result in ("differs", "failed") for one in self.compared)


def shown(positions: Mapping[int, int]) -> dict[str, int]:
    """Positions by partition, for people and programs."""
    return {str(partition): position for partition, position in sorted(positions.items())}


def failed(side: str, positions: Mapping[int, int], why: str) -> Compared:
    """A side that could not be compared."""
    return Compared(side, "failed", shown(positions), detail=why)


def absent(side: str, positions: Mapping[int, int], why: str) -> Compared:
    """A side that was not there to compare."""
    return Compared(side, "absent", shown(positions), detail=why)


def compared(
    side: str, positions: Mapping[int, int], tasks: int, different: int, *, changing: int = 0, behind: int = 0
) -> Compared:
    """A side that was compared."""
    return Compared(
        side,
        "differs" if different else "same",
        shown(positions),
        tasks,
        different,
        changing,
        behind,
        f"{changing} tasks never stood still and were not compared" if changing else "",
    )
