"""The graph that chains make of tasks: a path back to where it began is a circle, and no task may close one."""

from __future__ import annotations

from collections.abc import Callable

from taskscheduler.domain.chains import downstream_of, followers_of
from taskscheduler.domain.definition import Definition
from taskscheduler.domain.state import Task

MOST_TASKS = 1_000
"""Tasks that are looked at for a circle."""


class TooMany(Exception):
    """More tasks hang together than are looked at."""


def circle_of(task_id: str, definition: Definition, state: Callable[[str], Task]) -> list[str] | None:
    """The circle that the definition would close, each task named by the one before it; None where it closes none.

    `state` gives what is known of a task. Raises TooMany.
    """
    before = definition.after.tasks if definition.after is not None else ()
    if task_id in before:
        return [task_id, task_id]
    ends = {task_id, *before}
    waiting = [*definition.then, *definition.on_failure, *followers_of(state(task_id))]
    came_from = dict.fromkeys(waiting, task_id)
    while waiting:
        one = waiting.pop()
        if one in ends:
            path = [one]
            while path[-1] != task_id or len(path) == 1:
                path.append(came_from[path[-1]])
            path.reverse()
            return path if one == task_id else [*path, task_id]
        if len(came_from) > MOST_TASKS:
            raise TooMany
        for other in downstream_of(state(one)):
            if other not in came_from:
                came_from[other] = one
                waiting.append(other)
    return None
