"""Live events: what was just accepted, to whoever listens. Holds a bounded past to resume from."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Sequence

import msgspec

from taskscheduler.domain.decision import Accepted, Record, task_id_of
from taskscheduler.domain.events import tag_of
from taskscheduler.domain.values import Instant

PAST = 10_000
"""Decisions that can be resumed from."""


class LiveEvent(msgspec.Struct, frozen=True, gc=False):
    """One event of an accepted decision. `gap` says that events before it were missed.

    `id` is the position on the log to go on after: that of the decision for its last event, and of the one before for
    the others. `event` is the event as JSON text, its name being `type`.
    """

    id: int
    gap: bool
    task_id: str
    type: str
    version: int
    recorded_at: Instant
    actor: str
    cause: str | None
    event: str


class Hub:
    """An observer of a replica that lets any number of listeners follow, each at its own pace."""

    def __init__(self, past: int = PAST) -> None:
        self._past: deque[tuple[int, Record]] = deque(maxlen=past)
        self._dropped_to = 0
        self._grown = asyncio.Event()
        self._closed = False
        self.listeners = 0

    def remember(self, position: int, record: Record) -> None:
        """Add a decision to the past. Positions rise."""
        if not self._past:
            self._dropped_to = max(self._dropped_to, position - 1)
        elif len(self._past) == self._past.maxlen:
            self._dropped_to = self._past[0][0]
        self._past.append((position, record))

    def apply(self, accepted: Sequence[Accepted]) -> None:
        """Remember these decisions and wake who listens."""
        for change in accepted:
            self.remember(change.position, change.record)
        if self.listeners:
            grown, self._grown = self._grown, asyncio.Event()
            grown.set()

    def close(self) -> None:
        """End every subscription."""
        self._closed = True
        self._grown.set()

    async def subscribe(
        self, after: int | None = None, task_id: str | None = None, types: Collection[str] | None = None
    ) -> AsyncIterator[LiveEvent]:
        """Events after the decision at position `after` (None: from now on), then live ones, until closed.

        The first event is marked when some after `after` can no longer be given.
        """
        last = self._past[-1][0] if self._past else self._dropped_to
        position = last if after is None else after
        gap = after is not None and (after < self._dropped_to or after > last)
        position = min(position, last)
        self.listeners += 1
        try:
            while not self._closed:
                grown = self._grown
                for at, record in self._after(position):
                    gap = gap or position < self._dropped_to
                    position = at
                    for live in _events(at, record, task_id, types):
                        yield msgspec.structs.replace(live, gap=True) if gap else live
                        gap = False
                await grown.wait()
        finally:
            self.listeners -= 1

    def _after(self, position: int) -> list[tuple[int, Record]]:
        found: list[tuple[int, Record]] = []
        for at, record in reversed(self._past):
            if at <= position:
                break
            found.append((at, record))
        found.reverse()
        return found


def _events(at: int, record: Record, task_id: str | None, types: Collection[str] | None) -> list[LiveEvent]:
    of = task_id_of(record.stream)
    if task_id is not None and of != task_id:
        return []
    wanted = [event for event in record.events if types is None or tag_of(event) in types]
    return [
        # A follower that is cut off within a decision is given all of it again, rather than never its rest.
        LiveEvent(
            id=at if number == len(wanted) else at - 1,
            gap=False,
            task_id=of,
            type=tag_of(event),
            version=record.expected_version + 1,
            recorded_at=record.recorded_at,
            actor=record.actor,
            cause=record.cause,
            event=msgspec.json.encode(event).decode(),
        )
        for number, event in enumerate(wanted, 1)
    ]
