"""What the job reads and writes besides decisions, as JSON on its topics."""

from __future__ import annotations

import msgspec

from taskscheduler.domain.values import Instant


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """A record that counts as refused by every reader, where it stands on the log, and why."""

    partition: int
    position: int
    appended_at: Instant
    reason: str


class Marker(msgspec.Struct, frozen=True, gc=False):
    """A question: what is kept of these streams? Each gives a Digest with the same `marker`."""

    marker: str
    streams: tuple[str, ...]


class Digest(msgspec.Struct, frozen=True, gc=False):
    """What the job keeps of a stream; version 0 when it keeps nothing."""

    marker: str
    stream: str
    version: int
    wakeup: Instant | None
    chain: str
