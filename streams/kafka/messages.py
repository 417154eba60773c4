"""What is on the topics besides decisions and is read on both sides of Flink. Needs no client of Kafka."""

from __future__ import annotations

import msgspec

from taskscheduler.domain.values import Instant


class Genesis(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="genesis.v1"):
    """The first message of a partition. `log_id` names the log for ever; `partition` is where the message belongs."""

    log_id: str
    partitions: int
    partition: int


class Trigger(msgspec.Struct, frozen=True, gc=False):
    """A stream needs attention: as of its decision number `version` it was due at `due_at`.

    The same may come again; it decides nothing. `fired_at` is the clock of the machine that gave it.
    """

    stream: str
    version: int
    due_at: Instant
    fired_at: Instant = 0
