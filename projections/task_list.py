"""The lists in which tasks are found: all, by status, tag and calendar; each in three orders. Rows hold just the id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from taskscheduler.domain.calendar_days import calendars_used
from taskscheduler.domain.decision import Accepted
from taskscheduler.domain.state import Task
from taskscheduler.domain.values import DAY, MINUTE, Instant
from taskscheduler.projections.changes import Change, Moved, Reindex
from taskscheduler.projections.tables import Column, Searched, Table, Value

NEVER: Instant = (1 << 63) - 1
"""Where a task without a next fire time stands in the order of next fire times: at the end."""

ALL = "all"


class ByCreated(msgspec.Struct, frozen=True, gc=False):
    list: str
    created_at: Instant
    id: str


class ByNextFire(msgspec.Struct, frozen=True, gc=False):
    list: str
    next_fire_at: Instant
    id: str


class ByName(msgspec.Struct, frozen=True, gc=False):
    list: str
    name: str
    id: str


_LIST = (Column("list"),)
BY_CREATED = Table(
    "tasks_by_created",
    ByCreated,
    _LIST,
    (Column("created_at", "int"), Column("id")),
    bucket=DAY,
    spread=True,
)
# Every fire takes a row from here and puts one in further on: a minute holds what was taken, so that a store that has
# to step over it need not step over all there ever was.
BY_NEXT_FIRE = Table(
    "tasks_by_next_fire",
    ByNextFire,
    _LIST,
    (Column("next_fire_at", "int"), Column("id")),
    bucket=MINUTE,
    spread=True,
)
BY_NAME = Table(
    "tasks_by_name",
    ByName,
    _LIST,
    (Column("name"), Column("id")),
    spread=True,
    searched=Searched((ALL,), "name"),
)
_TABLES: tuple[Table[Any], ...] = (BY_CREATED, BY_NEXT_FIRE, BY_NAME)


def status_list(status: str) -> str:
    """The list of the tasks in a status."""
    return "status:" + status


def tag_list(key: str, value: str) -> str:
    """The list of the tasks with a tag. Pairs that differ only in where the colon stands share a list."""
    return f"tag:{key}:{value}"


def calendar_list(name: str) -> str:
    """The list of the tasks that use a calendar."""
    return "calendar:" + name


def lists_of(task: Task) -> list[str]:
    """The lists that a task is in; none for one that was deleted or never made."""
    definition = task.definition
    if definition is None or task.deleted_at is not None:
        return []
    lists = [ALL, status_list(task.status)]
    if definition.tags:
        lists += dict.fromkeys(tag_list(key, value) for key, value in definition.tags.items())
    used = calendars_used(task)
    if used:
        lists += dict.fromkeys(calendar_list(one.calendar) for one in used)
    return lists


def index(before: Task, after: Task) -> list[Moved]:
    """The rows that come and go: of every list that was entered or left, of the others in changed orders."""
    old, new = lists_of(before), lists_of(after)
    left = [name for name in old if name not in new]
    entered = [name for name in new if name not in old]
    moves: list[Moved] = []
    for table in _TABLES:
        was, now = _place(table, before), _place(table, after)
        if was != now:
            moves.append(Moved(table, old, (was, before.id), new, (now, after.id)))
        elif left or entered:
            moves.append(Moved(table, left, (was, before.id), entered, (now, after.id)))
    return moves


def _place(table: Table[Any], task: Task) -> Value:
    if table is BY_CREATED:
        return task.created_at
    if table is BY_NEXT_FIRE:
        return NEVER if (fire := task.upcoming) is None else fire
    return "" if task.definition is None else task.definition.name


def project(accepted: Accepted) -> Sequence[Change]:
    """Nothing, as long as the decision changed nothing that lists are made or ordered by."""
    before, after = accepted.before, accepted.after
    if (
        before.upcoming == after.upcoming
        and before.definition is after.definition
        and before.pending is after.pending
        and before.deleted_at == after.deleted_at
        and before.created_at == after.created_at
        and accepted.status_before == accepted.status_after
    ):
        return ()
    return (Reindex(index, before, after),)
