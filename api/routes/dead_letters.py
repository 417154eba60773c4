"""Runs that failed for good: lists, groups, the story of one; run again or purged, one or many."""

from __future__ import annotations

from typing import Any

from litestar import delete, get, post
from litestar.handlers import HTTPRouteHandler

from taskscheduler.api import bulk_dead_letters as bulk
from taskscheduler.api import operations as op
from taskscheduler.api import render
from taskscheduler.api import render_dead_letters as shown
from taskscheduler.api.body import read_object
from taskscheduler.api.headers import idempotency_key, key_of
from taskscheduler.api.node import Node
from taskscheduler.api.problems import Problem
from taskscheduler.api.reply import Reply, json_reply
from taskscheduler.api.routes.changing import TASK_HEADERS, changed, no_fields
from taskscheduler.api.routes.common import REPLAYED, Request, consistency, is_known, next_link, path_id
from taskscheduler.api.schemas.dead_letter import read_bulk, read_filter
from taskscheduler.api.schemas.fields import Errors, Fields
from taskscheduler.api.schemas.query import DEAD_LETTER_PARAMETERS, Query
from taskscheduler.api.schemas.shapes import Schema, ref
from taskscheduler.api.tracing import trace_parent
from taskscheduler.domain.messages import Key, PurgeDeadLetter, Retry
from taskscheduler.projections.letters import Story

_PATH = "/api/dead-letters/{task_id:str}/{run_id:str}"
_IDS = (op.TASK_ID, op.path_parameter("run_id", "The id of the run that failed."))
_MANY = (
    "Without `execute` they are only counted. With it, so many at once, the oldest first: send `next_cursor` until it "
    "is null. Each is a decision of its own, so what has been done stays when the rest fails, and what a request has "
    "done is not done again when it is repeated under its Idempotency-Key."
)


def handlers(node: Node) -> list[HTTPRouteHandler]:
    """The routes of dead letters."""

    @get(
        "/api/dead-letters",
        opt=_listing(
            "listDeadLetters", "List runs that failed for good, newest first", "DeadLetterPage", DEAD_LETTER_PARAMETERS
        ),
    )
    async def list_dead_letters(request: Request) -> Reply:
        query = Query(request.scope["query_string"])
        filter = read_filter(query)
        limit, cursor = query.page()
        page = await node.queries.letters.page(filter, limit=limit, cursor=cursor)
        items = [shown.dead_letter(view) for view in page.items]
        return _page(request, query, items, page.next_cursor)

    @get(
        "/api/dead-letters/groups",
        opt=_listing(
            "groupDeadLetters", "Count them by the type of their error", "DeadLetterGroupPage", DEAD_LETTER_PARAMETERS
        ),
    )
    async def group_dead_letters(request: Request) -> Reply:
        query = Query(request.scope["query_string"])
        filter = read_filter(query)
        limit, cursor = query.page()
        page = await node.queries.letters.groups(filter, limit=limit, cursor=cursor)
        return _page(request, query, [shown.group(group) for group in page.items], page.next_cursor)

    async def seen(request: Request) -> None:
        """What a write goes by must be as new as what its sender saw, like the answer to a query."""
        if (token := request.headers.get("consistency-token")) is not None:
            await node.caught_up_to(token)

    def none(task_id: str, run_id: str) -> Problem:
        return Problem("not-found", f"no run {run_id!r} of a task {task_id!r} is a dead letter")

    @get(
        _PATH,
        opt=op.documented(
            op.Operation(
                "getDeadLetter",
                "dead letters",
                "Read the whole story of a dead letter",
                {200: op.Response("The dead letter.", ref("DeadLetterStory"))},
                parameters=(*_IDS, op.TOKEN),
                problems=("not-found", "unavailable"),
            )
        ),
    )
    async def get_dead_letter(request: Request) -> Reply:
        task_id, run_id = path_id(request, "task_id", "task"), path_id(request, "run_id", "run")
        story = await node.queries.letters.story(task_id, run_id)
        if story is None:
            raise none(task_id, run_id)
        return json_reply(200, shown.story(story))

    async def asked_of(
        request: Request, method: str, verb: str, body: object
    ) -> tuple[str, str, Key | None, Story | None]:
        task_id, run_id = path_id(request, "task_id", "task"), path_id(request, "run_id", "run")
        errors = Errors()
        path = f"/api/dead-letters/{task_id}/{run_id}{verb}"
        key = key_of(idempotency_key(request, errors), method, path, body)
        errors.check()
        await seen(request)
        story = await node.queries.letters.story(task_id, run_id)
        # A request that is repeated is given its answer again, whatever has become of the dead letter.
        if story is None and not is_known(node, task_id, key):
            raise none(task_id, run_id)
        return task_id, run_id, key, story

    @post(
        _PATH + "/retry",
        status_code=200,
        opt=op.documented(
            op.Operation(
                "retryDeadLetter",
                "dead letters",
                "Run it again",
                {202: op.Response("Its task, and the new run.", ref("StartedTask"), TASK_HEADERS)},
                description="As its task is defined now. 409 while a retry of it has not ended.",
                parameters=(*_IDS, op.KEY, op.TOKEN, op.TRACE),
                body="EmptyIn",
                body_required=False,
                problems=("conflict", "not-found", "gone", *op.ON_WRITE),
            )
        ),
    )
    async def retry_dead_letter(request: Request) -> Reply:
        body = await no_fields(request)
        task_id, run_id, key, story = await asked_of(request, "POST", "/retry", body)
        command = Retry(run_id) if story is None else bulk.retry_of(story.view)
        done = await node.handler.handle(task_id, command, key=key, trace=trace_parent.get())
        return changed(done, 202)

    @delete(
        _PATH,
        status_code=200,
        opt=op.documented(
            op.Operation(
                "purgeDeadLetter",
                "dead letters",
                "Take it off the list",
                {204: op.Response("Purged.", None, TASK_HEADERS[1:])},
                description="The run stays in the history of its task.",
                parameters=(*_IDS, op.KEY, op.TOKEN, op.TRACE),
                problems=("invalid", "not-found", "gone", *op.ON_WRITE),
            )
        ),
    )
    async def purge_dead_letter(request: Request) -> Reply:
        task_id, run_id, key, story = await asked_of(request, "DELETE", "", None)
        command = PurgeDeadLetter(run_id, 0, "") if story is None else bulk.purge_of(story.view)
        done = await node.handler.handle(task_id, command, key=key, trace=trace_parent.get())
        return Reply(204, headers=consistency(done.token) + (REPLAYED if done.decided.replayed is not None else ()))

    async def many(request: Request, verb: bulk.Verb, retried: bool | None) -> Reply:
        body, deep = await read_object(request)
        errors = Errors(deep)
        asked = read_bulk(Fields(body, "", errors), retried=retried)
        key = idempotency_key(request, errors)
        errors.check()
        await seen(request)
        content = await bulk.apply(node, verb, asked, key, trace_parent.get())
        return json_reply(200, content, headers=consistency(node.token()))

    @post("/api/dead-letters/retry", status_code=200, opt=_on_many("retryDeadLetters", "Run many again"))
    async def retry_dead_letters(request: Request) -> Reply:
        return await many(request, bulk.RETRY, False)

    @post("/api/dead-letters/purge", status_code=200, opt=_on_many("purgeDeadLetters", "Take many off the list"))
    async def purge_dead_letters(request: Request) -> Reply:
        return await many(request, bulk.PURGE, None)

    return [
        list_dead_letters,
        group_dead_letters,
        get_dead_letter,
        retry_dead_letter,
        purge_dead_letter,
        retry_dead_letters,
        purge_dead_letters,
    ]


def _listing(id: str, summary: str, schema: str, parameters: list[Schema]) -> dict[str, Any]:
    return op.documented(
        op.Operation(
            id,
            "dead letters",
            summary,
            {200: op.Response("A page.", ref(schema), ("Link",))},
            description="`from` and `to` are about when they failed.",
            parameters=(*parameters, op.TOKEN),
            problems=("invalid", "unavailable"),
        )
    )


def _on_many(id: str, summary: str) -> dict[str, Any]:
    return op.documented(
        op.Operation(
            id,
            "dead letters",
            summary,
            {200: op.Response("What became of them.", ref("DeadLettersDone"), ("Consistency-Token",))},
            description=_MANY,
            parameters=(op.KEY, op.TOKEN, op.TRACE),
            body="DeadLettersIn",
            body_required=False,
            problems=op.ON_WRITE,
        )
    )


def _page(request: Request, query: Query, items: list[dict[str, Any]], cursor: str | None) -> Reply:
    return json_reply(200, render.page(items, cursor), headers=next_link(request, query.pairs, cursor))
