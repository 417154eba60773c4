"""Limits as clients see them: those that are defined, and those that tasks name themselves while they are in use."""

from __future__ import annotations

import msgspec

from taskscheduler.domain.decision import AcceptedOther
from taskscheduler.domain.limit import Limit, starts_allowed
from taskscheduler.domain.limit_definition import LIMIT_STREAM, LimitDefinition
from taskscheduler.domain.values import Instant
from taskscheduler.projections.changes import Change, Delete, Later, Put
from taskscheduler.projections.tables import Column, Table


class LimitView(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A limit. `version` is that of the definition, 0 without one; `own` is what tasks name where none holds.

    `next_start` is how far its rate has come.
    """

    id: str
    definition: LimitDefinition | None
    in_use: int
    own: int | None
    next_start: int
    version: int
    created_at: Instant
    updated_at: Instant

    @property
    def name(self) -> str:
        """What users call it."""
        return self.id.removeprefix(LIMIT_STREAM)


class ById(msgspec.Struct, frozen=True, gc=False):
    list: str
    id: str


ALL = "all"
LIMITS = Table("limits", LimitView, partition=(Column("id"),))
BY_ID = Table("limits_by_id", ById, partition=(Column("list"),), clustering=(Column("id"),))


def view_of(limit: Limit) -> LimitView:
    """The view of a limit."""
    defined = limit.exists
    return LimitView(
        limit.id,
        limit.definition,
        len(limit.slots),
        limit.own,
        limit.next_start,
        limit.in_force,
        limit.created_at if defined else 0,
        limit.updated_at if defined else 0,
    )


def is_full(view: LimitView, own: int | None, now: Instant) -> bool:
    """Whether nothing may begin under the limit, for a task that itself allows `own`."""
    definition = view.definition or LimitDefinition()
    most = own if definition.concurrency is None else definition.concurrency
    if most is not None and view.in_use >= most:
        return True
    return definition.rate is not None and not starts_allowed(view.next_start, definition.rate, now)


def shown(limit: Limit) -> bool:
    """Whether there is anything to show."""
    return limit.exists or bool(limit.slots)


def project(accepted: AcceptedOther) -> list[Change]:
    """The row after the decision, and its place in the list."""
    before, after = accepted.before, accepted.after
    assert isinstance(before, Limit) and isinstance(after, Limit)
    if shown(after):
        changes: list[Change] = [Later(LIMITS, (after.id,), view_of, (after,))]
        return changes if shown(before) else [*changes, Put(BY_ID, ById(ALL, after.id))]
    return [Delete(LIMITS, (after.id,)), Delete(BY_ID, (ALL, after.id))] if shown(before) else []
