"""Why Kafka is not used, or no longer. Every message is a sentence for the operator and holds no secret."""

from __future__ import annotations


class KafkaRefused(Exception):
    """The brokers, topics or settings do not keep the promises, or cannot be used: the start is refused."""


class LogOutOfRange(Exception):
    """The log no longer holds what comes next: records were deleted or lost. Nothing may go on from here."""
