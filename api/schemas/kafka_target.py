"""A kafka target in requests."""

from __future__ import annotations

import re
from typing import Protocol

from taskscheduler.api.schemas.fields import Fields
from taskscheduler.api.schemas.shapes import Schema, request, text
from taskscheduler.domain.definition import KafkaTarget
from taskscheduler.streams.dispatch.kafka_events import OVERRIDABLE, RESERVED_PREFIX, TOPIC_PATTERN

LONGEST_TOPIC = 249
LONGEST_KEY = 1_000
LONGEST_HEADER = 1_000
MOST_HEADERS = 50

_NAME = re.compile(r"[!-~]{1,100}")


class Rules(Protocol):
    """What the settings say of kafka targets."""

    def wrong_with_kafka(self) -> str | None:
        """Why there are none here, or None."""
        ...

    def wrong_with_topic(self, topic: str) -> str | None:
        """Why nothing may be produced to it, or None."""
        ...


def read_kafka(fields: Fields, rules: Rules) -> KafkaTarget:
    """The target; its errors are collected in `fields.errors`."""
    if (wrong := rules.wrong_with_kafka()) is not None:
        fields.error("type", wrong)
    topic = fields.text("topic", 1, LONGEST_TOPIC, required=True)
    if topic is not None and (wrong := rules.wrong_with_topic(topic)) is not None:
        fields.error("topic", wrong)
    return KafkaTarget(topic or "", fields.text("key", 1, LONGEST_KEY), _read_headers(fields))


def _read_headers(fields: Fields) -> dict[str, str]:
    given = fields.object("headers")
    if given is None:
        return {}
    if len(names := given.names()) > MOST_HEADERS:
        fields.error("headers", f"must be at most {MOST_HEADERS}")
    headers = {}
    for name in names:
        if not _NAME.fullmatch(name):
            given.error(name, "is no name of a header: 1 to 100 printable ASCII characters")
        elif name.lower().startswith(RESERVED_PREFIX) and name not in OVERRIDABLE:
            given.error(name, f"is set by the scheduler; {' and '.join(sorted(OVERRIDABLE))} can be given")
        headers[name] = given.text(name, 0, LONGEST_HEADER, required=True) or ""
    return headers


SCHEMA: Schema = request(
    {"type": {"const": "kafka"}, "topic": text(1, LONGEST_TOPIC, pattern=TOPIC_PATTERN, examples=["orders"])},
    {
        "key": text(1, LONGEST_KEY),
        "headers": {
            "type": "object",
            "maxProperties": MOST_HEADERS,
            "propertyNames": {"pattern": "^[!-~]{1,100}$"},
            "additionalProperties": text(0, LONGEST_HEADER),
            "description": "Beside those of a CloudEvent, of which `ce_type` and `ce_subject` can be given.",
            "examples": [{"ce_type": "com.example.order.due"}],
        },
    },
    title="A message on a Kafka topic",
    description="The payload as a CloudEvent 1.0 in binary mode: `ce_source` and `ce_id`, the id of the run, are the "
    "same for all attempts; `ce_attempt` counts them.",
)
