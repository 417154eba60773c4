"""What a kafka target puts onto a topic: which topics it may, and an attempt as a CloudEvent (1.0, binary mode)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from taskscheduler.domain.definition import KafkaTarget
from taskscheduler.streams.dispatch.dispatcher import Attempted
from taskscheduler.streams.dispatch.payload import cause_of, payload_of

TOPIC_PATTERN = r"^[A-Za-z0-9._-]{1,249}$"
_TOPIC = re.compile(TOPIC_PATTERN)

EVENT_TYPE = "taskscheduler.run"
"""What an event is, unless the target's header `ce_type` says otherwise."""

OVERRIDABLE = frozenset(("ce_type", "ce_subject"))
RESERVED_PREFIX = "ce_"
CONTENT_TYPE = "content-type"


def wrong_with_topic(topic: str, prefix: str, allowed: Sequence[str]) -> str | None:
    """Why nothing may be produced to it, or None. `prefix` is that of the scheduler's own topics."""
    if not _TOPIC.fullmatch(topic) or topic in (".", ".."):
        return "must be 1 to 249 letters, digits, dots, dashes or underscores"
    if topic.startswith("__"):
        return "is a topic of Kafka itself"
    if topic == prefix or topic.startswith(f"{prefix}."):
        return f"is a topic of the scheduler: those that begin with {prefix}. hold its log"
    if not any(fnmatchcase(topic, pattern) for pattern in allowed):
        return f"is not among the topics that kafka targets may use: {', '.join(allowed)} (kafka_target.topics)"
    return None


def value_of(attempt: Attempted) -> bytes:
    """The payload as JSON; never nothing, which would delete what a compacted topic holds under the key."""
    return payload_of(attempt) or b"null"


def headers_of(attempt: Attempted, target: KafkaTarget, source: str) -> list[tuple[str, bytes]]:
    """The headers. Source and id are the same in all attempts of a run: by them a consumer knows a repetition."""
    scheduled = datetime.fromtimestamp(attempt.run.scheduled_for / 1000, UTC)
    headers = {
        "ce_specversion": "1.0",
        "ce_id": attempt.run.id,
        "ce_source": f"{source}/tasks/{attempt.task_id}",
        "ce_type": EVENT_TYPE,
        "ce_subject": attempt.task_id,
        "ce_time": scheduled.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "ce_attempt": str(attempt.number),
        CONTENT_TYPE: "application/json",
    }
    if (cause := cause_of(attempt)) is not None:
        headers["ce_causedby"] = cause
    return [(name, value.encode()) for name, value in (headers | target.headers).items()]
