"""`task get`, `list` and the verbs that take a task as it is."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

from cyclopts import Parameter

from taskscheduler.api.cli.bulk import ONE, AllMatching, do_to_many
from taskscheduler.api.cli.common import COMMON, Common, Key, Limit, instant, pairs
from taskscheduler.api.cli.output import say, show, show_all
from taskscheduler.api.cli.views import TASK, TASKS
from taskscheduler.api.cli.waiting import wait_for_run

Note = Annotated[str | None, Parameter(help="Why, for others to read.")]
Wait = Annotated[
    bool, Parameter(negative="", show_default=False, help="Wait until the run has ended; exit 1 if it did not succeed.")
]


def get(task_id: str, /, *, common: Common = COMMON) -> None:
    """Show a task."""
    with common.client() as client:
        show(client.get_task(task_id), TASK, common.output)


def list_tasks(
    *,
    status: Annotated[str | None, Parameter(help="scheduled, running, paused, completed, failed or cancelled.")] = None,
    name: Annotated[str | None, Parameter(help="Part of the name.")] = None,
    tag: Annotated[list[str] | None, Parameter(negative="", help="Only with this tag, key=value; repeatable.")] = None,
    calendar: Annotated[str | None, Parameter(help="Only those that leave out the days of this calendar.")] = None,
    due_before: Annotated[str | None, Parameter(help="Only those that fire before this instant.")] = None,
    sort: Annotated[
        str | None, Parameter(help="created_at, next_fire_at or name; with - before it, descending.")
    ] = None,
    limit: Limit = 50,
    all: Annotated[bool, Parameter(negative="", help="All of them.")] = False,
    common: Common = COMMON,
) -> None:
    """List tasks."""
    before = instant(due_before, "--due-before")
    with common.client() as client:
        found = client.iter_tasks(
            status=status, name=name, tags=pairs(tag), calendar=calendar, due_before=before, sort=sort
        )
        if all:
            show_all(found, TASKS, common.output)
            return
        show_all(islice(found, limit), TASKS, common.output)
        if next(found, None) is not None:
            say(f"there are more: --limit {limit} shows no more than {limit}, --all shows all")


def cancel(
    task_id: str | None = None, /, *, matching: AllMatching = ONE, idempotency_key: Key = None, common: Common = COMMON
) -> None:
    """Cancel a task and its active runs at once."""
    if matching.means(task_id):
        do_to_many("cancel", matching, {}, common, key=idempotency_key)
        return
    assert task_id is not None
    with common.client() as client:
        show(client.cancel(task_id, idempotency_key=idempotency_key), TASK, common.output)


def pause(
    task_id: str | None = None,
    /,
    *,
    matching: AllMatching = ONE,
    note: Note = None,
    idempotency_key: Key = None,
    common: Common = COMMON,
) -> None:
    """Let nothing fire until resumed."""
    if matching.means(task_id):
        do_to_many("pause", matching, {"note": note}, common, key=idempotency_key)
        return
    assert task_id is not None
    with common.client() as client:
        show(client.pause(task_id, note=note, idempotency_key=idempotency_key), TASK, common.output)


def trigger(
    task_id: str | None = None,
    /,
    *,
    matching: AllMatching = ONE,
    wait: Wait = False,
    idempotency_key: Key = None,
    common: Common = COMMON,
) -> None:
    """Run a task now, whatever its schedule says."""
    if matching.means(task_id):
        do_to_many("trigger", matching, {}, common, key=idempotency_key)
        return
    assert task_id is not None
    with common.client() as client:
        started = client.trigger(task_id, idempotency_key=idempotency_key)
        if wait:
            wait_for_run(client, task_id, started.run_id, common)
        else:
            show(started, {"run": lambda task: task.run_id, **TASK}, common.output)


def retry(
    task_id: str | None = None,
    /,
    *,
    matching: AllMatching = ONE,
    wait: Wait = False,
    idempotency_key: Key = None,
    common: Common = COMMON,
) -> None:
    """Run the last failed run of a task again."""
    if matching.means(task_id):
        do_to_many("retry", matching, {}, common, key=idempotency_key)
        return
    assert task_id is not None
    with common.client() as client:
        started = client.retry(task_id, idempotency_key=idempotency_key)
        if wait:
            wait_for_run(client, task_id, started.run_id, common)
        else:
            show(started, {"run": lambda task: task.run_id, **TASK}, common.output)


def delete(
    task_id: str | None = None, /, *, matching: AllMatching = ONE, idempotency_key: Key = None, common: Common = COMMON
) -> None:
    """Delete a task; its history is kept for a while."""
    if matching.means(task_id):
        do_to_many("delete", matching, {}, common, key=idempotency_key)
        return
    assert task_id is not None
    with common.client() as client:
        client.delete(task_id, idempotency_key=idempotency_key)
    say(f"task {task_id} is deleted")
