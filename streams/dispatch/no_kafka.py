"""The kafka target of a server that knows no brokers."""

from __future__ import annotations

from taskscheduler.domain.events import Error
from taskscheduler.streams.dispatch.dispatcher import Attempted, Outcome


class NoKafka:
    """Implements Target for kafka where there are no brokers: a task that was made elsewhere must not wait unseen."""

    group = "kafka"
    at_once = 16

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def call(self, attempt: Attempted) -> Outcome:
        """Fail, saying what is missing."""
        return Outcome(error=Error("kafka_not_set_up", self._reason))

    async def close(self) -> None:
        """Nothing is open."""
