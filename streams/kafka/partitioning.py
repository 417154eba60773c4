"""Which partition holds a stream: our own function, so that no client library's idea of hashing can move one."""

from __future__ import annotations

from functools import lru_cache

from taskscheduler.domain.ids import hash_of


@lru_cache(maxsize=16_384)
def partition_of(stream: str, partitions: int) -> int:
    """The partition of a stream in a log with so many partitions. Must never change: it decides where streams are."""
    return hash_of(stream) % partitions
