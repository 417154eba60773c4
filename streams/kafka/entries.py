"""From messages of the log to entries. What a reader makes of one depends on its envelope and partition alone."""

from __future__ import annotations

from typing import Any

from taskscheduler.commands.ports import Entry
from taskscheduler.domain.decision import Record
from taskscheduler.streams.codec import UnknownEvent, Unreadable, decode_envelope, decode_record
from taskscheduler.streams.kafka.partitioning import partition_of


def entry_of(message: Any, partitions: int) -> Entry:
    """The entry of a consumer's message; without a record when it is unreadable or in a partition not its own.

    Raises UnknownEvent for what a newer release wrote.
    """
    record = None if message.value is None else record_of(message.value, message.partition, partitions)
    return Entry(message.partition, message.offset, message.timestamp, record)


def record_of(value: bytes, partition: int, partitions: int) -> Record | None:
    """The record in a message's value; None and UnknownEvent as for an entry."""
    try:
        record = decode_record(value)
    except Unreadable:
        return None
    except UnknownEvent:
        if partition_of(decode_envelope(value).stream, partitions) != partition:
            return None
        raise
    return record if partition_of(record.stream, partitions) == partition else None
