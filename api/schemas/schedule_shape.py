"""What schedules look like in requests, for OpenAPI."""

from __future__ import annotations

from taskscheduler.api.durations import LONGEST
from taskscheduler.api.schemas.exclusions import MOST_EXCLUSIONS
from taskscheduler.api.schemas.local_forms import DAY_RULES, FOLDS, GAPS
from taskscheduler.api.schemas.recurrence import LONGEST_RULE
from taskscheduler.api.schemas.schedule import MOST_MEMBERS, MOST_RUNS
from taskscheduler.api.schemas.shapes import DURATION, ID, INSTANT, Schema, array, request, text, whole, words
from taskscheduler.domain.cron import MAX_EXPRESSION
from taskscheduler.domain.values import DAY, SECOND

_ZONE = text(1, 64, description="IANA name, `UTC` by default.", examples=["Europe/Berlin"])
_DST = request(
    {},
    {"gap": words(*GAPS), "fold": words(*FOLDS)},
    description="What becomes of local times that a clock change skips, or repeats. By default a fixed time of day is "
    "shifted and runs at the first; a cron expression whose minute or hour begins with `*` skips, and runs at both.",
)
_DAY = {"type": "string", "format": "date", "examples": ["2030-12-25"]}
_STEPS: Schema = {
    "anyOf": [
        DURATION["anyOf"][0],
        text(3, 12, pattern=r"^[Pp](?=.)([0-9]{1,4}[Yy])?([0-9]{1,4}[Mm])?$"),
        {"type": "number", "minimum": DAY // SECOND, "maximum": LONGEST // SECOND},
    ],
    "description": "Whole days, weeks, months or years: `1d`, `P2W`, `P1M`, `P3M`, `P1Y`; at most a hundred years.",
    "examples": ["P1M", "1d"],
}
_EXCEPT: Schema = {
    **array(
        {
            "anyOf": [
                request({"date": _DAY}, title="A day"),
                request({"from": _DAY, "to": _DAY}, title="Days, both included"),
                request({"from": INSTANT, "to": INSTANT}, title="From an instant until before another"),
                request(
                    {"cron": text(1, MAX_EXPRESSION, examples=["* 12-13 * * *"])},
                    {"timezone": text(1, 64, description="By default that of the schedule.")},
                    title="What a cron expression names",
                    description="Five fields name minutes, six seconds.",
                ),
                request({"calendar": ID}, title="The days of a calendar", description="They follow when it changes."),
            ]
        },
        MOST_EXCLUSIONS,
        minItems=1,
    ),
    "description": "What does not fire. Days are those of the schedule's timezone, UTC where it has none.",
}
_EDGES: dict[str, Schema] = {
    "start_at": {**INSTANT, "description": "No fire time before it. An interval without anchor begins here."},
    "end_at": {**INSTANT, "description": "No fire time after it."},
}
_BOUND_SCHEMAS: dict[str, Schema] = {
    **_EDGES,
    "max_runs": whole(1, MOST_RUNS, description="So many runs for fire times, then the schedule has ended."),
    "jitter": {
        **DURATION,
        "description": "Each fire time is put off by up to so much, never past the next one: the same for a task and "
        "a time, another for another task.",
    },
}


def _recurring(bounds: dict[str, Schema]) -> list[Schema]:
    return [
        request(
            {"every": DURATION},
            {"anchor": INSTANT, **bounds},
            title="At an interval",
            description="Fires at anchor + k·every, k ≥ 1, by elapsed time; at least 100 ms. `anchor` is by default "
            "when it was made.",
        ),
        request(
            {"every": _STEPS, "timezone": _ZONE},
            {"anchor": INSTANT, "dst": _DST, **bounds},
            title="At an interval in local time",
            description="Keeps the local time of the anchor, which is a whole second, and counts from it: a day that "
            "a month lacks is its last one.",
        ),
        request(
            {
                "cron": text(
                    1,
                    MAX_EXPRESSION,
                    description="Five fields, six with seconds first, seven with the year last, or `@daily` and such.",
                    examples=["0 2 * * *", "0 0 9 LW * ?", "H H(0-5) * * *"],
                )
            },
            {
                "timezone": _ZONE,
                "dst": _DST,
                "days": {
                    **words(*DAY_RULES),
                    "description": "How day of month and day of week combine where both are set: five fields `or` by "
                    "default, six and seven `and`.",
                },
                **bounds,
            },
            title="By cron",
            description="`@every 90s` is taken as an interval, a prefix `CRON_TZ=` as `timezone`, and `H` stands for "
            "values that follow from the task's id.",
        ),
        request(
            {"rrule": text(1, LONGEST_RULE, examples=["FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1"])},
            {
                "dtstart": text(
                    1,
                    40,
                    description="The local time at which it begins, without offset. Needed unless rrule names it.",
                    examples=["2030-01-31T09:00:00"],
                ),
                "timezone": _ZONE,
                "dst": _DST,
                **bounds,
            },
            title="By a recurrence rule",
            description="RFC 5545: a rule alone, or with RRULE: before it and a line DTSTART as in a calendar.",
        ),
    ]


_AT = "At most an hour in the past."

SCHEMA: Schema = {
    "description": "When the task runs. Left out: now, once. Recurring ones miss nothing silently; see `catch_up`.",
    "oneOf": [
        request({"at": INSTANT}, _BOUND_SCHEMAS, title="Once, at an instant", description=_AT),
        request({"delay": DURATION}, _BOUND_SCHEMAS, title="Once, after a delay"),
        request(
            {"manual": {"const": True}},
            title="Never by itself",
            description="Runs when a task that it follows has ended, when it is triggered, and else not at all.",
        ),
        *_recurring({**_BOUND_SCHEMAS, "except": _EXCEPT}),
        request(
            {
                "any": array(
                    {"oneOf": [request({"at": INSTANT}, _EDGES, title="An instant"), *_recurring(_EDGES)]},
                    MOST_MEMBERS,
                    minItems=1,
                )
            },
            {"timezone": _ZONE, **_BOUND_SCHEMAS, "except": _EXCEPT},
            title="Any of several schedules",
            description="Fires whenever one of them does, once where several do. `timezone` is that of days in "
            "`except`, and of members by cron or rule that name none.",
        ),
    ],
    "examples": [
        {"cron": "0 2 * * *", "timezone": "Europe/Berlin"},
        {"cron": "30 2 LW * *", "timezone": "Europe/Berlin", "dst": {"gap": "skip", "fold": "last"}},
        {"every": "15m"},
        {"every": "P1M", "timezone": "Europe/Berlin", "anchor": "2030-01-31T08:00:00Z"},
        {
            "rrule": "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
            "timezone": "Europe/Berlin",
            "dtstart": "2030-01-31T09:00:00",
        },
        {
            "any": [{"cron": "0 9 * * MON-FRI"}, {"cron": "0 11 * * SAT"}],
            "except": [{"calendar": "de-holidays"}, {"date": "2030-12-25"}, {"from": "2030-12-31", "to": "2031-01-01"}],
            "timezone": "Europe/Berlin",
        },
        {"at": "2030-01-31T08:00:00Z"},
        {"delay": "30s"},
        {"manual": True},
    ],
}
