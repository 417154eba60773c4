"""Targets in requests."""

from __future__ import annotations

from typing import Protocol

from taskscheduler.api.schemas import exec_target, http_target, kafka_target
from taskscheduler.api.schemas.fields import Fields
from taskscheduler.api.schemas.shapes import ID, Schema, request
from taskscheduler.domain.definition import NoopTarget, QueueTarget, Target

_TYPES = ("noop", "http", "queue", "kafka", "exec")


class Rules(kafka_target.Rules, Protocol):
    """What the settings allow targets to be."""

    def wrong_with_url(self, url: str) -> str | None:
        """Why it may not be called, or None."""
        ...


def read_target(fields: Fields | None, rules: Rules) -> Target:
    """The target; `noop` where there is an error."""
    if fields is None:
        return NoopTarget()
    kind = fields.take("type", required=True)
    target: Target = NoopTarget()
    if kind == "http":
        target = http_target.read_http(fields, rules.wrong_with_url)
    elif kind == "queue":
        queue, name = fields.id("queue", required=True), fields.id("kind", required=True)
        target = QueueTarget(queue=queue or "", kind=name or "")
    elif kind == "exec":
        target = exec_target.read_exec(fields)
    elif kind == "kafka":
        target = kafka_target.read_kafka(fields, rules)
    elif kind != "noop":
        if kind is not None:
            fields.error("type", f"must be one of {', '.join(_TYPES)}")
        return target
    fields.end()
    return target


SCHEMA: Schema = {
    "description": "What runs.",
    "oneOf": [
        request({"type": {"const": "noop"}}, title="Nothing", description="Succeeds at once."),
        http_target.SCHEMA,
        request(
            {"type": {"const": "queue"}, "queue": ID, "kind": ID},
            title="A worker",
            description="A worker that pulls from `queue` runs its handler named `kind`.",
        ),
        kafka_target.SCHEMA,
        exec_target.SCHEMA,
    ],
    "examples": [
        {"type": "http", "url": "https://example.com/jobs/report"},
        {
            "type": "http",
            "url": "https://example.com/hooks",
            "auth": {"bearer": "example-token"},
            "sign": {"secret": "example-hook"},
        },
        {"type": "queue", "queue": "mail", "kind": "send-welcome"},
        {"type": "kafka", "topic": "orders", "key": "customer-7"},
        {"type": "exec", "queue": "backups", "argv": ["rsync", "-a", "/data/", "/backup/"]},
        {"type": "noop"},
    ],
}
