"""Making the tasks that were read, each once, however often the same file is imported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Literal, TypeAlias

import msgspec

from taskscheduler.api.durations import LONGEST, format_duration
from taskscheduler.api.migration.entries import Entry, Refusal, checked
from taskscheduler.api.migration.tasks import exported
from taskscheduler.client import ApiError, Client, Conflict, Gone, NotFound, Task, TaskSpec
from taskscheduler.domain.definition import Definition
from taskscheduler.domain.schedule import Every
from taskscheduler.domain.values import Instant

State: TypeAlias = Literal["new", "made", "there", "differs", "unknown"]

BATCH = 500
_HELD = {"delay": format_duration(LONGEST)}
"""The schedule of a task that is to be paused, until it is."""


class Row(msgspec.Struct, frozen=True):
    """What becomes of an entry. `differs` names the fields in which a task that is there is another."""

    line: int | None
    entry: str
    task: dict[str, Any]
    paused: bool
    state: State
    differs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def looked_at(client: Client, entries: Iterable[Entry], now: Instant) -> Iterator[Row | Refusal]:
    """What would become of each, with nothing changed."""
    for entry in entries:
        try:
            yield _compared(entry, client.get_task(entry.task["id"]), now)
        except Gone:
            yield _gone(entry)
        except NotFound:
            yield row(entry, "new")


def made(client: Client, entries: Iterable[Entry], now: Instant) -> Iterator[Row | Refusal]:
    """Make those that are not there yet, and tell what became of each."""
    left = iter(entries)
    while batch := list(islice(left, BATCH)):
        running = [entry for entry in batch if entry.paused is None]
        created = iter(client.create_tasks(_spec(entry.task) for entry in running))
        for entry in batch:
            if entry.paused is not None:
                yield from _paused(client, entry, now)
            elif (error := next(created).error) is None:
                yield row(entry, "made")
            else:
                yield from _refused(client, entry, error, now)


def row(entry: Entry, state: State, differs: tuple[str, ...] = ()) -> Row:
    """The entry, and what became of it."""
    return Row(entry.line, entry.entry, entry.task, entry.paused is not None, state, differs, entry.notes)


def _paused(client: Client, entry: Entry, now: Instant) -> Iterator[Row | Refusal]:
    """Made with a schedule that does not come, so that nothing fires before the pause."""
    task_id = entry.task["id"]
    try:
        client.create_task(_spec({**entry.task, "schedule": _HELD}))
    except Conflict as error:
        # An import that was broken off in the middle left it without its own schedule.
        found = client.get_task(task_id)
        if found.schedule != _HELD:
            yield from _refused(client, entry, error, now)
            return
    except ApiError as error:
        yield from _refused(client, entry, error, now)
        return
    client.pause(task_id, note=entry.paused or None)
    client.update_task(task_id, {"schedule": entry.task.get("schedule")})
    yield row(entry, "made")


def _refused(client: Client, entry: Entry, error: ApiError, now: Instant) -> Iterator[Row | Refusal]:
    if isinstance(error, Conflict):
        yield from looked_at(client, [entry], now)
    elif isinstance(error, Gone):
        yield _gone(entry)
    else:
        yield Refusal(entry.line, entry.entry, str(error))


def _gone(entry: Entry) -> Refusal:
    reason = f"task {entry.task['id']} was deleted, and its id is not used again; make it under another one"
    return Refusal(entry.line, entry.entry, reason)


def _spec(task: dict[str, Any]) -> TaskSpec:
    return TaskSpec(**task)


def _compared(entry: Entry, found: Task, now: Instant) -> Row:
    if entry.paused is not None and found.schedule == _HELD:
        return row(entry, "new")
    there = msgspec.json.decode(msgspec.json.encode(exported(found)))
    there.pop("pause", None)
    mine, theirs = checked(entry.task, now)[0], checked(there, now)[0]
    differs = tuple(name for name in Definition.__struct_fields__ if not _same(mine, theirs, name))
    return row(entry, "differs" if differs else "there", differs)


def _same(mine: Definition, theirs: Definition, name: str) -> bool:
    one, other = getattr(mine, name), getattr(theirs, name)
    if isinstance(one, Every) and isinstance(other, Every) and not one.anchored:
        return one.every == other.every
    if name == "payload" and one is not None and other is not None:
        return bool(msgspec.json.decode(one) == msgspec.json.decode(other))
    return bool(one == other)
