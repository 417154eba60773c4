"""`task ledger` and `ledger check`: what became of every fire time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

from taskscheduler.api.cli.common import COMMON, Common, instant
from taskscheduler.api.cli.errors import Failed, UsageError
from taskscheduler.api.cli.output import Columns, format_of, say, show, show_all

if TYPE_CHECKING:
    from taskscheduler.client import Client, Ledger, Task

MOST_NAMED = 1_000
"""Differences that are named; all are counted."""

_SUMS = ("nominal", "fired", "caught_up", "owed", "pending", "to_come", "backfilled", "differing")

From = Annotated[str | None, Parameter(name="--from", help="At or after, such as 2030-01-31T08:00:00Z.")]
To = Annotated[str | None, Parameter(name="--to", help="Before; now, if left out.")]


class Checked(msgspec.Struct, kw_only=True):
    """The ledgers of many tasks together."""

    tasks: int = 0
    nominal: int = 0
    fired: int = 0
    caught_up: int = 0
    skipped: dict[str, int] = {}
    owed: int = 0
    pending: int = 0
    to_come: int = 0
    backfilled: int = 0
    balanced: bool = True
    differing: int = 0
    differences: list[dict[str, Any]] = []


LEDGER: Columns = {
    "from": lambda found: found.since,
    "to": lambda found: found.until,
    "known from": lambda found: found.known_from,
    **{name.replace("_", " "): attrgetter(name) for name in _SUMS[:3]},
    "skipped": lambda found: ", ".join(f"{reason} {count}" for reason, count in found.skipped.items()),
    **{name.replace("_", " "): attrgetter(name) for name in _SUMS[3:]},
    "balanced": lambda found: found.balanced,
}
_CHECKED: Columns = {"tasks": lambda found: found.tasks, **dict(list(LEDGER.items())[3:])}
_DIFFERENCES: Columns = {
    name: itemgetter(name) for name in ("task_id", "from", "until", "nominal", "accounted", "detail")
}


_WHY: Columns = {name: attrgetter(name) for name in ("outcome", "answer", "run_id", "before", "after")}
_LINKS: Columns = {name: attrgetter(name) for name in ("version", "at", "type", "summary")}


def task_ledger(task_id: str, /, *, since: From = None, until: To = None, common: Common = COMMON) -> None:
    """Hold the fire times that a task's schedules name against what became of them."""
    with common.client() as client:
        found = client.ledger(task_id, since=instant(since, "--from"), until=instant(until, "--to"))
    show(found, LEDGER, common.output)
    if not found.balanced:
        if format_of(common.output) == "table":
            show_all(_named(found), _DIFFERENCES, common.output)
        raise Failed


def why(
    task_id: str,
    /,
    *,
    at: Annotated[str, Parameter(help="The instant that is meant, such as 2030-01-31T08:00:00Z.")],
    common: Common = COMMON,
) -> None:
    """Say why a task did or did not run at an instant, with the events behind it."""
    meant = instant(at, "--at")
    assert meant is not None
    with common.client() as client:
        found = client.why(task_id, meant)
    show(found, _WHY, common.output)
    if found.events and format_of(common.output) == "table":
        show_all(found.events, _LINKS, common.output)


def check(
    *,
    task: Annotated[list[str] | None, Parameter(help="Only this one; may be repeated.", negative="")] = None,
    since: From = None,
    until: To = None,
    common: Common = COMMON,
) -> None:
    """Hold every fire time of all tasks against what became of it; `-o jsonl` prints a line per task, as it comes."""
    start, end = instant(since, "--from"), instant(until, "--to") or datetime.now(UTC)
    if start is not None and start > end:
        raise UsageError("--to lies before --from")
    total = Checked(skipped={}, differences=[])
    format = format_of(common.output)
    with common.client() as client:
        for one in map(client.get_task, task) if task else client.iter_tasks():
            sums = _whole(client, one, start, end)
            if sums is None:
                continue  # it was deleted meanwhile
            _add(total, sums)
            if format == "jsonl":
                show_all([{"task_id": one.id, **_plain(sums)}], {}, "jsonl")
    if format == "table":
        if total.differences:
            show_all(total.differences, _DIFFERENCES, "table")
        show(total, _CHECKED, "table")
    elif format != "jsonl":
        show(total, {}, format)
    if not total.balanced:
        say(f"{total.differing} fire times are accounted for otherwise than once")
        raise Failed


def _whole(client: Client, task: Task, start: datetime | None, end: datetime) -> Checked | None:
    """The ledger of a task over as many ranges as it takes; those that are too long are halved."""
    from taskscheduler.client import Invalid, NotFound

    sums = Checked(tasks=1, skipped={}, differences=[])
    begin = start or task.created_at or end
    ranges = [(begin, end)] if begin < end else []
    while ranges:
        low, high = ranges.pop()
        try:
            found = client.ledger(task.id, since=low, until=high)
        except NotFound:
            return None
        except Invalid:
            middle = low + (high - low) / 2
            middle -= timedelta(microseconds=middle.microsecond % 1000)
            if not low < middle < high:
                raise
            ranges += [(middle, high), (low, middle)]
            continue
        _add(sums, Checked(tasks=0, **{name: getattr(found, name) for name in (*_SUMS, "skipped", "balanced")}))
        sums.differences += _named(found)
    return sums


def _named(found: Ledger) -> Iterator[dict[str, Any]]:
    for one in found.differences:
        yield {"task_id": found.task_id, **msgspec.to_builtins(one, builtin_types=(datetime,))}


def _add(total: Checked, more: Checked) -> None:
    total.tasks += more.tasks
    for name in _SUMS:
        setattr(total, name, getattr(total, name) + getattr(more, name))
    for reason, count in more.skipped.items():
        total.skipped[reason] = total.skipped.get(reason, 0) + count
    total.balanced = total.balanced and more.balanced
    total.differences += more.differences[: MOST_NAMED - len(total.differences)]


def _plain(sums: Checked) -> dict[str, Any]:
    return {name: getattr(sums, name) for name in sums.__struct_fields__ if name != "tasks"}
