"""`operation start`, `list`, `get` and `cancel`, and the verbs of `task` with --all-matching: many tasks at once."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from cyclopts import Parameter

from taskscheduler.api.cli.common import COMMON, Common, Key, Limit, instant, pairs
from taskscheduler.api.cli.errors import Failed, UsageError
from taskscheduler.api.cli.output import Columns, format_of, say, show, show_all

if TYPE_CHECKING:
    from taskscheduler.client import Client, Operation

Action: TypeAlias = Literal["cancel", "pause", "resume", "retry", "trigger", "delete", "tag", "untag"]

LOOK_EVERY = 0.2
"""Seconds between two looks at an operation that is waited for."""

OPERATIONS: Columns = {
    "id": lambda one: one.id,
    "action": lambda one: one.action,
    "status": lambda one: one.status,
    "done": lambda one: f"{one.done} of {'over ' if one.expected_more else ''}{one.expected}",
    "changed": lambda one: one.changed,
    "unchanged": lambda one: one.unchanged,
    "refused": lambda one: sum(refusal.count for refusal in one.refused.values()),
    "started": lambda one: one.started_at,
    "by": lambda one: one.by,
}
OPERATION: Columns = {
    **OPERATIONS,
    "filter": lambda one: one.filter or "all tasks",
    "arguments": lambda one: one.arguments,
    "ended": lambda one: one.ended_at,
    "why refused": lambda one: "; ".join(
        f"{reason} {refusal.count} ({refusal.example})" for reason, refusal in one.refused.items()
    ),
}
_SAMPLE: Columns = {"id": lambda one: one.id, "name": lambda one: one.name, "status": lambda one: one.status}
_TEXTS: TypeAlias = list[str] | None
_FLAG = Parameter(negative="", show_default=False)


@Parameter(name="*")
@dataclass(frozen=True)
class Matching:
    """Which tasks are meant, and whether it is to be done."""

    status: Annotated[str | None, Parameter(help="Only tasks in this status.")] = None
    name: Annotated[str | None, Parameter(help="Only with this part in their name.")] = None
    tag: Annotated[_TEXTS, Parameter(negative="", help="Only with this tag, key=value; repeatable.")] = None
    due_before: Annotated[str | None, Parameter(help="Only those that fire before this instant.")] = None
    id: Annotated[_TEXTS, Parameter(negative="", help="Only this task; repeatable.")] = None
    execute: Annotated[bool, _FLAG, Parameter(help="Do it to many tasks; else only say to how many.")] = False
    yes: Annotated[bool, _FLAG, Parameter(help="With --execute: do not ask on a terminal.")] = False

    def filter(self) -> dict[str, Any]:
        """The filter of the request. Raises UsageError."""
        chosen: dict[str, Any] = {
            "status": self.status,
            "name": self.name,
            "tags": pairs(self.tag) or None,
            "due_before": instant(self.due_before, "--due-before"),
            "ids": self.id,
        }
        return {key: value for key, value in chosen.items() if value is not None}


@Parameter(name="*")
@dataclass(frozen=True)
class AllMatching(Matching):
    """The same, beside a single task that may be named instead."""

    all_matching: Annotated[
        bool, _FLAG, Parameter(help="Instead of one task, all that match: see `operation start`.")
    ] = False

    def means(self, task_id: str | None) -> bool:
        """Whether many tasks are meant. Raises UsageError where it is not said which."""
        if self.all_matching == (task_id is not None):
            raise UsageError("name a task, or say --all-matching with --status, --name, --tag, --due-before or --id")
        if task_id is not None and (self.filter() or self.execute or self.yes):
            raise UsageError("--status, --name, --tag, --due-before, --id, --execute and --yes go with --all-matching")
        return self.all_matching


ONE = AllMatching()
_ANY = Matching()


def start(
    action: Action,
    /,
    *,
    matching: Matching = _ANY,
    all: Annotated[bool, _FLAG, Parameter(help="Every task there is.")] = False,
    note: Annotated[str | None, Parameter(help="Of pause and resume: why, for others to read.")] = None,
    missed: Annotated[
        Literal["skip", "latest", "all"] | None, Parameter(help="Of resume: what of the pause is caught up.")
    ] = None,
    set: Annotated[_TEXTS, Parameter(negative="", help="Of tag: a tag to set, key=value; repeatable.")] = None,
    remove: Annotated[_TEXTS, Parameter(negative="", help="Of untag: the key of a tag; repeatable.")] = None,
    wait: Annotated[bool, _FLAG, Parameter(help="Wait until it has ended.")] = False,
    idempotency_key: Key = None,
    common: Common = COMMON,
) -> None:
    """Do something to all tasks that match: `operation start pause --tag team=ops --execute`."""
    tags: Any = pairs(set) if set is not None else remove
    given = {"note": note, "missed": missed, "tags": tags}
    do_to_many(action, matching, given, common, all=all, wait=wait, key=idempotency_key)


def do_to_many(
    action: Action,
    matching: Matching,
    given: dict[str, Any],
    common: Common,
    *,
    all: bool = False,
    wait: bool = False,
    key: str | None = None,
) -> None:
    """Start the operation, or say to how many tasks it would be done. Raises UsageError, Failed."""
    filter = matching.filter()
    if not filter and not all:
        raise UsageError(
            "say which tasks are meant, by --status, --name, --tag, --due-before or --id; "
            "`operation start` takes --all for every task"
        )
    arguments = {name: value for name, value in given.items() if value is not None}
    with common.client() as client:
        if not matching.execute or (not matching.yes and sys.stdin.isatty()):
            seen = client.look_at_operation(action, filter, all=all, arguments=arguments)
            many = f"{'over ' if seen.more else ''}{seen.matched:,} {'task' if seen.matched == 1 else 'tasks'}"
            if not matching.execute:
                if format_of(common.output) == "table":
                    show_all(seen.sample, _SAMPLE, common.output)
                else:
                    show(seen, {}, common.output)
                say(f"{action}: {many}; nothing was changed: --execute does it")
                return
            sys.stderr.write(f"{action}: {many}? [y/N] ")
            if sys.stdin.readline().strip().lower() not in ("y", "yes"):
                say("nothing was changed")
                raise Failed
        begun = client.start_operation(action, filter, all=all, arguments=arguments, idempotency_key=key)
        show(_ended(client, begun) if wait else begun, OPERATION, common.output)


def list_operations(*, limit: Limit = 50, common: Common = COMMON) -> None:
    """List operations, the newest first."""
    with common.client() as client:
        show_all(islice(client.iter_operations(), limit), OPERATIONS, common.output)


def get(operation_id: str, /, *, common: Common = COMMON) -> None:
    """Show an operation and how far it is."""
    with common.client() as client:
        show(client.operation(operation_id), OPERATION, common.output)


def cancel(operation_id: str, /, *, idempotency_key: Key = None, common: Common = COMMON) -> None:
    """Let an operation go no further."""
    with common.client() as client:
        show(client.cancel_operation(operation_id, idempotency_key=idempotency_key), OPERATION, common.output)


def _ended(client: Client, operation: Operation) -> Operation:
    while operation.ended_at is None:
        time.sleep(LOOK_EVERY)
        operation = client.operation(operation.id)
    return operation
