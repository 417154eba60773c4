"""Tasks: create, read, change, end."""

from __future__ import annotations

from typing import Any

from litestar import delete, get, patch, post
from litestar.handlers import HTTPRouteHandler

from taskscheduler.api import operations as op
from taskscheduler.api import render
from taskscheduler.api.body import PATCH_TYPES, read_object
from taskscheduler.api.headers import id_of_key, idempotency_key, if_match, key_of, new_id
from taskscheduler.api.node import Node
from taskscheduler.api.problems import FieldError, Problem, invalid
from taskscheduler.api.reply import Headers, Reply, json_reply
from taskscheduler.api.routes.common import REPLAYED, Request, consistency, etag, next_link, path_id
from taskscheduler.api.schemas.fields import NOT_YET, Errors, Fields
from taskscheduler.api.schemas.query import TASK_PARAMETERS, Query, read_task_filter
from taskscheduler.api.schemas.shapes import ref
from taskscheduler.api.schemas.target import Forbidden
from taskscheduler.api.schemas.task import needs_base, read_new_task, read_patch
from taskscheduler.api.tracing import trace_parent
from taskscheduler.commands.handler import Done
from taskscheduler.domain.errors import RevisionMismatch, TaskGone, TaskNotFound
from taskscheduler.domain.messages import Cancel, Command, Create, Delete, Key, Pause, Resume, Retry, Trigger, Update
from taskscheduler.domain.state import Task, as_made
from taskscheduler.projections.task_view import view_of

LONGEST_NOTE = 1_000
MERGES = 8
"""How often a patch that has to be merged is tried against a task that others change meanwhile."""

_TASK_HEADERS = ("ETag", "Consistency-Token", "Idempotent-Replayed")
_ON_TASK = ("not-found", "gone", "revision-mismatch", *op.ON_WRITE)


def made(done: Done) -> tuple[dict[str, Any], Headers]:
    """The body and headers that tell of a task that was created, now or by an earlier request with the same key."""
    replayed = done.decided.replayed is not None
    state = as_made(done.decided.task) if replayed else done.decided.task
    headers: Headers = ((b"location", f"/api/tasks/{state.id}".encode()), *etag(state.revision))
    return render.task(view_of(state)), headers + (REPLAYED if replayed else ())


def is_known(node: Node, task_id: str, key: Key | None) -> bool:
    """Whether a request with this key was carried out before, so that its answer can be given again."""
    if key is None:
        return False
    used = node.handler.state(task_id).keys.get(key.key)
    return used is not None and used.fingerprint == key.fingerprint


def handlers(node: Node, forbidden: Forbidden) -> list[HTTPRouteHandler]:
    """The routes of tasks."""

    @post(
        "/api/tasks",
        status_code=200,
        opt=op.documented(
            op.Operation(
                "createTask",
                "tasks",
                "Create a task",
                {201: op.Response("The task.", ref("Task"), ("Location", *_TASK_HEADERS))},
                description="Without an id it gets one, derived from the Idempotency-Key if there is one.",
                parameters=(op.KEY, op.TRACE),
                body="TaskIn",
                problems=("exists", *op.ON_WRITE),
            )
        ),
    )
    async def create_task(request: Request) -> Reply:
        body, deep = await read_object(request)
        errors = Errors(deep)
        new = read_new_task(Fields(body, "", errors), node.clock(), forbidden)
        given = idempotency_key(request, errors)
        if errors.found:
            errors.check()
        key = key_of(given, "POST", "/api/tasks", body)
        task_id = new.id or (new_id(node.clock()) if given is None else id_of_key(given))
        if errors.late:
            errors.check(repeated=is_known(node, task_id, key))
        done = await node.handler.handle(task_id, Create(new.definition), key=key, trace=trace_parent.get())
        content, headers = made(done)
        return json_reply(201, content, headers=headers + consistency(done.token))

    @get(
        "/api/tasks",
        opt=op.documented(
            op.Operation(
                "listTasks",
                "tasks",
                "List tasks",
                {200: op.Response("A page of tasks.", ref("TaskPage"), ("Link",))},
                description="A page may hold fewer than asked for and still have a next one.",
                parameters=(*TASK_PARAMETERS, op.TOKEN),
                problems=("invalid", "unavailable"),
            )
        ),
    )
    async def list_tasks(request: Request) -> Reply:
        query = Query(request.scope["query_string"])
        filter = read_task_filter(query)
        limit, cursor = query.page()
        page = await node.queries.tasks(filter, limit=limit, cursor=cursor)
        content = render.page([render.task(view) for view in page.items], page.next_cursor)
        return json_reply(200, content, headers=next_link(request, query.pairs, page.next_cursor))

    @get(
        "/api/tasks/{task_id:str}",
        opt=op.documented(
            op.Operation(
                "getTask",
                "tasks",
                "Read a task",
                {200: op.Response("The task.", ref("Task"), ("ETag",))},
                parameters=(op.TASK_ID, op.TOKEN),
                problems=("not-found", "gone", "unavailable"),
            )
        ),
    )
    async def get_task(request: Request) -> Reply:
        task_id = path_id(request, "task_id", "task")
        view = await node.queries.task(task_id)
        if view is None:
            raise TaskNotFound(f"there is no task {task_id!r}")
        if view.deleted_at is not None:
            raise TaskGone(f"the task {task_id!r} was deleted")
        return json_reply(200, render.task(view), headers=etag(view.revision))

    @patch(
        "/api/tasks/{task_id:str}",
        opt=op.documented(
            op.Operation(
                "updateTask",
                "tasks",
                "Change the definition of a task",
                {200: op.Response("The task.", ref("Task"), _TASK_HEADERS)},
                description="A finished one-time task that gets a new schedule is scheduled again.",
                parameters=(op.TASK_ID, op.IF_MATCH, op.KEY, op.TRACE),
                body="TaskPatch",
                body_types=tuple(kind.decode() for kind in PATCH_TYPES),
                problems=("conflict", *_ON_TASK),
            )
        ),
    )
    async def update_task(request: Request) -> Reply:
        task_id = path_id(request, "task_id", "task")
        body, deep = await read_object(request, types=PATCH_TYPES)
        asked = if_match(request)
        merged = needs_base(body)
        for _ in range(MERGES):
            errors, base = Errors(deep), node.handler.state(task_id)
            update = Update(read_patch(Fields(body, "", errors), node.clock(), forbidden, base.definition))
            key = key_of(idempotency_key(request, errors), "PATCH", f"/api/tasks/{task_id}", body)
            errors.check(repeated=is_known(node, task_id, key))
            match = _one_of(asked, base)
            if merged and match is None and base.exists:
                match = base.revision
            try:
                done = await node.handler.handle(task_id, update, key=key, if_match=match, trace=trace_parent.get())
            except RevisionMismatch:
                if asked is not None:
                    raise
            else:
                return _changed(done, 200)
        raise Problem("unavailable", "others keep changing the task; try again", retry_after=1.0, outcome="none")

    async def change(request: Request, command: Command, verb: str, body: object, status: int) -> Reply:
        task_id = path_id(request, "task_id", "task")
        errors = Errors()
        key = key_of(idempotency_key(request, errors), request.method, f"/api/tasks/{task_id}{verb}", body)
        errors.check()
        asked = if_match(request)
        match = None if asked is None else _one_of(asked, node.handler.state(task_id))
        done = await node.handler.handle(task_id, command, key=key, if_match=match, trace=trace_parent.get())
        return _changed(done, status)

    @delete(
        "/api/tasks/{task_id:str}",
        status_code=200,
        opt=op.documented(
            op.Operation(
                "deleteTask",
                "tasks",
                "Delete a task",
                {204: op.Response("Deleted.", None, _TASK_HEADERS)},
                description="It is cancelled and leaves all lists; its history is kept for the retention time.",
                parameters=(op.TASK_ID, op.IF_MATCH, op.KEY, op.TRACE),
                problems=("invalid", *_ON_TASK),
            )
        ),
    )
    async def delete_task(request: Request) -> Reply:
        reply = await change(request, Delete(), "", None, 204)
        reply.body = b""
        return reply

    found: list[HTTPRouteHandler] = [create_task, list_tasks, get_task, update_task, delete_task]

    def verb(name: str, status: int, command: type[Cancel | Retry | Trigger], operation: op.Operation) -> None:
        @post(f"/api/tasks/{{task_id:str}}/{name}", status_code=200, opt=op.documented(operation), name=operation.id)
        async def act(request: Request) -> Reply:
            body, _ = await read_object(request)
            errors = Errors()
            Fields(body, "", errors).end()
            errors.check()
            return await change(request, command(), f"/{name}", body, status)

        found.append(act)

    def noting(name: str, command: type[Pause | Resume], operation: op.Operation) -> None:
        @post(f"/api/tasks/{{task_id:str}}/{name}", status_code=200, opt=op.documented(operation), name=operation.id)
        async def act(request: Request) -> Reply:
            body, _ = await read_object(request)
            errors = Errors()
            fields = Fields(body, "", errors)
            note = fields.text("note", 0, LONGEST_NOTE) or ""
            fields.end()
            errors.check()
            return await change(request, command(note), f"/{name}", body, 200)

        found.append(act)

    verb("cancel", 200, Cancel, _operation("cancelTask", "Cancel a task and its active runs", 200, "Task", True))
    verb(
        "retry", 202, Retry, _operation("retryTask", "Run the last run, which failed, again", 202, "StartedTask", True)
    )
    verb(
        "trigger",
        202,
        Trigger,
        _operation("triggerTask", "Run now, whatever the schedule says", 202, "StartedTask", True),
    )
    found.append(_backfill())
    noting("pause", Pause, _operation("pauseTask", "Pause a task: nothing new runs", 200, "Task", False))
    noting("resume", Resume, _operation("resumeTask", "Let a paused task go on", 200, "Task", False))
    return found


def _backfill() -> HTTPRouteHandler:
    """Says that it comes later, which a 404 would not; no part of the API description until then."""

    @post("/api/tasks/{task_id:str}/backfill", status_code=200)
    async def backfill(request: Request) -> Reply:
        path_id(request, "task_id", "task")
        raise invalid([FieldError("", f"backfill {NOT_YET}")])

    return backfill


def _operation(id: str, summary: str, status: int, schema: str, empty: bool) -> op.Operation:
    return op.Operation(
        id,
        "tasks",
        summary,
        {status: op.Response("The task.", ref(schema), _TASK_HEADERS)},
        parameters=(op.TASK_ID, op.IF_MATCH, op.KEY, op.TRACE),
        body="EmptyIn" if empty else "NoteIn",
        body_required=False,
        problems=("conflict", *_ON_TASK),
    )


def _changed(done: Done, status: int) -> Reply:
    task, decided = done.decided.task, done.decided
    content = render.task(view_of(task))
    if decided.run_id is not None:
        content["run_id"] = decided.run_id
    headers = etag(task.revision) + consistency(done.token)
    return json_reply(status, content, headers=headers + (REPLAYED if decided.replayed is not None else ()))


def _one_of(asked: list[int] | None, task: Task) -> int | None:
    """The revision to insist on: of several that are allowed the one that the task is at."""
    if asked is None:
        return None
    return task.revision if task.revision in asked else asked[0]
