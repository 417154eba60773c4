"""Tasks: create, read, change, end."""

from __future__ import annotations

from typing import Any

from litestar import delete, get, patch, post
from litestar.handlers import HTTPRouteHandler
from msgspec import UNSET
from msgspec.structs import replace

from taskscheduler.api import operations as op
from taskscheduler.api import render
from taskscheduler.api.body import PATCH_TYPES, read_object
from taskscheduler.api.calendars.fill_in import fill_in
from taskscheduler.api.chains import check_chain, linked
from taskscheduler.api.headers import id_of_key, idempotency_key, if_match, key_of, new_id
from taskscheduler.api.node import Node
from taskscheduler.api.problems import Problem
from taskscheduler.api.reply import Headers, Reply, json_reply
from taskscheduler.api.routes.changing import ON_TASK, TASK_HEADERS, change, changed, no_fields, one_of, operation
from taskscheduler.api.routes.common import REPLAYED, Request, consistency, etag, is_known, next_link, path_id
from taskscheduler.api.schemas.fields import Errors, Fields
from taskscheduler.api.schemas.query import TASK_PARAMETERS, Query, read_task_filter
from taskscheduler.api.schemas.shapes import ref
from taskscheduler.api.schemas.target import Rules
from taskscheduler.api.schemas.task import needs_base, read_new_task, read_note, read_update
from taskscheduler.api.tracing import trace_parent
from taskscheduler.api.uniques import Existing, reserve
from taskscheduler.commands.handler import Done
from taskscheduler.domain.errors import RevisionMismatch, TaskGone, TaskNotFound
from taskscheduler.domain.messages import Cancel, Create, Delete, Pause, Retry, Trigger
from taskscheduler.domain.state import as_made
from taskscheduler.projections.task_view import view_of

MERGES = 8
"""How often a patch that has to be merged is tried against a task that others change meanwhile."""


def made(done: Done) -> tuple[dict[str, Any], Headers]:
    """The body and headers that tell of a task that was created, now or by an earlier request with the same key."""
    replayed = done.decided.replayed is not None
    state = as_made(done.decided.task) if replayed else done.decided.task
    headers: Headers = ((b"location", f"/api/tasks/{state.id}".encode()), *etag(state.revision))
    return render.task(view_of(state)), headers + (REPLAYED if replayed else ())


def _found(existing: Existing) -> Reply:
    """The task that has the unique key already, as it is now."""
    state = existing.task
    headers: Headers = ((b"location", f"/api/tasks/{state.id}".encode()), (b"unique-existing", b"true"))
    headers += etag(state.revision) + consistency(existing.token) + (REPLAYED if existing.replayed else ())
    return json_reply(200, render.task(view_of(state)), headers=headers)


def handlers(node: Node, rules: Rules) -> list[HTTPRouteHandler]:
    """The routes of tasks."""

    @post(
        "/api/tasks",
        status_code=200,
        opt=op.documented(
            op.Operation(
                "createTask",
                "tasks",
                "Create a task",
                {
                    200: op.Response(
                        "Another task has the unique key: that one.",
                        ref("Task"),
                        ("Location", "Unique-Existing", *TASK_HEADERS),
                    ),
                    201: op.Response("The task.", ref("Task"), ("Location", *TASK_HEADERS)),
                },
                description="Without an id it gets one, derived from the Idempotency-Key if there is one.",
                parameters=(op.KEY, op.TRACE),
                body="TaskIn",
                problems=("exists", "not-unique", *op.ON_WRITE),
            )
        ),
    )
    async def create_task(request: Request) -> Reply:
        body, deep = await read_object(request)
        errors = Errors(deep)
        new = read_new_task(Fields(body, "", errors), node.clock(), rules)
        given = idempotency_key(request, errors)
        if errors.found:
            errors.check()
        definition = replace(new.definition, schedule=await fill_in(node, new.definition.schedule, errors))
        key = key_of(given, "POST", "/api/tasks", body)
        task_id = new.id or (new_id(node.clock()) if given is None else id_of_key(given))
        await check_chain(node, task_id, None, definition, errors)
        if errors.late:
            errors.check(repeated=is_known(node, task_id, key))
        if definition.unique is not None:
            existing = await reserve(node, task_id, definition.unique, key, trace_parent.get())
            if existing is not None:
                return _found(existing)
        done = await node.handler.handle(task_id, Create(definition), key=key, trace=trace_parent.get())
        await linked(node, done)
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
                {200: op.Response("The task.", ref("Task"), TASK_HEADERS)},
                description="A finished one-time task that gets a new schedule is scheduled again. Attempts that run "
                "keep the target, payload and timeout that they were claimed with; later ones of the same run take "
                "the new ones. With `effective_from` a new schedule holds for nominal times from then on.",
                parameters=(op.TASK_ID, op.IF_MATCH, op.KEY, op.TRACE),
                body="TaskPatch",
                body_types=tuple(kind.decode() for kind in PATCH_TYPES),
                problems=("conflict", *ON_TASK),
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
            update = read_update(Fields(body, "", errors), node.clock(), rules, base.definition)
            if update.patch.schedule is not UNSET:
                schedule = await fill_in(node, update.patch.schedule, errors)
                update = replace(update, patch=replace(update.patch, schedule=schedule))
            key = key_of(idempotency_key(request, errors), "PATCH", f"/api/tasks/{task_id}", body)
            if base.definition is not None and not errors.found:
                changes = update.patch.apply_to(base.definition)
                await check_chain(node, task_id, base.definition, changes, errors)
            errors.check(repeated=is_known(node, task_id, key))
            match = one_of(asked, base)
            if merged and match is None and base.exists:
                match = base.revision
            try:
                done = await node.handler.handle(task_id, update, key=key, if_match=match, trace=trace_parent.get())
            except RevisionMismatch:
                if asked is not None:
                    raise
            else:
                await linked(node, done)
                return changed(done, 200)
        raise Problem("unavailable", "others keep changing the task; try again", retry_after=1.0, outcome="none")

    @delete(
        "/api/tasks/{task_id:str}",
        status_code=200,
        opt=op.documented(
            op.Operation(
                "deleteTask",
                "tasks",
                "Delete a task",
                {204: op.Response("Deleted.", None, TASK_HEADERS)},
                description="It is cancelled and leaves all lists; its history is kept for the retention time.",
                parameters=(op.TASK_ID, op.IF_MATCH, op.KEY, op.TRACE),
                problems=("invalid", *ON_TASK),
            )
        ),
    )
    async def delete_task(request: Request) -> Reply:
        reply = await change(node, request, Delete(), "", None, 204)
        reply.body = b""
        return reply

    found: list[HTTPRouteHandler] = [create_task, list_tasks, get_task, update_task, delete_task]

    def verb(name: str, status: int, command: type[Cancel | Retry | Trigger], documented: op.Operation) -> None:
        @post(f"/api/tasks/{{task_id:str}}/{name}", status_code=200, opt=op.documented(documented), name=documented.id)
        async def act(request: Request) -> Reply:
            body = await no_fields(request)
            return await change(node, request, command(), f"/{name}", body, status)

        found.append(act)

    @post(
        "/api/tasks/{task_id:str}/pause",
        status_code=200,
        opt=op.documented(operation("pauseTask", "Pause a task: nothing new runs", 200, "Task", "NoteIn")),
    )
    async def pause_task(request: Request) -> Reply:
        body, _ = await read_object(request)
        errors = Errors()
        fields = Fields(body, "", errors)
        note = read_note(fields)
        fields.end()
        errors.check()
        return await change(node, request, Pause(note), "/pause", body, 200)

    found.append(pause_task)

    verb("cancel", 200, Cancel, operation("cancelTask", "Cancel a task and its active runs", 200, "Task"))
    verb("retry", 202, Retry, operation("retryTask", "Run the last run, which failed, again", 202, "StartedTask"))
    verb(
        "trigger",
        202,
        Trigger,
        operation("triggerTask", "Run now, whatever the schedule says", 202, "StartedTask"),
    )
    return found
