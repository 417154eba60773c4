"""What may hold waiting runs up by name: `queue:<queue>`, `host:<host>`, `key:<concurrency key>`."""

from __future__ import annotations

from collections.abc import Callable
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
