"""What was read from another scheduler's file: entries that become tasks, and those that cannot."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from taskscheduler.api.problems import FieldError
from taskscheduler.api.schemas.fields import Errors, Fields
from taskscheduler.api.schemas.task import LONGEST_NAME, read_new_task
from taskscheduler.domain.definition import Definition
from taskscheduler.domain.ids import digest
from taskscheduler.domain.values import Instant

LONGEST_SLUG = 40
SHOWN = 200
"""So much of an entry is shown of one that was refused."""


class Options(msgspec.Struct, frozen=True):
    """What a file does not say of its tasks. `kind` None: as the entry has it; `timezone` None: as is usual there."""

    queue: str
    kind: str | None
    timezone: str | None
    timeout: str


class Entry(msgspec.Struct, frozen=True):
    """A task to be made, as `POST /api/tasks` takes it. `paused` is the note of a pause.

    `line` counts from 1 and is None where a file has none; `notes` say what will not be as it was.
    """

    line: int | None
    entry: str
    task: dict[str, Any]
    paused: str | None = None
    notes: tuple[str, ...] = ()


class Refusal(msgspec.Struct, frozen=True):
    """What was not taken, and why."""

    line: int | None
    entry: str
    reason: str


class Unfit(Exception):
    """An entry that cannot be taken; says why."""


class Unreadable(Exception):
    """The file as a whole cannot be read."""


class Reading:
    """A file, as far as it was read. `notes` are about all of it."""

    def __init__(self, now: Instant) -> None:
        self.entries: list[Entry] = []
        self.refused: list[Refusal] = []
        self.notes: list[str] = []
        self._now = now
        self._ids: dict[str, Entry] = {}

    def take(self, entry: Entry) -> None:
        """Add an entry, or refuse it with all that a server would object to."""
        _, errors = checked(entry.task, self._now)
        if errors:
            self.refuse(entry.line, entry.entry, "; ".join(map(_told, errors)))
        elif (same := self._ids.setdefault(entry.task["id"], entry)) is not entry:
            where = "" if same.line is None else f", at line {same.line}"
            self.refuse(entry.line, entry.entry, f"the same task stands in the file already{where}")
        else:
            self.entries.append(entry)

    def refuse(self, line: int | None, entry: str, reason: str) -> None:
        self.refused.append(Refusal(line, entry[:SHOWN], reason))


class _AnyTarget:
    """What targets may be is for the server to say that the tasks are sent to."""

    def wrong_with_url(self, url: str) -> str | None:
        return None

    def wrong_with_kafka(self) -> str | None:
        return None

    def wrong_with_topic(self, topic: str) -> str | None:
        return None


_ANY_TARGET = _AnyTarget()


def checked(task: dict[str, Any], now: Instant) -> tuple[Definition, list[FieldError]]:
    """The definition that a server would make of a task, and what is wrong with it."""
    errors = Errors(deep=True)
    made = read_new_task(Fields(task, "", errors), now, _ANY_TARGET)
    return made.definition, [*errors.found, *errors.late]


def stable_id(source: str, readable: str, *parts: str) -> str:
    """An id that is always the same for the same `parts`, and tells people where it came from."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", readable).strip("-")[:LONGEST_SLUG].strip("-")
    return "-".join(part for part in (source, slug, digest(*parts)[:12]) if part)


def label(text: str) -> str:
    """Text as the name of a task: on one line, and no longer than a name may be."""
    line = " ".join(text.split())
    return "".join(char for char in line if char.isprintable())[:LONGEST_NAME] or "unnamed"


def _told(error: FieldError) -> str:
    return f"{error.pointer.lstrip('/').replace('/', '.') or 'the task'}: {error.detail}"
