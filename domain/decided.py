"""What a decision comes to, whatever it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from taskscheduler.domain import errors
from taskscheduler.domain import events as ev
from taskscheduler.domain.messages import Context
from taskscheduler.domain.state import Task, UsedKey
from taskscheduler.domain.values import Instant

if TYPE_CHECKING:
    from taskscheduler.domain.calendar import Calendar
    from taskscheduler.domain.entities import Entity
    from taskscheduler.domain.limit import Limit
    from taskscheduler.domain.operation import Operation


class Decided(msgspec.Struct, frozen=True, gc=False):
    """The events of a decision, the state after them, and what the caller is told.

    `refused` is raised to the caller although the events are recorded (evidence of a late report).
    """

    events: tuple[ev.Event, ...]
    state: Entity
    run_id: str | None = None
    backfill_id: str | None = None
    replayed: UsedKey | None = None
    lease_until: Instant | None = None
    cancel_requested: bool = False
    refused: errors.DomainError | None = None
    granted: tuple[str, ...] = ()
    """The ids of the slots that were granted, now or before."""

    @property
    def task(self) -> Task:
        """The state, where the decision is one on a task."""
        state = self.state
        assert type(state) is Task
        return state

    @property
    def calendar(self) -> Calendar:
        """The state, where the decision is one on a calendar."""
        from taskscheduler.domain.calendar import Calendar

        assert isinstance(self.state, Calendar)
        return self.state

    @property
    def operation(self) -> Operation:
        """The state, where the decision is one on an operation."""
        from taskscheduler.domain.operation import Operation

        assert isinstance(self.state, Operation)
        return self.state

    @property
    def limit(self) -> Limit:
        """The state, where the decision is one on a limit."""
        from taskscheduler.domain.limit import Limit

        assert isinstance(self.state, Limit)
        return self.state


def replayed(state: Entity, context: Context) -> Decided | None:
    """What was decided under this Idempotency-Key before, None where it was not used. Raises KeyReused."""
    key = context.key
    if key is None or (used := state.keys.get(key.key)) is None:
        return None
    if used.fingerprint != key.fingerprint:
        raise errors.KeyReused("this Idempotency-Key was used for another request; use a new key")
    return Decided(events=(), state=state, run_id=used.run_id, backfill_id=used.backfill_id, replayed=used)


def folded(state: Any, events: Iterable[ev.Event], evolve: Callable[[Any, ev.Event], Any]) -> Decided:
    """A decision that comes to these events."""
    made, after = tuple(events), state
    for event in made:
        after = evolve(after, event)
    return Decided(events=made, state=after)


def key_used(context: Context, verb: str) -> list[ev.Event]:
    """What is written down of the Idempotency-Key, if the command came under one."""
    key = context.key
    return [] if key is None else [ev.KeyUsed(context.now, key.key, key.fingerprint, verb)]


def check_version(what: str, defined: int, context: Context) -> None:
    """Raises RevisionMismatch when If-Match names another version of the definition than `defined`."""
    if context.if_match is not None and context.if_match != defined:
        raise errors.RevisionMismatch(
            f"the {what} is at version {defined}, which If-Match does not name; read it again"
        )
