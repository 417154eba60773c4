"""An operation over many tasks: the state of the stream `operation/<id>`, and the rules of it.

It goes page by page. First the tasks of a page are written down, then each is asked, under an Idempotency-Key that
follows from the operation; then it is written down what became of them. Who carries it out may die in between: the same
page is asked again, and what was done already is not done twice.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from taskscheduler.domain import errors
from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.decided import Decided, key_used, replayed
from taskscheduler.domain.evolve import with_key
from taskscheduler.domain.operation_definition import OperationDefinition, OperationStatus
from taskscheduler.domain.state import UsedKey
from taskscheduler.domain.values import Instant

OPERATION_STREAM = "operation/"


class Operation(msgspec.Struct, frozen=True, gc=False, tag="operation", omit_defaults=True):
    """`Operation(id)` is one that never existed; its id is the name of its stream.

    `page` counts pages; the tasks of the last one are `targets` until it is known what became of them. `cursor` is
    where the next one begins; None with a page above 0: there is none. `examples` has a sentence for each reason.
    """

    id: str
    version: int = 0
    recorded_at: Instant = 0
    definition: OperationDefinition | None = None
    by: str = ""
    started_at: Instant = 0
    ended_at: Instant | None = None
    cancelled_by: str | None = None
    page: int = 0
    cursor: str | None = None
    targets: tuple[str, ...] = ()
    picked: int = 0
    changed: int = 0
    unchanged: int = 0
    refused: dict[str, int] = {}
    examples: dict[str, str] = {}
    expire_at: Instant | None = None
    keys: dict[str, UsedKey] = {}

    @property
    def name(self) -> str:
        """What users call it."""
        return self.id.removeprefix(OPERATION_STREAM)

    @property
    def exists(self) -> bool:
        """Started and not forgotten."""
        return self.definition is not None

    @property
    def goes_on(self) -> bool:
        """Whether something is left to do."""
        return self.exists and self.ended_at is None

    @property
    def status(self) -> OperationStatus:
        """Running until it has ended."""
        if self.ended_at is None:
            return "running"
        return "completed" if self.cancelled_by is None else "cancelled"


def operation_id(name: str) -> str:
    """The id under which the state of an operation is kept."""
    return OPERATION_STREAM + name


def evolve(operation: Operation, event: ev.Event) -> Operation:
    """The state after `event`. Total; an event of something else changes nothing."""
    match event:
        case ev.OperationStarted():
            return replace(operation, definition=event.definition, by=event.by, started_at=event.at)
        case ev.OperationPicked():
            picked = operation.picked + len(event.targets)
            return replace(operation, page=event.page, targets=event.targets, cursor=event.cursor, picked=picked)
        case ev.OperationAdvanced():
            refused = dict(operation.refused)
            for reason, count in event.refused.items():
                refused[reason] = refused.get(reason, 0) + count
            return replace(
                operation,
                targets=(),
                changed=operation.changed + event.changed,
                unchanged=operation.unchanged + event.unchanged,
                refused=refused,
                examples={**event.examples, **operation.examples},
            )
        case ev.OperationCancelled():
            return replace(operation, cancelled_by=event.by)
        case ev.OperationEnded():
            return replace(operation, ended_at=event.at, expire_at=event.expire_at)
        case ev.OperationForgotten():
            return Operation(operation.id, operation.version, operation.recorded_at)
        case ev.KeyUsed():
            return replace(operation, keys=with_key(operation.keys, event))
        case _:
            return operation


def decide(operation: Operation, command: msg.Command, context: msg.Context, policy: msg.Policy) -> Decided:
    """Apply the command. Raises a DomainError when it is refused. What was done of a page already changes nothing."""
    if (known := replayed(operation, context)) is not None:
        return known
    events: list[ev.Event] = []
    after = operation

    def add(event: ev.Event) -> None:
        nonlocal after
        events.append(event)
        after = evolve(after, event)

    now = context.now
    match command:
        case msg.StartOperation():
            if operation.exists:
                raise errors.WrongState(f"there is an operation {operation.name!r} already")
            add(ev.OperationStarted(now, command.definition, by=context.actor))
        case msg.CancelOperation():
            if not operation.exists:
                raise errors.OperationNotFound(f"there is no operation {operation.name!r}, or it is no longer kept")
            if operation.ended_at is not None:
                raise errors.WrongState(f"the operation is {operation.status}: there is nothing to cancel")
            if operation.cancelled_by is None:
                add(ev.OperationCancelled(now, by=context.actor))
        case msg.PickPage():
            if operation.goes_on and not operation.targets and command.page == operation.page + 1:
                add(ev.OperationPicked(now, command.page, command.targets, command.cursor))
        case msg.Advance():
            if operation.goes_on and operation.targets and command.page == operation.page:
                add(
                    ev.OperationAdvanced(
                        now, command.page, command.changed, command.unchanged, command.refused, command.examples
                    )
                )
        case msg.Wake():
            if operation.expire_at is not None and operation.expire_at <= now:
                add(ev.OperationForgotten(now))
        case _:
            raise errors.WrongState("an operation can only be started and cancelled")
    if events and after.goes_on and not after.targets:
        over = after.page > 0 and after.cursor is None
        if over or after.cancelled_by is not None:
            add(ev.OperationEnded(now, expire_at=now + policy.keep_runs))
    for used in key_used(context, type(command).__name__.lower()):
        add(used)
    return Decided(events=tuple(events), state=after)


def wakeup(operation: Operation) -> Instant | None:
    """When it is forgotten."""
    return operation.expire_at
