"""What workers say about themselves, and how they are shown."""

from __future__ import annotations

from typing import get_args

from taskscheduler.api.schemas.fields import ID_HINT, Fields
from taskscheduler.api.schemas.shapes import (
    COUNT,
    ID,
    INSTANT,
    LABEL,
    TEXT,
    Schema,
    array,
    nullable,
    ref,
    request,
    response,
    text,
    whole,
    words,
)
from taskscheduler.api.schemas.work import KIND, MOST_KINDS, read_kind
from taskscheduler.domain.ids import is_id
from taskscheduler.domain.messages import Announce
from taskscheduler.domain.worker import WorkerStatus
from taskscheduler.domain.worker_info import WorkerInfo

MOST_QUEUES = 100
MOST_RUNNING = 1_000_000
LONGEST_LABEL = 200
WORKER_STATUSES: tuple[WorkerStatus, ...] = get_args(WorkerStatus)


def read_announcement(fields: Fields) -> Announce:
    """What a worker says; errors are collected in `fields.errors`."""
    fields.required("queues")
    info = WorkerInfo(
        instance=fields.id("instance", required=True) or "",
        queues=tuple(fields.each("queues", MOST_QUEUES, _queue)),
        kinds=tuple(fields.each("kinds", MOST_KINDS, read_kind)),
        concurrency=fields.integer("concurrency", 1, MOST_RUNNING, 1),
        version=fields.label("version", 0, LONGEST_LABEL) or "",
        host=fields.label("host", 0, LONGEST_LABEL) or "",
        pid=fields.integer("pid", 0, 2**31, 0),
    )
    running = fields.integer("running", 0, MOST_RUNNING, 0)
    fields.end()
    return Announce(info, running)


def read_leaving(fields: Fields) -> str:
    """Which process leaves."""
    instance = fields.id("instance", required=True) or ""
    fields.end()
    return instance


def _queue(value: object) -> str:
    if isinstance(value, str) and is_id(value):
        return value
    raise ValueError(ID_HINT)


_KINDS = array({**ID, "pattern": KIND}, MOST_KINDS, description="Empty: any.")
_INSTANCE: Schema = {**ID, "description": "Tells one process from the next of the same name."}

COMPONENTS: dict[str, Schema] = {
    "WorkerIn": request(
        {"instance": _INSTANCE, "queues": array(ID, MOST_QUEUES)},
        {
            "kinds": _KINDS,
            "concurrency": whole(1, MOST_RUNNING, default=1),
            "version": text(0, LONGEST_LABEL, pattern=LABEL, description="Of the client."),
            "host": text(0, LONGEST_LABEL, pattern=LABEL),
            "pid": whole(0, 2**31, default=0),
            "running": whole(0, MOST_RUNNING, default=0, description="Runs that it has now."),
        },
        examples=[
            {
                "instance": "5c1f",
                "queues": ["mail"],
                "kinds": ["send-welcome"],
                "concurrency": 10,
                "version": "0.1.0",
                "host": "host-1",
                "pid": 4711,
                "running": 3,
            }
        ],
    ),
    "LeaveIn": request({"instance": _INSTANCE}, examples=[{"instance": "5c1f"}]),
    "DrainIn": request({}, {}, examples=[{}]),
    "Announced": response(
        {"drain_requested": {"type": "boolean", "description": "true: take no more work, end what runs, and leave."}}
    ),
    "Worker": response(
        {
            "name": ID,
            "status": words(*WORKER_STATUSES, description="gone: it left, or was not heard of for 90 s."),
            "queues": array(ID),
            "kinds": array(TEXT),
            "concurrency": COUNT,
            "running": {**COUNT, "description": "Runs that it had when it was seen last."},
            "version": TEXT,
            "host": TEXT,
            "pid": COUNT,
            "instance": ID,
            "started_at": {**INSTANT, "description": "When this process was seen first."},
            "last_seen_at": INSTANT,
            "drain_requested_at": nullable(INSTANT),
            "left_at": nullable(INSTANT),
        },
        description="A process that pulls from queues, as it was seen last.",
    ),
    "WorkerPage": response({"items": array(ref("Worker")), "next_cursor": nullable(TEXT)}),
}
