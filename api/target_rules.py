"""What targets may be, by the settings: asked when a task is made, and again when an attempt is."""

from __future__ import annotations

from importlib.util import find_spec

from taskscheduler.api.settings import Settings
from taskscheduler.streams.dispatch.egress import Egress
from taskscheduler.streams.dispatch.kafka_events import wrong_with_topic


class TargetRules:
    """The rules of one server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._egress = Egress(settings.http)

    def wrong_with_url(self, url: str) -> str | None:
        """Why an http target may not call it, or None."""
        return self._egress.wrong_with(url)

    def wrong_with_kafka(self) -> str | None:
        """Why there are no kafka targets here, or None."""
        if self._settings.kafka_of_targets is None:
            return "needs brokers, and this server knows none: set kafka_target.bootstrap_servers"
        if find_spec("aiokafka") is None:
            return "needs the package aiokafka on this server: pip install 'taskscheduler[kafka]'"
        return None

    def wrong_with_topic(self, topic: str) -> str | None:
        """Why a kafka target may not produce to it, or None."""
        return wrong_with_topic(topic, self._settings.kafka.topic_prefix, self._settings.kafka_target.topics)
