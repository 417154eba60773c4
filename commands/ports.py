"""What the command side needs from the outside: a log to append to and a replica that folds it."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

import msgspec

from taskscheduler.domain.decision import Record, Verdict
from taskscheduler.domain.entities import Entity
from taskscheduler.domain.values import Instant


class LogUnavailable(Exception):
    """The log did not take the records, or did not say in time: whether they are on it is unknown."""


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """Where a record landed. `position` is None when the log itself refused it, and `verdict` says why."""

    partition: int
    position: int | None
    appended_at: Instant
    verdict: Verdict = Verdict.ACCEPTED


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A record as readers of the log see it. Positions of a partition rise by one from 1.

    `record` is None where what stands there is none that any reader can take: it is passed over.
    """

    partition: int
    position: int
    appended_at: Instant
    record: Record | None


class DecisionLog(Protocol):
    """The log of decisions. Order within a partition is the arbiter."""

    async def append(self, records: Sequence[Record]) -> list[Receipt]:
        """Append durably, in order; one receipt each. Raises LogUnavailable."""
        ...

    async def read(self, partition: int, after: int, limit: int) -> list[Entry]:
        """Up to `limit` entries of the partition with a position above `after`, in order; empty at the end."""
        ...

    async def wait(self, partition: int, after: int) -> None:
        """Returns when an entry above `after` can be read."""
        ...

    async def end(self, partition: int) -> int:
        """The position of the partition's last entry, 0 when it has none."""
        ...

    def partition_of(self, stream: str) -> int:
        """The partition that holds the stream."""
        ...


class Folded(Protocol):
    """The keyed state that a replica folds the log into."""

    def state(self, id: str) -> Entity:
        """The state of what has this id as far as the log is applied; an empty one when it never existed."""
        ...

    def expect(self, record_ids: Sequence[str]) -> Awaitable[list[Verdict]]:
        """Register before appending: resolves to the verdict on each record's first occurrence, in the order given.

        Cancelling what is returned forgets the records.
        """
        ...

    def drafted(self, record: Record, before: Entity, after: Entity) -> None:
        """The decider folded its record on `before` already; a replica that is still there may take over `after`."""
        ...

    def token(self, id: str) -> str:
        """Up to where the log is folded that holds what has this id, as `partition:position`."""
        ...

    async def caught_up(self, id: str) -> None:
        """Returns when everything that was on its partition at the call is applied (the read barrier)."""
        ...
