"""What a task has to do with the unique key that it holds: it gives the key back, answers, and makes way."""

from __future__ import annotations

from taskscheduler.domain import events as ev
from taskscheduler.domain.draft import Draft
from taskscheduler.domain.errors import WrongState
from taskscheduler.domain.state import Task
from taskscheduler.domain.steps import Step, Told, UniqueCheck, UniqueClaimed, UniqueEnded, UniqueTaken
from taskscheduler.domain.unique import unique_of

ACTOR = "unique"
"""Who cancels a task that another one takes the place of."""


def pass_on(draft: Draft, before: Task) -> None:
    """Claim the key when the task was made, and give it back when it has ended.

    One that is held for a period is held until that is over.
    """
    task, definition = draft.task, draft.task.definition
    stream = unique_of(definition)
    if stream is None or definition is None or definition.unique is None:
        return
    period = definition.unique.period
    if before.created_version != task.created_version:
        _make(draft, stream, UniqueClaimed(period))
    if period is None and has_ended(task) and not has_ended(before):
        _make(draft, stream, UniqueEnded())


def _make(draft: Draft, stream: str, step: Step) -> None:
    draft.add(ev.StepsMade(at=draft.now, number=draft.task.steps + 1, to=(stream,), step=step))


def hear(draft: Draft, sender: str, told: Told) -> bool:
    """Take in a step from the key's stream; whether the task has to make way. Raises WrongState for another's key."""
    if unique_of(draft.task.definition) != sender:
        raise WrongState(f"the task {draft.task.id!r} does not hold this key")
    match told.step:
        case UniqueCheck():
            draft.add(ev.UniqueHeard(at=draft.now, unique=sender, number=told.number))
            return False
        case UniqueTaken(by=by):
            draft.add(ev.UniqueHeard(at=draft.now, unique=sender, number=told.number, taken_by=by))
            return not has_ended(draft.task)
    raise WrongState("a unique key says no such thing")


def has_ended(task: Task) -> bool:
    """Whether nothing of it runs or will."""
    return task.definition is None or task.deleted_at is not None or task.status in ("completed", "failed", "cancelled")
