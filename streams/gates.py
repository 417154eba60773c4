"""What may hold waiting runs up by name: `queue:<queue>`, `host:<host>`, `key:<concurrency key>`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from taskscheduler.domain.values import Instant


class Room(NamedTuple):
    """So many runs may be taken now. When that is none, `until` says when to look again, None: when told.

    `reason` is a clause that says why, for people.
    """

    left: int
    until: Instant | None = None
    reason: str = ""


class Gate(Protocol):
    """Asked before runs are taken; what it says can be wrong by a moment, and costs no more than a refused claim.

    Whoever is given to `watch` is told the names for which there may be more room than there was.
    """

    def room(self, name: str, now: Instant) -> Room | None:
        """None where nothing is held up under this name."""
        ...

    def watch(self, told: Callable[[str], None]) -> None: ...


class Blocks:
    """A gate that is shut and opened by hand: `block("host:example.com", until, "its circuit is open")`."""

    def __init__(self) -> None:
        self._rooms: dict[str, Room] = {}
        self._told: list[Callable[[str], None]] = []

    def block(self, name: str, until: Instant, reason: str, left: int = 0) -> None:
        """Take no runs of this name until then; or only `left` of them each time that runs are taken."""
        self._rooms[name] = Room(left, until, reason)
        self._tell(name)

    def unblock(self, name: str) -> None:
        """Take them again."""
        if self._rooms.pop(name, None) is not None:
            self._tell(name)

    def room(self, name: str, now: Instant) -> Room | None:
        """As it was blocked, until that is over."""
        room = self._rooms.get(name)
        if room is None or room.until is None or now < room.until:
            return room
        del self._rooms[name]
        return None

    def watch(self, told: Callable[[str], None]) -> None:
        """`told` hears of every change."""
        self._told.append(told)

    def _tell(self, name: str) -> None:
        for told in self._told:
            told(name)


def first_shut(gates: Sequence[Gate], names: Sequence[str], now: Instant) -> tuple[str, Room] | None:
    """What holds runs with these names up now."""
    for name in names:
        for gate in gates:
            room = gate.room(name, now)
            if room is not None and room.left <= 0:
                return name, room
    return None
