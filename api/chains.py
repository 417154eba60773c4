"""What is asked of a definition that names other tasks: that they are there, and that no circle is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from taskscheduler.api.node import Node
from taskscheduler.api.problems import FieldError
from taskscheduler.api.schemas.chain import MOST_FOLLOWERS
from taskscheduler.api.schemas.fields import Errors
from taskscheduler.commands.handler import Done, Unavailable
from taskscheduler.domain.chain_graph import TooMany, circle_of
from taskscheduler.domain.chains import edges_of, followers_of
from taskscheduler.domain.definition import Definition


async def check_chain(
    node: Node, task_id: str, before: Definition | None, definition: Definition, errors: Errors
) -> None:
    """Look at what a definition newly says of other tasks. What is wrong goes to `errors.late`: it may once have been
    right. Two changes at the same moment may close a circle together: then runs end at the greatest depth."""
    edges, known = edges_of(definition), edges_of(before)
    if edges == known:
        return
    named = [other for other in edges if other not in known and other != task_id]
    await asyncio.gather(*(node.handler.caught_up(other) for other in named))
    wrong = [
        FieldError(pointer, said) for pointer, other in _named(definition) if (said := _refusal(node, other, named))
    ]
    if not wrong:
        try:
            circle = circle_of(task_id, definition, node.handler.state)
        except TooMany:
            wrong.append(FieldError("", "would make a chain of more than 1,000 tasks, which is not looked through"))
        else:
            if circle is not None:
                path = " → ".join(circle)
                wrong.append(
                    FieldError(_blamed(definition), f"would close a circle: {path}; a chain must come to an end")
                )
    errors.late += wrong


async def linked(node: Node, done: Done) -> None:
    """Returns when the tasks that it runs after know of it. Raises Unavailable.

    From then on no run of theirs ends without this one hearing of it. Others that it names are told, too, if they can
    be told now: nothing depends on when they hear of it.
    """
    task = done.decided.task
    if not task.unsent:
        return
    await node.stepping.deliver(task.id)
    after = None if task.definition is None else task.definition.after
    if after is not None and not node.handler.state(task.id).unsent.keys().isdisjoint(after.tasks):
        said = "it was accepted, but tasks that it runs after have not heard of it yet; they will"
        raise Unavailable(f"{said}: repeat it under the same Idempotency-Key", "unknown")


def _named(definition: Definition) -> Iterator[tuple[str, str]]:
    for field in ("then", "on_failure"):
        for index, other in enumerate(getattr(definition, field)):
            yield f"/{field}/{index}", other
    if definition.after is not None:
        for other in definition.after.tasks:
            yield "/after", other


def _refusal(node: Node, other: str, named: list[str]) -> str | None:
    if other not in named:
        return None
    task = node.handler.state(other)
    if not task.exists:
        return f"there is no task {other!r}: make it first"
    if task.cancelled_at is not None:
        return f"the task {other!r} is cancelled and never runs again"
    if len(followers_of(task)) >= MOST_FOLLOWERS:
        return f"{MOST_FOLLOWERS:,} tasks run after {other!r} already"
    return None


def _blamed(definition: Definition) -> str:
    if definition.then:
        return "/then"
    return "/on_failure" if definition.on_failure else "/after"
