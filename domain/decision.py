"""The record on the log and the rule by which every reader accepts or refuses it.

A decision is one record on its stream: an envelope and its events, all or none. The verdict depends on the envelope
and the log's own append time alone, so every reader reaches the same one without talking to another (Tango, SOSP 2013).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec
from msgspec.structs import force_setattr

from taskscheduler.domain.events import Event
from taskscheduler.domain.evolve import evolve
from taskscheduler.domain.state import Task, TaskStatus
from taskscheduler.domain.values import Instant

FOLD_VERSION = 1
"""Raised whenever the shape of the state or `evolve` changes; a replica at another one refolds from the log."""

TASK_STREAM = "task/"


class Verdict(StrEnum):
    """What every reader makes of a record."""

    ACCEPTED = "accepted"
    CONFLICT = "conflict"
    EXPIRED = "expired"


class Envelope(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """Who decided what about which stream, and on which version of it. Decodes apart from the events."""

    stream: str
    record_id: str
    expected_version: int
    recorded_at: Instant
    wakeup: Instant | None = None
    valid_until: Instant | None = None
    actor: str = "anonymous"
    cause: str | None = None
    trace: str | None = None


class Record(Envelope, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """A decision: `events` are applied all or none."""

    events: tuple[Event, ...]


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A record that every reader accepts, where it stands on the log, and what it found and left.

    `wakeup_before` is the wakeup of the record accepted before it on the same stream. The statuses are those of the
    task before and after, None where it does not exist: many readers ask for them, so they are found once.
    """

    partition: int
    position: int
    appended_at: Instant
    record: Record
    before: Task
    after: Task
    wakeup_before: Instant | None = None
    status_before: TaskStatus | None = None
    status_after: TaskStatus | None = None

    def __post_init__(self) -> None:
        if self.before.exists:
            force_setattr(self, "status_before", self.before.status)
        if self.after.exists:
            force_setattr(self, "status_after", self.after.status)


class Judged(Protocol):
    """What a verdict looks at."""

    @property
    def expected_version(self) -> int: ...
    @property
    def valid_until(self) -> Instant | None: ...


def judge(version: int, envelope: Judged, appended_at: Instant) -> Verdict:
    """The verdict on a record that was appended at `appended_at` to a stream that stands at `version`."""
    if envelope.expected_version != version:
        return Verdict.CONFLICT
    if envelope.valid_until is not None and appended_at > envelope.valid_until:
        return Verdict.EXPIRED
    return Verdict.ACCEPTED


def fold(task: Task, record: Record, appended_at: Instant) -> tuple[Task, Verdict]:
    """The state after the record and the verdict on it. Anything but acceptance leaves the state as it was."""
    verdict = judge(task.version, record, appended_at)
    if verdict is not Verdict.ACCEPTED:
        return task, verdict
    return apply(task, record.events, record.recorded_at), verdict


def apply(task: Task, events: tuple[Event, ...], recorded_at: Instant) -> Task:
    """The state after one accepted decision."""
    for event in events:
        task = evolve(task, event)
    return msgspec.structs.replace(task, version=task.version + 1, recorded_at=recorded_at)


def stream_of(task_id: str) -> str:
    """The stream of a task."""
    return TASK_STREAM + task_id


def task_id_of(stream: str) -> str:
    """The task of a stream. Raises ValueError for a stream of another kind."""
    if not stream.startswith(TASK_STREAM):
        raise ValueError(f"{stream!r} is not the stream of a task")
    return stream[len(TASK_STREAM) :]
