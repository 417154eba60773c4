"""Carries out operations over many tasks, page by page, as slowly as is asked.

What is to be done next follows from the state of the operation alone: either it is known which tasks come next, and
they are asked, or they are looked up. Each task is asked under a key that follows from the operation, so that it hears
it once, however often its page is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

from taskscheduler.commands.handler import Answer, Ask, CommandHandler, Done, Unavailable
from taskscheduler.commands.ports import LogUnavailable
from taskscheduler.domain import errors
from taskscheduler.domain import messages as msg
from taskscheduler.domain.decision import AcceptedOther, AnyAccepted
from taskscheduler.domain.events import KeyUsed, RetentionPlanned
from taskscheduler.domain.ids import digest
from taskscheduler.domain.operation import OPERATION_STREAM, Operation
from taskscheduler.domain.operation_definition import OperationDefinition
from taskscheduler.projections.filters import TaskFilter
from taskscheduler.projections.ports import ViewsUnavailable
from taskscheduler.projections.queries import Queries
from taskscheduler.streams.looking import set_within

PAGE = 100
"""Tasks that are asked at once."""

PAUSE = 1.0
"""Seconds before what could not be done is tried again."""

_REASONS: dict[type[errors.DomainError], str] = {
    errors.NotSelected: "no_longer_selected",
    errors.TaskNotFound: "not_found",
    errors.TaskGone: "deleted",
    errors.WrongState: "wrong_state",
    errors.Invalid: "invalid",
    errors.TooManyKeys: "too_many_keys",
}


class Page(NamedTuple):
    """Some targets, and where to go on; None where there are no more."""

    targets: tuple[str, ...]
    cursor: str | None


class Source(Protocol):
    """Where the targets of an operation come from, in an order that does not change while it works on them."""

    async def page(self, operation: Operation, limit: int) -> Page:
        """The targets from the operation's cursor on. Raises ViewsUnavailable."""
        ...

    def ask(self, operation: Operation, target: str) -> Ask:
        """What is asked of a target; the key and the actor are added."""
        ...


class Tasks:
    """The tasks of a selection, from the read models; those that are named, as they are named."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def page(self, operation: Operation, limit: int) -> Page:
        """In the order in which they were made."""
        assert operation.definition is not None
        selection = operation.definition.selection
        if selection.ids:
            begin = int(operation.cursor or 0)
            rest = begin + limit
            return Page(selection.ids[begin:rest], str(rest) if rest < len(selection.ids) else None)
        filter = filter_of(operation.definition)
        try:
            found = await self._queries.tasks(filter, limit=limit, cursor=operation.cursor)
        except errors.Invalid:
            # A release that asked otherwise left the cursor. Those that were asked already answer by their keys.
            found = await self._queries.tasks(filter, limit=limit)
        made = [view for view in found.items if view.created_at <= operation.started_at]
        return Page(tuple(view.id for view in made), found.next_cursor if len(made) == len(found.items) else None)

    def ask(self, operation: Operation, target: str) -> Ask:
        """The action, if the task is still selected."""
        assert operation.definition is not None
        command = command_of(operation.definition)
        return Ask(target, msg.Selected(operation.definition.selection, operation.started_at, command))


class Operations:
    """Carries out the operations of the partitions that are this process's. `run` is its loop; an observer, too.

    `known` are operations that may be under way at the start, `rate` how many tasks are asked in a second at most.
    `ready` returns when the read models show what was acknowledged before now.
    """

    def __init__(
        self,
        source: Source,
        handler: CommandHandler,
        partition_of: Callable[[str], int],
        mine: Callable[[], Collection[int]],
        *,
        rate: int,
        ready: Callable[[], Awaitable[None]],
    ) -> None:
        self._source = source
        self._handler = handler
        self._partition_of = partition_of
        self._mine = mine
        self._rate = rate
        self._ready = ready
        self._going: dict[str, None] = {}
        self._changed = asyncio.Event()

    @property
    def going(self) -> int:
        """Operations under way in the partitions of this process."""
        mine = self._mine()
        return sum(self._partition_of(id) in mine for id in self._going)

    def know(self, ids: Iterable[str]) -> None:
        """Operations that may be under way."""
        for id in ids:
            if id.startswith(OPERATION_STREAM) and self._handler.operation(id[len(OPERATION_STREAM) :]).goes_on:
                self._going[id] = None

    def apply(self, accepted: Sequence[AnyAccepted]) -> None:
        """Note which operations are under way."""
        for change in accepted:
            if isinstance(change, AcceptedOther) and isinstance(change.after, Operation):
                if change.after.goes_on:
                    self._going[change.after.id] = None
                    self._changed.set()
                else:
                    self._going.pop(change.after.id, None)

    async def run(self) -> None:
        """Until cancelled. Operations under way take turns."""
        while True:
            self._changed.clear()
            mine = self._mine()
            worked = False
            for id in [id for id in self._going if self._partition_of(id) in mine]:
                worked = await self._step(id) or worked
            if worked:
                continue
            await set_within(self._changed)

    async def _step(self, id: str) -> bool:
        """One page of it; whether there was anything to do."""
        operation = self._handler.operation(id.removeprefix(OPERATION_STREAM))
        if not operation.goes_on:
            self._going.pop(id, None)
            return False
        try:
            if operation.targets:
                await self._ask(operation)
            else:
                await self._pick(operation)
        except (Unavailable, LogUnavailable, ViewsUnavailable):
            await asyncio.sleep(PAUSE)
        except Exception as error:
            # One that cannot be carried out must not hold up the others.
            message = f"the operation {operation.name} cannot go on"
            asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})
            await asyncio.sleep(PAUSE)
        return True

    async def _pick(self, operation: Operation) -> None:
        if operation.page == 0:
            await self._ready()
        page = await self._source.page(operation, PAGE)
        await self._handler.handle(
            operation.id, msg.PickPage(operation.page + 1, page.targets, page.cursor), actor=operation.by
        )

    async def _ask(self, operation: Operation) -> None:
        pace = asyncio.create_task(asyncio.sleep(len(operation.targets) / self._rate))
        try:
            asks = [self._keyed(operation, target) for target in operation.targets]
            answers = await self._handler.handle_many(asks)
            for answer in answers:
                if isinstance(answer, Unavailable):
                    raise answer
            advance = _counted(operation, answers)
            await pace
            await self._handler.handle(operation.id, advance, actor=operation.by)
        finally:
            pace.cancel()

    def _keyed(self, operation: Operation, target: str) -> Ask:
        ask = self._source.ask(operation, target)
        key = msg.Key(digest("operation", operation.id, target), digest(operation.id))
        return Ask(ask.task_id, ask.command, operation.by, key, cause=operation.id)


def command_of(definition: OperationDefinition) -> msg.Change:
    """What the action asks of a task."""
    match definition.action:
        case "cancel":
            return msg.Cancel()
        case "pause":
            return msg.Pause(definition.note)
        case "resume":
            return msg.Resume(definition.note, definition.missed)
        case "retry":
            return msg.Retry()
        case "trigger":
            return msg.Trigger()
        case "delete":
            return msg.Delete()
        case "tag":
            return msg.Retag(set=definition.tags)
        case "untag":
            return msg.Retag(remove=tuple(definition.tags))


def filter_of(definition: OperationDefinition) -> TaskFilter:
    """The selection, as the read models take it."""
    selection = definition.selection
    return TaskFilter(
        status=selection.status,  # type: ignore[arg-type]
        name_contains=selection.name_contains,
        tags=tuple(selection.tags.items()),
        due_before=selection.due_before,
    )


def _counted(operation: Operation, answers: Sequence[Answer]) -> msg.Advance:
    changed = 0
    refused: dict[str, int] = {}
    examples: dict[str, str] = {}
    for target, answer in zip(operation.targets, answers, strict=True):
        if isinstance(answer, Done):
            changed += _changes(answer)
            continue
        assert isinstance(answer, errors.DomainError)
        reason = _REASONS.get(type(answer), "refused")
        refused[reason] = refused.get(reason, 0) + 1
        examples.setdefault(reason, f"{target}: {answer.detail}")
    unchanged = len(answers) - changed - sum(refused.values())
    return msg.Advance(operation.page, changed, unchanged, refused, examples)


def _changes(done: Done) -> bool:
    # What was asked before a crash is answered by its key: it had been done.
    decided = done.decided
    return decided.replayed is not None or any(
        not isinstance(event, KeyUsed | RetentionPlanned) for event in decided.events
    )
