"""Which tasks an operation is about: asked of each by the decision itself, since it may have changed meanwhile."""

from __future__ import annotations

from taskscheduler.domain import messages as msg
from taskscheduler.domain.errors import WrongState
from taskscheduler.domain.operation_definition import Selection
from taskscheduler.domain.state import Task
from taskscheduler.domain.values import Instant

MOST_TAGS = 16


def holds(selection: Selection, task: Task, made_by: Instant) -> bool:
    """Whether a task is meant."""
    definition = task.definition
    if definition is None or task.deleted_at is not None or task.created_at > made_by:
        return False
    fire, part = task.upcoming, selection.name_contains
    return (
        (selection.status is None or task.status == selection.status)
        and (part is None or part.casefold() in definition.name.casefold())
        and all(definition.tags.get(key) == value for key, value in selection.tags.items())
        and (selection.due_before is None or (fire is not None and fire < selection.due_before))
        and (not selection.ids or task.id in selection.ids)
    )


def retagged(tags: dict[str, str], command: msg.Retag) -> dict[str, str]:
    """The tags after the command. Raises WrongState where they are too many."""
    after = {key: value for key, value in {**tags, **command.set}.items() if key not in command.remove}
    if len(after) > max(MOST_TAGS, len(tags)):
        raise WrongState(f"the task would have {len(after)} tags, and {MOST_TAGS} is the most")
    return after
