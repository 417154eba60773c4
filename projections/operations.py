"""Operations over many tasks as clients see them, and the list of all, the newest first."""

from __future__ import annotations

import msgspec

from taskscheduler.domain.decision import AcceptedOther
from taskscheduler.domain.operation import OPERATION_STREAM, Operation
from taskscheduler.domain.operation_definition import OperationDefinition, OperationStatus
from taskscheduler.domain.values import Instant
from taskscheduler.projections.changes import Change, Delete, Later, Put
from taskscheduler.projections.tables import Column, Table


class OperationView(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """An operation. Of `picked` tasks it is known of `changed`, `unchanged` and `refused` what became of them."""

    id: str
    definition: OperationDefinition
    status: OperationStatus
    by: str
    started_at: Instant
    ended_at: Instant | None = None
    cancelled_by: str | None = None
    picked: int = 0
    changed: int = 0
    unchanged: int = 0
    refused: dict[str, int] = {}
    examples: dict[str, str] = {}

    @property
    def name(self) -> str:
        """What users call it."""
        return self.id.removeprefix(OPERATION_STREAM)


class ByStart(msgspec.Struct, frozen=True, gc=False):
    list: str
    started_at: Instant
    id: str


ALL = "all"
OPERATIONS = Table("operations", OperationView, partition=(Column("id"),))
BY_START = Table(
    "operations_by_start",
    ByStart,
    partition=(Column("list"),),
    clustering=(Column("started_at", "int", descending=True), Column("id", descending=True)),
)


def view_of(operation: Operation) -> OperationView:
    """The view of an operation that exists. Raises ValueError for any other."""
    if operation.definition is None:
        raise ValueError(f"there is no operation {operation.name!r}")
    return OperationView(
        operation.id,
        operation.definition,
        operation.status,
        operation.by,
        operation.started_at,
        operation.ended_at,
        operation.cancelled_by,
        operation.picked,
        operation.changed,
        operation.unchanged,
        operation.refused,
        operation.examples,
    )


def project(accepted: AcceptedOther) -> list[Change]:
    """The row after the decision, and its place in the list."""
    before, after = accepted.before, accepted.after
    assert isinstance(before, Operation) and isinstance(after, Operation)
    if after.exists:
        changes: list[Change] = [Later(OPERATIONS, (after.id,), view_of, (after,))]
        return changes if before.exists else [*changes, Put(BY_START, ByStart(ALL, after.started_at, after.id))]
    if not before.exists:
        return []
    return [Delete(OPERATIONS, (after.id,)), Delete(BY_START, (ALL, before.started_at, after.id))]
