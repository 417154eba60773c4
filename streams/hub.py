"""Live events: what was just accepted, to whoever listens. Holds a bounded past to resume from."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Collection, Sequence

import msgspec

from taskscheduler.domain.decision import AnyAccepted, Record
from taskscheduler.domain.entities import TASK_STREAM, id_of
from taskscheduler.domain.events import tag_of
from taskscheduler.domain.values import Instant

PAST = 10_000
"""Decisions that can be resumed from."""


class LiveEvent(msgspec.Struct, frozen=True, gc=False):
    """One event of an accepted decision. `gap` says that events before it were missed.

    `id` is the place on the log to go on after, a position for each partition: that of the decision for its last
    event, and of the one before for the others. `event` is the event as JSON text, its name being `type`.
    """

    id: str
    gap: bool
    task_id: str
    type: str
    version: int
    recorded_at: Instant
    actor: str
    cause: str | None
    event: str


Place = list[int]
"""A position for each partition."""


class Hub:
    """An observer of replicas that tells of tasks, and lets any number of listeners follow, each at its own pace.

    Partitions are in the order in which they were folded here; what comes from one partition is in its own order.
    """

    def __init__(self, partitions: int = 1, past: int = PAST) -> None:
        self._past: deque[tuple[int, int, Record]] = deque(maxlen=past)
        self._dropped_to: Place = [0] * partitions
        self._last: Place = [0] * partitions
        self._added = 0
        self._grown = asyncio.Event()
        self._closed = False
        self.listeners = 0

    def begin(self, partition: int, position: int) -> None:
        """Nothing up to `position` can be given."""
        self._dropped_to[partition] = self._last[partition] = position

    def remember(self, partition: int, position: int, record: Record) -> None:
        """Add a decision to the past. Positions of a partition rise."""
        if self._last[partition] == 0:
            self._dropped_to[partition] = max(self._dropped_to[partition], position - 1)
        if len(self._past) == self._past.maxlen:
            dropped, at, _ = self._past[0]
            self._dropped_to[dropped] = at
        self._past.append((partition, position, record))
        self._last[partition] = position
        self._added += 1

    def apply(self, accepted: Sequence[AnyAccepted]) -> None:
        """Remember these decisions and wake who listens."""
        for change in accepted:
            self.remember(change.partition, change.position, change.record)
        if self.listeners:
            grown, self._grown = self._grown, asyncio.Event()
            grown.set()

    def close(self) -> None:
        """End every subscription."""
        self._closed = True
        self._grown.set()

    def place(self, text: str) -> Place | None:
        """The place that an id names; None when it is not the id of an event of this log."""
        parts = text.split(".")
        if len(parts) != len(self._last) or not all(p.isascii() and p.isdigit() and len(p) <= 18 for p in parts):
            return None
        return [int(part) for part in parts]

    async def subscribe(
        self, after: Place | None = None, task_id: str | None = None, types: Collection[str] | None = None
    ) -> AsyncIterator[LiveEvent]:
        """Events after the decisions at `after` (None: from now on), then live ones, until closed.

        The first event is marked when some after `after` can no longer be given.
        """
        last = self._last
        gap = after is not None and self._beyond(after)
        place = list(last) if after is None else [min(pair) for pair in zip(after, last, strict=True)]
        seen = self._added if after is None else 0
        self.listeners += 1
        try:
            while not self._closed:
                grown = self._grown
                gap = gap or any(mine < dropped for mine, dropped in zip(place, self._dropped_to, strict=True))
                missed, seen = self._since(seen), self._added
                for partition, position, record in missed:
                    if position <= place[partition]:
                        continue
                    place[partition] = position
                    for live in _events(place, partition, record, task_id, types):
                        yield msgspec.structs.replace(live, gap=True) if gap else live
                        gap = False
                await grown.wait()
        finally:
            self.listeners -= 1

    def _beyond(self, after: Place) -> bool:
        bounds = zip(after, self._dropped_to, self._last, strict=True)
        return any(position < dropped or position > last for position, dropped, last in bounds)

    def _since(self, seen: int) -> list[tuple[int, int, Record]]:
        """What was added after the first `seen`, as far as it is kept."""
        count = min(self._added - seen, len(self._past))
        found = list(itertools.islice(reversed(self._past), count))
        found.reverse()
        return found


def _events(
    place: Place, partition: int, record: Record, task_id: str | None, types: Collection[str] | None
) -> list[LiveEvent]:
    of = id_of(record.stream)
    if not record.stream.startswith(TASK_STREAM) or (task_id is not None and of != task_id):
        return []
    wanted = [event for event in record.events if types is None or tag_of(event) in types]
    before = [position - (of_partition == partition) for of_partition, position in enumerate(place)]
    return [
        # A follower that is cut off within a decision is given all of it again, rather than never its rest.
        LiveEvent(
            id=".".join(map(str, place if number == len(wanted) else before)),
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
