"""Claim requests that have found nothing and wait, in the order in which they came."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from taskscheduler.domain.definition import EXEC_KIND, Lane
from taskscheduler.domain.values import Millis
from taskscheduler.streams.handing import Handed


class Seat:
    """One that waits for up to `room` runs. Once it was `taken`, `handed` is set with what it was handed over."""

    def __init__(self, worker: str, kinds: Sequence[str] | None, room: int, lease: Millis, request: str | None) -> None:
        self.worker = worker
        self.kinds = kinds
        self.room = room
        self.lease = lease
        self.request = request
        self.taken = False
        self.tokens: list[str] = []
        self.handed: asyncio.Future[Sequence[Handed]] = asyncio.get_running_loop().create_future()

    def suits(self, lane: Lane) -> bool:
        """Whether it takes what waits in the lane."""
        return lane.kind != EXEC_KIND if self.kinds is None else lane.kind in self.kinds


class Seats:
    """Those of all queues."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[Seat, None]] = {}

    def sit(self, group: str, seat: Seat) -> None:
        """It waits from now on."""
        self._waiting.setdefault(group, {})[seat] = None

    def rise(self, group: str, seat: Seat) -> None:
        """It waits no longer."""
        if (waiting := self._waiting.get(group)) is not None:
            waiting.pop(seat, None)
            if not waiting:
                del self._waiting[group]

    def take(self, lane: Lane) -> Seat | None:
        """The first that suits; it waits no longer, but for what becomes of its claims."""
        for seat in self._waiting.get(lane.group, ()):
            if seat.suits(lane):
                self.rise(lane.group, seat)
                seat.taken = True
                return seat
        return None
