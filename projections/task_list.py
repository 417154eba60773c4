"""The lists in which tasks are found: all, by status, by tag; each in three orders. Rows hold just the id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from taskscheduler.domain.decision import Accepted
from taskscheduler.domain.state import Task
from taskscheduler.domain.values import Instant
from taskscheduler.projections.changes import Change, Reindex
from taskscheduler.projections.tables import Column, Table

NEVER: Instant = (1 << 63) - 1
"""Where a task without a next fire time stands in the order of next fire times: at the end."""

ALL = "all"


class ByCreated(msgspec.Struct, frozen=True):
    list: str
    created_at: Instant
    id: str


class ByNextFire(msgspec.Struct, frozen=True):
    list: str
    next_fire_at: Instant
    id: str


class ByName(msgspec.Struct, frozen=True):
    list: str
    name: str
    id: str


_LIST = (Column("list"),)
BY_CREATED = Table("tasks_by_created", ByCreated, _LIST, (Column("created_at", "int"), Column("id")))
BY_NEXT_FIRE = Table("tasks_by_next_fire", ByNextFire, _LIST, (Column("next_fire_at", "int"), Column("id")))
BY_NAME = Table("tasks_by_name", ByName, _LIST, (Column("name"), Column("id")))


def status_list(status: str) -> str:
    """The list of the tasks in a status."""
    return "status:" + status


def tag_list(key: str, value: str) -> str:
    """The list of the tasks with a tag. Pairs that differ only in where the colon stands share a list."""
    return f"tag:{key}:{value}"


def rows(task: Task) -> list[tuple[Table[Any], Any]]:
    """Every row under which the task is found; none for one that was deleted or never made."""
    definition = task.definition
    if definition is None or task.deleted_at is not None:
        return []
    lists = [ALL, status_list(task.status)]
    if definition.tags:
        lists += dict.fromkeys(tag_list(key, value) for key, value in definition.tags.items())
    next_fire = NEVER if task.next_fire is None else task.next_fire
    found: list[tuple[Table[Any], Any]] = []
    for name in lists:
        found.append((BY_CREATED, ByCreated(name, task.created_at, task.id)))
        found.append((BY_NEXT_FIRE, ByNextFire(name, next_fire, task.id)))
        found.append((BY_NAME, ByName(name, definition.name, task.id)))
    return found


def project(accepted: Accepted) -> Sequence[Change]:
    """Nothing, as long as the decision changed nothing that lists are made or ordered by."""
    before, after = accepted.before, accepted.after
    if (
        before.next_fire == after.next_fire
        and before.definition is after.definition
        and before.deleted_at == after.deleted_at
        and before.created_at == after.created_at
        and before.status == after.status
    ):
        return ()
    return (Reindex(rows, before, after),)
