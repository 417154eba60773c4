"""What the job reads and writes besides decisions, as JSON on its topics."""

from __future__ import annotations

import msgspec

from taskscheduler.domain.values import Instant


class Beginning(msgspec.Struct, frozen=True, gc=False):
    """What the first message of each partition of a log says."""

    log_id: str
    partitions: int
    partition: int


class Trigger(msgspec.Struct, frozen=True, gc=False):
    """A stream needs attention: at `version` it was due at `due_at`. The same may come again; it decides nothing.

    `fired_at` is the clock of the machine that gave it.
    """

    stream: str
    version: int
    due_at: Instant
    fired_at: Instant


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
