"""Tasks as lines of JSON: written by an export, taken back by an import."""

from __future__ import annotations

from typing import Any

import msgspec

from taskscheduler.api.migration.entries import Entry, Reading
from taskscheduler.client import Task
from taskscheduler.domain.values import Instant

PAUSED = "pause"
"""The one member of a line that `POST /api/tasks` does not take: a task that was paused must not fire."""

_READ_ONLY = (
    *("status", "revision", "version", "created_at", "updated_at", "next_fire_at", "last_run", "counts", PAUSED),
    *("owed", "pending_schedule", "failures_in_row", "backfills", "followed_by", "arrived"),
)


def exported(task: Task) -> dict[str, Any]:
    """The task as `POST /api/tasks` takes it, and the note of its pause if it is paused."""
    fields = msgspec.structs.asdict(task)
    line = {name: _given(value) for name, value in fields.items() if name not in _READ_ONLY and value not in (None, ())}
    if task.pause is not None:
        line[PAUSED] = {"note": task.pause.note}
    return line


def _given(value: Any) -> Any:
    """Policies without what they leave open; null would mean the same, but is nothing that anybody wrote."""
    if not isinstance(value, msgspec.Struct):
        return value
    return {name: one for name, one in msgspec.structs.asdict(value).items() if one is not None}


def read_tasks(text: str, now: Instant) -> Reading:
    """Every line as the task it holds, or refused with the reason."""
    reading = Reading(now)
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            task = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            reading.refuse(number, line, f"it is no JSON: {error}")
            continue
        if not isinstance(task, dict) or not isinstance(task.get("id"), str):
            reading.refuse(number, line, "it holds no task with an id, as taskscheduler export writes them")
            continue
        pause, paused = task.pop(PAUSED, None), None
        if pause is not None:
            note = pause.get("note") if isinstance(pause, dict) else None
            paused = note if isinstance(note, str) else ""
        reading.take(Entry(number, task["id"], task, paused))
    return reading
