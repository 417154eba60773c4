"""`taskscheduler dlq`: runs that failed for good."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import uuid4

from cyclopts import Parameter

from taskscheduler.api.cli.common import COMMON, Common, Key, Limit, instant, pairs
from taskscheduler.api.cli.errors import FAILED, UsageError
from taskscheduler.api.cli.output import Columns, say, show, show_all
from taskscheduler.api.cli.views import RUNS, last_error

if TYPE_CHECKING:
    from taskscheduler.client import Client

LETTERS: Columns = {
    "task": lambda letter: letter.task_id,
    "run": lambda letter: letter.id,
    "failed": lambda letter: letter.finished_at,
    "reason": lambda letter: letter.reason,
    "error": last_error,
    "attempts": lambda letter: len(letter.attempts),
    "retried by": lambda letter: letter.retried and letter.retried.run_id,
}
STORY: Columns = {
    **LETTERS,
    **{name: RUNS[name] for name in ("cause", "scheduled for")},
    "task name": lambda letter: letter.task_name,
    "target": lambda letter: (letter.definition or {}).get("target"),
    "payload": lambda letter: (letter.definition or {}).get("payload"),
    "history": lambda letter: letter.attempts,
    "reported late": lambda letter: letter.late_reports or None,
    "retry": lambda letter: letter.retried and f"{letter.retried.run_id} {letter.retried.status or ''}",
}
GROUPS: Columns = {
    "error": lambda group: group.error_type,
    "count": lambda group: f"{group.count}{'' if group.exact else '+'}",
    "tasks": lambda group: group.tasks,
    "first seen": lambda group: group.first_seen,
    "last seen": lambda group: group.last_seen,
    "last": lambda group: f"{group.last.get('task_id', '')} {group.last.get('run_id', '')}",
}
DONE: Columns = {
    "done": lambda done: done.done,
    "refused": lambda done: done.refused_count,
    "remaining": lambda done: f"{done.remaining}{'' if done.exact else '+'}",
}

Execute = Annotated[bool, Parameter(negative="", show_default=False, help="Do it; without this they are only counted.")]


@Parameter(name="*")
@dataclass(frozen=True)
class Filter:
    """Which ones."""

    task: Annotated[str | None, Parameter(help="Of this task.")] = None
    error_type: Annotated[str | None, Parameter(help="With this type of error.")] = None
    tag: Annotated[list[str] | None, Parameter(negative="", help="With this tag, key=value; repeatable.")] = None
    since: Annotated[str | None, Parameter(name="--from", help="Failed at this instant or later.")] = None
    until: Annotated[str | None, Parameter(name="--to", help="Failed before this instant.")] = None
    retried: Annotated[bool | None, Parameter(negative="--not-retried", help="Whether a run was made of it since.")] = (
        None
    )

    def query(self) -> dict[str, Any]:
        """The arguments of the client. Raises UsageError."""
        return {
            "task_id": self.task,
            "tags": pairs(self.tag),
            "error_type": self.error_type,
            "since": instant(self.since, "--from"),
            "until": instant(self.until, "--to"),
            "retried": self.retried,
        }

    def body(self) -> dict[str, Any]:
        """The filter of a request about many. Raises UsageError."""
        names = {"since": "from", "until": "to"}
        return {names.get(name, name): value for name, value in self.query().items() if value not in (None, {})}


ALL = Filter()


def list_letters(
    *,
    filter: Filter = ALL,
    limit: Limit = 50,
    common: Common = COMMON,
) -> None:
    """List runs that failed for good, newest first."""
    with common.client() as client:
        found = _every(client, filter)
        show_all(islice(found, limit), LETTERS, common.output)
        if next(found, None) is not None:
            say(f"there are more: --limit {limit} shows no more than {limit}")


def groups(*, filter: Filter = ALL, common: Common = COMMON) -> None:
    """Count them by the type of their error, the largest group first."""
    found, cursor = [], None
    with common.client() as client:
        while True:
            page = client.dead_letter_groups(**filter.query(), limit=200, cursor=cursor)
            found += page.items
            if (cursor := page.next_cursor) is None:
                break
    show_all(sorted(found, key=lambda group: -group.count), GROUPS, common.output)


def get(task_id: str, run_id: str, /, *, common: Common = COMMON) -> None:
    """Show the whole story of one."""
    with common.client() as client:
        show(client.dead_letter(task_id, run_id), STORY, common.output)


def retry(
    task_id: str | None = None,
    run_id: str | None = None,
    /,
    *,
    filter: Filter = ALL,
    execute: Execute = False,
    idempotency_key: Key = None,
    common: Common = COMMON,
) -> int | None:
    """Run one again, or with a filter many: `dlq retry --error-type http_503 --execute`."""
    if (one := _one(task_id, run_id, filter)) is not None:
        with common.client() as client:
            started = client.retry_dead_letter(*one, idempotency_key=idempotency_key)
            show(started, {"run": lambda task: task.run_id, "task": lambda task: task.id}, common.output)
        return None
    return _many("retry", filter, execute, idempotency_key, common)


def purge(
    task_id: str | None = None,
    run_id: str | None = None,
    /,
    *,
    filter: Filter = ALL,
    execute: Execute = False,
    idempotency_key: Key = None,
    common: Common = COMMON,
) -> int | None:
    """Take one off the list, or with a filter many; the runs stay in the history of their tasks."""
    if (one := _one(task_id, run_id, filter)) is not None:
        with common.client() as client:
            client.purge_dead_letter(*one, idempotency_key=idempotency_key)
        say(f"run {run_id} of task {task_id} is no dead letter any more")
        return None
    return _many("purge", filter, execute, idempotency_key, common)


def _one(task_id: str | None, run_id: str | None, filter: Filter) -> tuple[str, str] | None:
    if task_id is None:
        return None
    if run_id is None:
        raise UsageError("say which: TASK RUN for one, or --task and other options for many")
    if filter != ALL:
        raise UsageError("TASK RUN names one; leave the filter out")
    return task_id, run_id


def _every(client: Client, filter: Filter) -> Any:
    cursor = None
    while True:
        page = client.dead_letters(**filter.query(), limit=200, cursor=cursor)
        yield from page.items
        if (cursor := page.next_cursor) is None:
            return


def _many(
    verb: Literal["retry", "purge"], filter: Filter, execute: bool, key: str | None, common: Common
) -> int | None:
    from taskscheduler.client.letters import DeadLettersDone

    with common.client() as client:
        call = client.retry_dead_letters if verb == "retry" else client.purge_dead_letters
        if not execute:
            counted = call(filter.body())
            show(counted, DONE, common.output)
            say(f"nothing was changed: --execute does it to these {counted.remaining}{'' if counted.exact else '+'}")
            return None
        key = key or uuid4().hex
        done, refused, cursor = 0, list[dict[str, Any]](), None
        while True:
            # Pages under keys of their own: the same command under the same key comes by the same ones again.
            some = call(filter.body(), execute=True, cursor=cursor, limit=1_000, idempotency_key=key)
            done += some.done
            refused += some.refused
            if (cursor := some.next_cursor) is None:
                break
    show(
        DeadLettersDone(execute=True, done=done, refused=tuple(refused), refused_count=len(refused)),
        DONE,
        common.output,
    )
    for one in refused[:10]:
        say(f"{one['task_id']} {one['run_id']}: {one['detail']}")
    return FAILED if refused else None
