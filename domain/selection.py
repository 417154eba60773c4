"""Which tasks are meant: asked of each by the decision itself, so that one that has changed meanwhile is left alone."""

from __future__ import annotations

import msgspec

from taskscheduler.domain.state import Task, TaskStatus
from taskscheduler.domain.values import Instant


class Selection(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Tasks for which everything given holds; `ids` names them. `name_contains` ignores case."""

    status: TaskStatus | None = None
    name_contains: str | None = None
    tags: dict[str, str] = {}
    due_before: Instant | None = None
    ids: tuple[str, ...] = ()

    def holds(self, task: Task) -> bool:
        """Whether a task is meant."""
        definition = task.definition
        if definition is None or task.deleted_at is not None:
            return False
        fire = task.upcoming
        return (
            (self.status is None or task.status == self.status)
            and (self.name_contains is None or self.name_contains.casefold() in definition.name.casefold())
            and all(definition.tags.get(key) == value for key, value in self.tags.items())
            and (self.due_before is None or (fire is not None and fire < self.due_before))
            and (not self.ids or task.id in self.ids)
        )
