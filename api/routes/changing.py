"""What the routes share that change a task: who asks, under which key, at which revision, and the reply."""

from __future__ import annotations

from taskscheduler.api import operations as op
from taskscheduler.api import render
from taskscheduler.api.body import read_object
from taskscheduler.api.headers import idempotency_key, if_match, key_of
from taskscheduler.api.node import Node
from taskscheduler.api.reply import Reply, json_reply
from taskscheduler.api.routes.common import REPLAYED, Request, consistency, etag, path_id
from taskscheduler.api.schemas.fields import Errors, Fields
from taskscheduler.api.schemas.shapes import ref
from taskscheduler.api.tracing import trace_parent
from taskscheduler.commands.handler import Done
from taskscheduler.domain.messages import Command
from taskscheduler.domain.state import Task
from taskscheduler.projections.task_view import view_of

TASK_HEADERS = ("ETag", "Consistency-Token", "Idempotent-Replayed")
ON_TASK = ("not-found", "gone", "revision-mismatch", *op.ON_WRITE)


async def change(node: Node, request: Request, command: Command, verb: str, body: object, status: int) -> Reply:
    """Carry out a command on the task that the path names; `verb` is the rest of the path."""
    task_id = path_id(request, "task_id", "task")
    errors = Errors()
    key = key_of(idempotency_key(request, errors), request.method, f"/api/tasks/{task_id}{verb}", body)
    errors.check()
    asked = if_match(request)
    match = None if asked is None else one_of(asked, node.handler.state(task_id))
    done = await node.handler.handle(task_id, command, key=key, if_match=match, trace=trace_parent.get())
    return changed(done, status)


async def no_fields(request: Request) -> dict[str, object]:
    """The body of a request that says nothing: empty, or an empty object. Raises Problem for any other."""
    body, _ = await read_object(request)
    errors = Errors()
    Fields(body, "", errors).end()
    errors.check()
    return body


def changed(done: Done, status: int) -> Reply:
    """The task after a change, with the id of what the change began."""
    task, decided = done.decided.task, done.decided
    content = render.task(view_of(task))
    if decided.run_id is not None:
        content["run_id"] = decided.run_id
    if decided.backfill_id is not None:
        content["backfill_id"] = decided.backfill_id
    headers = etag(task.revision) + consistency(done.token)
    return json_reply(status, content, headers=headers + (REPLAYED if decided.replayed is not None else ()))


def one_of(asked: list[int] | None, task: Task) -> int | None:
    """The revision to insist on: of several that are allowed the one that the task is at."""
    if asked is None:
        return None
    return task.revision if task.revision in asked else asked[0]


def operation(
    id: str, summary: str, status: int, schema: str, body: str = "EmptyIn", *, description: str = ""
) -> op.Operation:
    """A verb on a task whose body says little or nothing."""
    return op.Operation(
        id,
        "tasks",
        summary,
        {status: op.Response("The task.", ref(schema), TASK_HEADERS)},
        description=description,
        parameters=(op.TASK_ID, op.IF_MATCH, op.KEY, op.TRACE),
        body=body,
        body_required=False,
        problems=("conflict", *ON_TASK),
    )
