"""Unique keys on the way to a task: reserved first, so that of several instances that make one at once one is first."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from taskscheduler.api.node import Node
from taskscheduler.api.routes.common import is_known
from taskscheduler.commands.handler import Done, Unavailable
from taskscheduler.domain import errors
from taskscheduler.domain.definition import Uniqueness
from taskscheduler.domain.messages import Key, Reserve
from taskscheduler.domain.state import Task
from taskscheduler.domain.unique import Unique, unique_id
from taskscheduler.domain.uniqueness import has_ended

TRIES = 5
"""How often a key is asked for that is just being given back."""

WAIT = 5.0
LOOK = 0.02
"""Seconds that a task is waited for which is just being made, and how often it is looked for."""


class Existing(NamedTuple):
    """The task that has the key already. `replayed`: it was the answer to an earlier request with the same key."""

    task: Task
    token: str
    replayed: bool


async def reserve(node: Node, task_id: str, unique: Uniqueness, key: Key | None, trace: str | None) -> Existing | None:
    """Reserve the key for a task that is to be made, or find the one that has it.

    Raises NotUnique, KeyReused, Unavailable.
    """
    stream = unique_id(unique.key)
    if node.handler.state(task_id).definition is not None:
        return None  # the id is taken: no key is reserved for what will not be made
    if key is not None:
        await node.handler.caught_up(task_id)
        if is_known(node, task_id, key):
            return None  # it was made: its answer is given once more
        await node.handler.caught_up(stream)
        if (before := _answered(_state(node, stream), key)) is not None and before != task_id:
            return Existing(await _made(node, before), node.token(), True)
    for _ in range(TRIES):
        try:
            done = await _reserved(node, stream, task_id, unique, trace)
        except errors.NotUnique as error:
            if await _given_back(node, error.holder):
                continue
            raise
        state = done.decided.state
        assert isinstance(state, Unique)
        if state.holder == task_id:
            # Whose place it takes is cancelled first: no two of them are there at once.
            if state.unsent and not await node.stepping.deliver(stream):
                raise Unavailable("the task that has the unique key could not be cancelled yet; try again", "unknown")
            return None
        assert state.holder is not None
        if await _given_back(node, state.holder):
            continue
        existing = await _made(node, state.holder)
        token = done.token
        if key is not None:
            noted = await node.handler.handle(stream, Reserve(task_id, unique), key=key, trace=trace)
            if noted.decided.replayed is None and _holder(noted.decided.state) == task_id:
                return None  # it was given back just now
            token = noted.token
        return Existing(existing, token, False)
    raise Unavailable("the unique key keeps changing hands; try again", "none")


async def _reserved(node: Node, stream: str, task_id: str, unique: Uniqueness, trace: str | None) -> Done:
    """Ask for the key, and wait for a task that is just being made, which could not be told yet to make way.

    One that is not made for so long may never be, and is not waited for.
    """
    now = asyncio.get_running_loop().time
    until = now() + WAIT
    while True:
        try:
            return await node.handler.handle(stream, Reserve(task_id, unique, now() < until), trace=trace)
        except errors.BeingMade:
            while True:
                await asyncio.sleep(LOOK)
                if _state(node, stream).check_at is None or now() > until:
                    break


def _state(node: Node, stream: str) -> Unique:
    state = node.handler.entity(stream)
    assert isinstance(state, Unique)
    return state


def _holder(state: object) -> str | None:
    return state.holder if isinstance(state, Unique) else None


def _answered(state: Unique, key: Key) -> str | None:
    """The task that a request with this key was answered with. Raises KeyReused."""
    used = state.keys.get(key.key)
    if used is None:
        return None
    if used.fingerprint != key.fingerprint:
        raise errors.KeyReused("this Idempotency-Key was used for another request; use a new key")
    return used.task_id


async def _given_back(node: Node, holder: str) -> bool:
    """Whether the task has ended and only its word of it was still on the way."""
    await node.handler.caught_up(holder)
    task = node.handler.state(holder)
    definition = task.definition
    if definition is None or definition.unique is None or definition.unique.period is not None:
        return False
    return has_ended(task) and await node.stepping.deliver(holder)


async def _made(node: Node, task_id: str) -> Task:
    """The task, which may just be being made. Raises Unavailable."""
    until = asyncio.get_running_loop().time() + WAIT
    while True:
        await node.handler.caught_up(task_id)
        task = node.handler.state(task_id)
        if task.definition is not None:
            return task
        if asyncio.get_running_loop().time() > until:
            raise Unavailable(f"the task {task_id!r}, which has the unique key, is still being made; try again", "none")
        await asyncio.sleep(LOOK)
