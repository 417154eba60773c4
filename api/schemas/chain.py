"""Chains in requests: which tasks run after this one, and which it runs after."""

from __future__ import annotations

from typing import Any, get_args

from taskscheduler.api.schemas.fields import ID_HINT, Fields
from taskscheduler.api.schemas.shapes import ID, Schema, array, request, words
from taskscheduler.domain.definition import After, On
from taskscheduler.domain.ids import is_id

MOST_EDGES = 100
MOST_FOLLOWERS = 1_000
"""Tasks that name the same one in their `after`."""

WHENS = ("all", "any")
ONS: tuple[On, ...] = get_args(On)


def read_names(fields: Fields, name: str, *, low: int = 0) -> tuple[str, ...]:
    """The ids of other tasks, each once; errors are collected."""
    found = fields.each(name, MOST_EDGES, _id, low=low)
    if len(set(found)) < len(found):
        fields.error(name, "names a task twice")
    return found


def read_after(fields: Fields) -> After | None:
    """Which tasks it runs after: an array is short for all of them, each with a run that succeeded."""
    if not isinstance(fields.raw("after"), dict | None):
        return After(read_names(fields, "after", low=1))
    given = fields.object("after")
    if given is None:
        return None
    given.required("tasks")
    tasks = read_names(given, "tasks", low=1)
    after = After(tasks, given.choice("when", WHENS, "all"), given.choice("on", ONS, "success"))  # type: ignore[arg-type]
    given.end()
    return after


def _id(value: Any) -> str:
    if isinstance(value, str) and is_id(value):
        return value
    raise ValueError(ID_HINT)


_NAMES = array(ID, MOST_EDGES, uniqueItems=True)
SCHEMAS: dict[str, Schema] = {
    "then": {**_NAMES, "description": "Tasks that run once for each run of this one that succeeds."},
    "on_failure": {**_NAMES, "description": "Tasks that run once for each run of this one that fails for good."},
    "after": {
        "oneOf": [
            array(ID, MOST_EDGES, minItems=1, uniqueItems=True, title="All of these, when they succeed"),
            request(
                {"tasks": array(ID, MOST_EDGES, minItems=1, uniqueItems=True)},
                {
                    "when": words(
                        *WHENS,
                        default="all",
                        description="`all`: once each of them has ended anew; `any`: once for each end of any of them.",
                    ),
                    "on": words(
                        *ONS,
                        default="success",
                        description="Which ends count; `end` is any, that of a cancelled run included.",
                    ),
                },
                title="Some or all of these",
            ),
        ],
        "description": "Runs after runs of these tasks. Without `schedule` it has none of its own: `manual`.",
        "examples": [["extract", "load"]],
    },
}
