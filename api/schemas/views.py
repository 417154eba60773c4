"""What replies look like, for OpenAPI; `render` makes them."""

from __future__ import annotations

from typing import get_args

from taskscheduler.api.schemas.chain import ONS, WHENS
from taskscheduler.api.schemas.local_forms import DAY_RULES, FOLDS, GAPS
from taskscheduler.api.schemas.policies import JITTERS
from taskscheduler.api.schemas.query import RUN_CAUSES, RUN_STATUSES, TASK_STATUSES
from taskscheduler.api.schemas.shapes import (
    ANY,
    COUNT,
    DURATION_OUT,
    ID,
    INSTANT,
    STEPS_OUT,
    TEXT,
    Schema,
    array,
    nullable,
    ref,
    response,
    whole,
    words,
)
from taskscheduler.api.schemas.task import OVERLAPS
from taskscheduler.api.schemas.unique import SHOWN as UNIQUE
from taskscheduler.api.schemas.work import KIND
from taskscheduler.domain.events import BackfillOverlap
from taskscheduler.domain.state import MAX_BACKFILLS, BackfillStatus, Counts

_TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
_PAYLOAD: Schema = {**ANY, "description": "As it was given."}

_ERROR = response({"type": TEXT, "message": TEXT})
_ATTEMPT = response(
    {
        "number": whole(1, 2**31),
        "worker": TEXT,
        "started_at": INSTANT,
        "finished_at": nullable(INSTANT),
        "outcome": nullable(words("succeeded", "failed", "timed_out", "lost", "cancelled", "released")),
        "error": nullable(ref("Error")),
        "progress": {**ANY, "description": "What its worker said last about how far it is."},
    },
    description="One try of a run; `outcome` is null while it runs.",
)
_UPSTREAM: Schema = {"type": "object", "additionalProperties": ref("Upstream")}
RUN: dict[str, Schema] = {
    "id": ID,
    "task_id": ID,
    "nominal_at": {**nullable(INSTANT), "description": "When it should fire by the schedule."},
    "nominal_until": {**nullable(INSTANT), "description": "The last of the fire times that this row stands for."},
    "count": {**COUNT, "description": "How many fire times the row stands for."},
    "scheduled_for": INSTANT,
    "cause": words(*RUN_CAUSES),
    "status": words(*RUN_STATUSES),
    "reason": {**nullable(TEXT), "description": "Why it was skipped or failed, or who cancelled it."},
    "attempts": array(ref("Attempt")),
    "lateness_ms": {"type": ["integer", "null"], "description": "First start minus `scheduled_for`."},
    "retry_of": nullable(ID),
    "backfill_id": {**nullable(ID), "description": "The backfill that it is part of."},
    "caused_by": {
        "anyOf": [response({"task_id": ID, "run_id": TEXT}), {"type": "null"}],
        "description": "The run whose end made a chain go on to this one.",
    },
    "upstream": {**_UPSTREAM, "description": "The runs that it follows, by task."},
    "retry_at": {**nullable(INSTANT), "description": "When the next attempt may start."},
    "finished_at": nullable(INSTANT),
    "deadline": {**nullable(INSTANT), "description": "It has failed if it has not ended by then."},
    "error": {
        "anyOf": [ref("Error"), {"type": "null"}],
        "description": "Why it failed, or why it is tried again.",
    },
}
RESULT: dict[str, Schema] = {"result": {**ANY, "description": "What the target returned, at most 64 KiB."}}
_DST = response({}, {"gap": words(*GAPS), "fold": words(*FOLDS)})
_DAY: Schema = {"type": "string", "format": "date"}
_EXCEPT = array(
    {
        "anyOf": [
            response({"date": _DAY}),
            response({"from": _DAY, "to": _DAY}),
            response({"from": INSTANT, "to": INSTANT}),
            response({"cron": TEXT}, {"timezone": TEXT}),
            response({"calendar": ID}),
        ]
    }
)


def _recurring(bounds: dict[str, Schema]) -> list[Schema]:
    return [
        response({"every": DURATION_OUT, "anchor": INSTANT}, bounds),
        response({"every": STEPS_OUT, "timezone": TEXT}, {"anchor": INSTANT, "dst": _DST, **bounds}),
        response({"cron": TEXT, "timezone": TEXT}, {"dst": _DST, "days": words(*DAY_RULES), **bounds}),
        response({"rrule": TEXT, "timezone": TEXT, "dtstart": TEXT}, {"dst": _DST, **bounds}),
    ]


_EDGES: dict[str, Schema] = {"start_at": INSTANT, "end_at": INSTANT}
_BOUNDS: dict[str, Schema] = {**_EDGES, "max_runs": {"type": "integer", "minimum": 1}, "jitter": DURATION_OUT}
_SCHEDULE: Schema = {
    "oneOf": [
        response({"at": INSTANT}, _BOUNDS),
        response({"delay": DURATION_OUT}, _BOUNDS),
        response({"manual": {"const": True}}),
        *_recurring({**_BOUNDS, "except": _EXCEPT}),
        response(
            {
                "any": array({"oneOf": [response({"at": INSTANT}, _EDGES), *_recurring(_EDGES)]}),
                "timezone": TEXT,
            },
            {**_BOUNDS, "except": _EXCEPT},
        ),
        {"type": "null"},
    ],
    "description": "null: once, when it was made.",
}
_CLOCK_NOTE: Schema = {**nullable(TEXT), "description": "What a clock change did to it, or dropped before it."}
_COMMAND: dict[str, Schema] = {"queue": ID, "argv": array(TEXT), "env": _TEXTS, "cwd": nullable(TEXT)}
_TARGET: Schema = {
    "oneOf": [
        response({"type": {"const": "exec"}, **_COMMAND}),
        response({"type": {"const": "noop"}}),
        response(
            {
                "type": {"const": "http"},
                "url": TEXT,
                "method": TEXT,
                "headers": {
                    "type": "object",
                    "additionalProperties": {"anyOf": [TEXT, response({"secret": ID})]},
                    "description": "Secrets stand here by name.",
                },
                "body": ANY,
                "expect": array({"type": ["integer", "string"]}),
            },
            {
                "auth": {
                    "oneOf": [response({"bearer": ID}), response({"basic": response({"user": TEXT, "password": ID})})],
                },
                "sign": response({"secret": ID}),
                "tls": response({}, {"cert": ID, "key": ID, "ca": ID}),
            },
        ),
        response({"type": {"const": "queue"}, "queue": ID, "kind": ID}),
        response({"type": {"const": "kafka"}, "topic": TEXT, "key": nullable(TEXT), "headers": _TEXTS}),
    ]
}
_TASK: dict[str, Schema] = {
    "id": ID,
    "name": TEXT,
    "schedule": ref("Schedule"),
    "target": ref("Target"),
    "payload": _PAYLOAD,
    "retry": ref("Retry"),
    "timeout": DURATION_OUT,
    "overlap": words(*OVERLAPS),
    "catch_up": ref("CatchUp"),
    "priority": whole(1, 9),
    "tags": _TEXTS,
    "pause_on_failure": {"type": ["integer", "null"], "minimum": 1},
    "concurrency": {"anyOf": [response({"key": TEXT, "limit": COUNT}), {"type": "null"}]},
    "queue_timeout": nullable(DURATION_OUT),
    "heartbeat_timeout": nullable(DURATION_OUT),
    "deadline": nullable(DURATION_OUT),
    "unique": {"anyOf": [ref("Unique"), {"type": "null"}]},
    "status": words(*TASK_STATUSES),
    "revision": {**whole(1, 2**62), "description": "Counts the changes of the definition."},
    "version": {**whole(1, 2**62), "description": "Counts all decisions."},
    "created_at": INSTANT,
    "updated_at": INSTANT,
    "next_fire_at": nullable(INSTANT),
    "last_run": {"anyOf": [ref("RunSummary"), {"type": "null"}]},
    "counts": ref("Counts"),
    "pause": {"anyOf": [ref("Pause"), {"type": "null"}]},
    "owed": {"anyOf": [ref("Owed"), {"type": "null"}]},
    "pending_schedule": {"anyOf": [ref("PendingSchedule"), {"type": "null"}]},
    "failures_in_row": {
        **COUNT,
        "description": "Runs that failed for good since the last that succeeded, or since the task was resumed.",
    },
    "backfills": array(ref("Backfill"), MAX_BACKFILLS),
    "then": array(ID),
    "on_failure": array(ID),
    "after": {"anyOf": [response({"tasks": array(ID), "when": words(*WHENS), "on": words(*ONS)}), {"type": "null"}]},
    "followed_by": {**array(ID), "description": "Tasks that name this one in their `after`."},
    "arrived": {**_UPSTREAM, "description": "Runs that it has heard of, while it waits for those of other tasks."},
}
_EVENT: dict[str, Schema] = {
    "type": {**TEXT, "examples": ["run.queued.v1"]},
    "version": {**COUNT, "description": "The version of the task that the decision made."},
    "time": INSTANT,
    "actor": TEXT,
    "cause": nullable(TEXT),
    "data": {"type": "object", "description": "What the event says, by its type."},
}


def page_of(item: str) -> Schema:
    """A page of a list."""
    return response({"items": array(ref(item)), "next_cursor": nullable(TEXT)})


COMPONENTS: dict[str, Schema] = {
    "Error": _ERROR,
    "Attempt": _ATTEMPT,
    "Upstream": response(
        {
            "run_id": ID,
            "status": words("succeeded", "failed", "cancelled"),
            "ended_at": INSTANT,
            "result": {**ANY, "description": "What it left; null where it is not handed on."},
            "left_out": {"type": "boolean", "description": "The results were too much together: read it from the run."},
        },
        description="A run that another one follows.",
    ),
    "Graph": response(
        {
            "task_id": ID,
            "complete": {"type": "boolean", "description": "Nothing more hangs on these tasks."},
            "nodes": array(
                response(
                    {
                        "id": ID,
                        "hops": {"type": "integer", "description": "Below 0: it runs before."},
                        "name": nullable(TEXT),
                        "status": {
                            **nullable(words(*TASK_STATUSES, "deleted")),
                            "description": "null: there is no such task any more.",
                        },
                        "next_fire_at": nullable(INSTANT),
                        "last_run": {
                            "anyOf": [
                                response({"id": ID, "status": words(*RUN_STATUSES), "cause": words(*RUN_CAUSES)}),
                                {"type": "null"},
                            ]
                        },
                    }
                )
            ),
            "edges": array(
                response(
                    {
                        "from": ID,
                        "to": {**ID, "description": "The task that runs after `from`."},
                        "kind": words("then", "on_failure", "after"),
                        "when": {**nullable(words(*WHENS)), "description": "Of `after`; null where `to` is not shown."},
                        "on": nullable(words(*ONS)),
                    }
                )
            ),
        },
        description="The tasks that run before and after one.",
    ),
    "RunSummary": response(RUN, description="A run without its result."),
    "Run": response({**RUN, **RESULT}, description="One firing of a task, or fire times that were skipped."),
    "RunDetails": response(
        {**RUN, **RESULT, "late_reports": array(ref("LateReport"))},
        description="A run, and what was reported about it too late.",
    ),
    "RunPage": page_of("Run"),
    "Schedule": _SCHEDULE,
    "Target": _TARGET,
    "Retry": response(
        {
            "max_attempts": whole(1, 100),
            "backoff": words("exponential", "linear", "fixed"),
            "initial": DURATION_OUT,
            "multiplier": {"type": "number"},
            "max": DURATION_OUT,
            "jitter": {"anyOf": [{"type": "number"}, words(*JITTERS)]},
            "max_elapsed": nullable(DURATION_OUT),
            "give_up_on": array(TEXT),
            "retry_on": {"anyOf": [array(TEXT), {"type": "null"}], "description": "null: all of them."},
        }
    ),
    "CatchUp": response({"policy": words("all", "latest", "none"), "window": DURATION_OUT, "limit": COUNT}),
    "Unique": UNIQUE,
    "Counts": response(
        dict.fromkeys(Counts.__struct_fields__, COUNT),
        description="`fired` counts runs made, `skipped` nominal times.",
    ),
    "Pause": response({"note": TEXT, "at": INSTANT, "by": TEXT}),
    "Owed": response(
        {"from": INSTANT, "until": INSTANT, "count": COUNT},
        description="Fire times in from ≤ t < until that wait to be caught up, or for the end of a run.",
    ),
    "PendingSchedule": response(
        {"schedule": ref("Schedule"), "effective_from": INSTANT, "next_fire_at": nullable(INSTANT)},
        description="The schedule that will hold for nominal times from `effective_from` on.",
    ),
    "Backfill": response(
        {
            "id": ID,
            "status": words(*get_args(BackfillStatus)),
            "from": INSTANT,
            "to": INSTANT,
            "overlap": words(*get_args(BackfillOverlap)),
            "total": {**COUNT, "description": "Its fire times: `fired` and `remaining` together."},
            "fired": {**COUNT, "description": "Runs made so far."},
            "active": {**COUNT, "description": "Those of them that have not ended."},
            "failed": {**COUNT, "description": "Those of them that failed for good."},
            "remaining": {**COUNT, "description": "Fire times without a run; after a cancellation for good."},
            "requested_at": INSTANT,
            "by": TEXT,
        },
        description="Runs for fire times that are over; the last ten are shown.",
    ),
    "Task": response(_TASK),
    "BackfilledTask": response({**_TASK, "backfill_id": ID}, description="A task and the backfill that has begun."),
    "StartedTask": response({**_TASK, "run_id": ID}, description="A task and the run that was just made."),
    "TaskPage": page_of("Task"),
    "BatchResults": response(
        {
            "results": array(
                {
                    "oneOf": [
                        response({"status": {"enum": [200, 201]}, "task": ref("Task")}),
                        response({"status": whole(400, 599), "error": ref("Problem")}),
                    ]
                }
            )
        },
        description="One result for each task, in order; 200 is a task that had the unique key already.",
    ),
    "Event": response(_EVENT, description="One fact in the history of a task."),
    "EventPage": page_of("Event"),
    "LiveEvent": response(
        {"task_id": ID, **_EVENT, "gap": {"type": "boolean", "description": "Events before it were missed."}}
    ),
    "Preview": response(
        {
            "fire_times": array(response({"at": INSTANT, "local": INSTANT, "note": _CLOCK_NOTE})),
            "description": {**TEXT, "description": "The schedule as a sentence."},
            "warnings": {
                **array(TEXT),
                "description": "Likely mistakes: what would happen, and how to avoid it.",
            },
        },
        {
            "conflicts": array(
                response({"at": INSTANT, "local": INSTANT, "calendars": array(ID)}),
                description="There where the schedule names calendars: fire times that these take out, as far as fire "
                "times are shown.",
            )
        },
    ),
    "Claims": response(
        {"claims": array(ref("Claim"))},
        {"drain_requested": {"const": True, "description": "The worker was asked to take no more work, and to leave."}},
    ),
    "Claim": response(
        {
            "token": {**TEXT, "description": "Cannot be guessed; needed for everything about the claim."},
            "task_id": ID,
            "run_id": ID,
            "attempt": whole(1, 2**31),
            "kind": {**ID, "pattern": KIND, "description": "`$exec` for a command."},
            "payload": _PAYLOAD,
            "upstream": {**_UPSTREAM, "description": "The runs that it follows, by task, with their results."},
            "scheduled_for": INSTANT,
            "deadline": {**INSTANT, "description": "The attempt ends then: by its timeout, or the run's deadline."},
            "heartbeat_timeout": {
                **nullable(DURATION_OUT),
                "description": "Where it is no longer than the lease: the attempt ends when nothing is heard so long.",
            },
            "lease_until": {**INSTANT, "description": "The attempt ends when nothing is heard by then."},
            "timeout": {**DURATION_OUT, "description": "From the claim to its deadline, for who has another clock."},
        },
        {"exec": response(_COMMAND, description="The command, where the task has an `exec` target.")},
    ),
    "Beat": response(
        {
            "cancel_requested": {"type": "boolean", "description": "true: stop, the run was cancelled."},
            "lease_until": INSTANT,
        }
    ),
    "Empty": response({}),
    "ReportResults": response(
        {
            "results": array(
                {
                    "oneOf": [
                        response({"status": {"const": 200}}),
                        response({"status": whole(400, 599), "error": ref("Problem")}),
                    ]
                }
            )
        },
        description="One result for each outcome, in order.",
    ),
    "Problem": response(
        {
            "type": {"type": "string", "format": "uri-reference"},
            "title": TEXT,
            "status": whole(400, 599),
            "detail": TEXT,
            "instance": {"type": "string", "format": "uri-reference"},
        },
        {
            "errors": array(response({"pointer": TEXT, "detail": TEXT}), description="Everything that is wrong."),
            "task_id": {**ID, "description": "The task that has the unique key."},
            "outcome": words("none", "unknown", description="`unknown`: the write may have happened."),
        },
        description="An error (RFC 9457).",
    ),
}
