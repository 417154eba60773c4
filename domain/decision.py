"""The record on the log and the rule by which every reader accepts or refuses it.

A decision is one record on its stream: an envelope and its events, all or none. The verdict depends on the envelope
and the log's own append time alone, so every reader reaches the same one without talking to another (Tango, SOSP 2013).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec
from msgspec.structs import force_setattr

from taskscheduler.domain.entities import Entity, Other, rules_of
from taskscheduler.domain.events import Event
from taskscheduler.domain.evolve import evolve
from taskscheduler.domain.state import Task, TaskStatus
from taskscheduler.domain.values import Instant

FOLD_VERSION = 1
"""Raised whenever the shape of the state or `evolve` changes; a replica at another one refolds from the log."""

E = TypeVar("E", bound=Entity)


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
    """A record about a task that every reader accepts, where it stands on the log, and what it found and left.

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


class AcceptedOther(msgspec.Struct, frozen=True, gc=False):
    """The same for a record that is about something else."""

    partition: int
    position: int
    appended_at: Instant
    record: Record
    before: Other
    after: Other
    wakeup_before: Instant | None = None


AnyAccepted: TypeAlias = Accepted | AcceptedOther


def accepted_as(
    partition: int,
    position: int,
    appended_at: Instant,
    record: Record,
    before: Entity,
    after: Entity,
    wakeup_before: Instant | None = None,
) -> AnyAccepted:
    """An accepted record, by what it is about."""
    if isinstance(before, Task):
        assert isinstance(after, Task)
        return Accepted(partition, position, appended_at, record, before, after, wakeup_before)
    assert not isinstance(after, Task)
    return AcceptedOther(partition, position, appended_at, record, before, after, wakeup_before)


def of_tasks(accepted: Iterable[AnyAccepted]) -> list[Accepted]:
    """Those that are about tasks."""
    return [one for one in accepted if type(one) is Accepted]


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


def fold(state: E, record: Record, appended_at: Instant) -> tuple[E, Verdict]:
    """The state after the record and the verdict on it. Anything but acceptance leaves the state as it was."""
    verdict = judge(state.version, record, appended_at)
    if verdict is not Verdict.ACCEPTED:
        return state, verdict
    return apply(state, record.events, record.recorded_at), verdict


def apply(state: E, events: tuple[Event, ...], recorded_at: Instant) -> E:
    """The state after one accepted decision."""
    after: Any = state
    evolve_one = evolve if type(state) is Task else rules_of(state.id).evolve
    for event in events:
        after = evolve_one(after, event)
    folded: E = msgspec.structs.replace(after, version=state.version + 1, recorded_at=recorded_at)
    return folded
