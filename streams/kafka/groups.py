"""Consumer groups: how the instances of a role share the partitions of a topic among them."""

from __future__ import annotations

from typing import Any

from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from taskscheduler.streams.kafka.client_options import KafkaSettings, client_options

SESSION = 6_000
"""Milliseconds. The partitions of an instance that died are given to others after this."""

_HEARTBEAT = 1_000
_HOUR = 3_600_000


def group_options(settings: KafkaSettings, role: str) -> dict[str, Any]:
    """For a consumer in the group of a role. What an instance has it keeps when others come and go, if that is fair."""

    class Sticky(StickyPartitionAssignor):  # type: ignore[misc]
        """aiokafka's own keeps in the class what it was assigned: two consumers would take each other's for theirs."""

    return {
        **client_options(settings),
        "group_id": f"{settings.topic_prefix}.{role}",
        "enable_auto_commit": False,
        "session_timeout_ms": SESSION,
        "heartbeat_interval_ms": _HEARTBEAT,
        # An instance that waits for Kafka or has nothing to do stays a member: its heartbeats say that it lives.
        "max_poll_interval_ms": _HOUR,
        "partition_assignment_strategy": (Sticky,),
    }
