"""Parameters in the query of a URL."""

from __future__ import annotations

import re
from typing import Any, get_args
from urllib.parse import parse_qsl

from taskscheduler.api.problems import FieldError, invalid
from taskscheduler.api.schemas.fields import Errors, Fields
from taskscheduler.api.schemas.shapes import ID, INSTANT, Schema, text, whole, words
from taskscheduler.domain.events import RunCause
from taskscheduler.domain.state import RunStatus, TaskStatus
from taskscheduler.domain.values import Instant
from taskscheduler.projections.filters import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    RunFilter,
    Sort,
    TaskFilter,
)

MOST_PARAMETERS = 100
LONGEST_CURSOR = 4_096
MOST_TAGS = 16

TASK_STATUSES: tuple[TaskStatus, ...] = get_args(TaskStatus)
RUN_STATUSES: tuple[RunStatus, ...] = get_args(RunStatus)
RUN_CAUSES: tuple[RunCause, ...] = get_args(RunCause)
SORTS: tuple[Sort, ...] = get_args(Sort)


_OFFSET = re.compile(r" (\d\d:\d\d)$", re.ASCII)


class Query(Fields):
    """The parameters; `pairs` are they as given. Raises Problem 422 when there are too many."""

    __slots__ = ("pairs",)

    def __init__(self, query: bytes) -> None:
        try:
            self.pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
        except ValueError:
            raise invalid([FieldError("", "the query of the URL cannot be read")]) from None
        values: dict[str, Any] = {}
        for name, value in self.pairs:
            values.setdefault(name, []).append(value)
        super().__init__(values, "", Errors())

    def take(self, name: str, required: bool = False) -> Any:
        """The value of a parameter that may be given once."""
        values = super().take(name, required)
        if values is None or len(values) == 1:
            return None if values is None else values[0]
        self.error(name, "is given more than once")
        return None

    def all(self, name: str) -> list[str]:
        """The values of a parameter that may be repeated."""
        return super().take(name) or []

    def limit(self) -> int:
        """How many items a page may hold."""
        value = self.take("limit")
        if value is None:
            return DEFAULT_LIMIT
        if value.isascii() and value.isdigit() and 1 <= int(value[:10]) <= MAX_LIMIT:
            return int(value[:10])
        self.error("limit", f"must be a whole number from 1 to {MAX_LIMIT}")
        return DEFAULT_LIMIT

    def tags(self) -> tuple[tuple[str, str], ...]:
        """Pairs of `key:value`."""
        given = self.all("tag")
        if len(given) > MOST_TAGS or not all(":" in tag for tag in given):
            self.error("tag", f"must be at most {MOST_TAGS} pairs such as team:billing")
            return ()
        return tuple((key, value) for key, _, value in (tag.partition(":") for tag in given))

    def instant(self, name: str) -> Instant | None:
        """An instant. The plus of an offset that was not escaped has become a space."""
        if (values := self.raw(name)) is not None:
            values[-1] = _OFFSET.sub(r"+\1", values[-1])
        return super().instant(name)

    def one_of(self, name: str, choices: tuple[Any, ...]) -> Any:
        """One of some words, None when it is absent."""
        return self.choice(name, choices, "") or None

    def page(self) -> tuple[int, str | None]:
        """The limit and the cursor. Ends the reading: raises Problem 422 with everything that is wrong."""
        page = self.limit(), self.text("cursor", 1, LONGEST_CURSOR)
        self.end()
        self.errors.check()
        return page


def read_task_filter(query: Query) -> TaskFilter:
    """Which tasks to list."""
    return TaskFilter(
        status=query.one_of("status", TASK_STATUSES),
        name_contains=query.text("name", 1, 200),
        tags=query.tags(),
        calendar=query.id("calendar"),
        due_before=query.instant("due_before"),
        sort=query.one_of("sort", SORTS) or "created_at",
    )


def read_run_filter(query: Query) -> RunFilter:
    """Which runs to list."""
    return RunFilter(
        status=query.one_of("status", RUN_STATUSES),
        since=query.instant("from"),
        until=query.instant("to"),
        cause=query.one_of("cause", RUN_CAUSES),
    )


def parameter(name: str, schema: Schema, description: str = "", **more: Any) -> Schema:
    """A parameter of a query as OpenAPI describes it."""
    described = {"description": description} if description else {}
    return {"name": name, "in": "query", "schema": schema, **described, **more}


_TAG = parameter(
    "tag",
    {"type": "array", "maxItems": MOST_TAGS, "items": {"type": "string", "pattern": ":", "examples": ["team:billing"]}},
    "`key:value`; all of several must hold.",
    style="form",
    explode=True,
)
PAGE_PARAMETERS = [
    parameter("limit", whole(1, MAX_LIMIT, default=DEFAULT_LIMIT), "Items on a page."),
    parameter("cursor", text(1, LONGEST_CURSOR), "`next_cursor` of the page before, with the same filter."),
]
_RANGE = [parameter("from", INSTANT, "At or after."), parameter("to", INSTANT, "Before.")]

TASK_PARAMETERS = [
    parameter("status", words(*TASK_STATUSES)),
    parameter("name", text(1, 200), "Part of the name, in any case."),
    parameter("calendar", ID, "Those that leave out the days of this calendar."),
    _TAG,
    parameter("due_before", INSTANT, "The next fire time is before."),
    parameter("sort", words(*SORTS, default="created_at")),
    *PAGE_PARAMETERS,
]
RUN_PARAMETERS = [
    parameter("status", words(*RUN_STATUSES)),
    parameter("cause", words(*RUN_CAUSES), "Why the run was made."),
    *_RANGE,
    *PAGE_PARAMETERS,
]
EVENT_PARAMETERS = PAGE_PARAMETERS
DEAD_LETTER_PARAMETERS = [
    parameter("task_id", ID),
    _TAG,
    parameter("error_type", text(1, 100)),
    parameter("retried", words("true", "false"), "Whether a run was made of it since."),
    *_RANGE,
    *PAGE_PARAMETERS,
]
