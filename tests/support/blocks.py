"""A gate that tests shut and open by hand."""

from __future__ import annotations

from collections.abc import Callable

from taskscheduler.domain.values import Instant
from taskscheduler.streams.gates import Room


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
