"""How a trigger gets into the partition of its stream.

Flink's Kafka sink leaves the choice to Kafka's client, which takes the murmur2 hash of a message's key. So the key of a
trigger is one that this hash sends to the partition that our own function has chosen.
"""

from __future__ import annotations

from itertools import count

from aiokafka.partitioner import murmur2


def routing_keys(partitions: int) -> tuple[str, ...]:
    """For each partition the first number that Kafka's client sends there."""
    found: dict[int, str] = {}
    numbers = count()
    while len(found) < partitions:
        number = str(next(numbers))
        found.setdefault((murmur2(number.encode()) & 0x7FFFFFFF) % partitions, number)
    return tuple(found[partition] for partition in range(partitions))
