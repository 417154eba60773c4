"""What ledgers look like, and what is asked of them."""

from __future__ import annotations

from typing import get_args

from taskscheduler.api.schemas.query import parameter
from taskscheduler.api.schemas.shapes import COUNT, ID, INSTANT, TEXT, Schema, array, nullable, response, words
from taskscheduler.projections.whys import Outcome

LEDGER_PARAMETERS = [
    parameter("from", INSTANT, "At or after; by default when the task was created."),
    parameter("to", INSTANT, "Before; by default now."),
]

WHY_PARAMETERS = [parameter("at", INSTANT, "The instant that is meant.", required=True)]

_DIFFERENCE = response(
    {
        "from": INSTANT,
        "until": {**INSTANT, "description": "The last of the fire times that it is about."},
        "nominal": {**COUNT, "description": "How many there are by the schedule."},
        "accounted": {**COUNT, "description": "How many are accounted for."},
        "detail": TEXT,
    }
)

COMPONENTS: dict[str, Schema] = {
    "Ledger": response(
        {
            "task_id": ID,
            "from": INSTANT,
            "to": INSTANT,
            "known_from": {
                **nullable(INSTANT),
                "description": "Runs before it are no longer kept: everything is counted from then on.",
            },
            "nominal": {**COUNT, "description": "Fire times by the schedules in force."},
            "fired": COUNT,
            "caught_up": COUNT,
            "skipped": {"type": "object", "additionalProperties": COUNT, "description": "By reason."},
            "owed": {**COUNT, "description": "They have come and wait for their turn."},
            "pending": {**COUNT, "description": "They have come and are not settled yet."},
            "to_come": COUNT,
            "backfilled": {**COUNT, "description": "Runs made by backfills; no part of the sum."},
            "balanced": {"type": "boolean", "description": "Each is accounted for exactly once."},
            "differing": {**COUNT, "description": "Fire times accounted for otherwise than once."},
            "differences": {**array({**_DIFFERENCE}), "description": "At most 100."},
        },
        description="Nominal fire times, and what became of each.",
        examples=[
            {
                "task_id": "nightly",
                "from": "2030-01-01T00:00:00.000Z",
                "to": "2030-02-01T00:00:00.000Z",
                "known_from": None,
                "nominal": 31,
                "fired": 28,
                "caught_up": 1,
                "skipped": {"overlap": 1},
                "owed": 0,
                "pending": 0,
                "to_come": 1,
                "backfilled": 0,
                "balanced": True,
                "differing": 0,
                "differences": [],
            }
        ],
    ),
    "Why": response(
        {
            "task_id": ID,
            "at": INSTANT,
            "nominal_at": {**nullable(INSTANT), "description": "The fire time that it is about, if it is about one."},
            "outcome": words(*get_args(Outcome)),
            "answer": {**TEXT, "description": "Some plain sentences."},
            "run_id": {**nullable(ID), "description": "The run, or the row of skips."},
            "before": {**nullable(INSTANT), "description": "The fire time before, where `at` is none."},
            "after": {**nullable(INSTANT), "description": "The fire time after, where `at` is none."},
            "events": array(
                response(
                    {
                        "version": COUNT,
                        "at": INSTANT,
                        "type": {**TEXT, "examples": ["attempt.claimed.v1"]},
                        "summary": TEXT,
                    }
                ),
                description="What led to it, oldest first; `version` finds it among the events of the task.",
            ),
        },
        description="Why a task did or did not run at an instant.",
        examples=[
            {
                "task_id": "nightly",
                "at": "2030-01-31T02:00:00.000Z",
                "nominal_at": "2030-01-31T02:00:00.000Z",
                "outcome": "skipped",
                "answer": "It did not run: the run 01bc-0001 was still active (overlap skip).",
                "run_id": "01bd-0002",
                "before": None,
                "after": None,
                "events": [
                    {
                        "version": 31,
                        "at": "2030-01-31T02:00:00.004Z",
                        "type": "fires.skipped.v1",
                        "summary": "skipped (overlap)",
                    }
                ],
            }
        ],
    ),
}
