"""The registry of workers: what they say of themselves, and that they are to drain."""

from __future__ import annotations

from typing import Any

from litestar import get, post
from litestar.handlers import HTTPRouteHandler

from taskscheduler.api import operations as op
from taskscheduler.api.body import read_object
from taskscheduler.api.headers import idempotency_key, key_of
from taskscheduler.api.node import Node
from taskscheduler.api.reply import Reply, json_reply
from taskscheduler.api.routes.common import REPLAYED, Request, consistency, next_link, path_id
from taskscheduler.api.schemas.fields import Errors, Fields
from taskscheduler.api.schemas.query import PAGE_PARAMETERS, Query, parameter
from taskscheduler.api.schemas.shapes import ID, ref, words
from taskscheduler.api.schemas.worker import WORKER_STATUSES, read_announcement, read_leaving
from taskscheduler.api.tracing import trace_parent
from taskscheduler.api.values import format_instant
from taskscheduler.commands.handler import Done
from taskscheduler.domain.errors import WorkerNotFound
from taskscheduler.domain.messages import Command, Drain, Key, Leave
from taskscheduler.domain.values import Instant
from taskscheduler.domain.worker import Worker, worker_id
from taskscheduler.projections.workers import WorkerView, view_of

NAME = op.path_parameter("name", "The name of the worker.")
_HEADERS = ("Consistency-Token", "Idempotent-Replayed")
_WRITE = ("not-found", *op.ON_WRITE)


def handlers(node: Node) -> list[HTTPRouteHandler]:
    """The routes of the registry."""

    async def decided(
        name: str, command: Command, actor: str = "anonymous", key: Key | None = None
    ) -> tuple[Worker, Done]:
        done = await node.handler.handle(worker_id(name), command, actor=actor, key=key, trace=trace_parent.get())
        worker = done.decided.state
        assert isinstance(worker, Worker)
        return worker, done

    @post(
        "/api/workers/{name:str}/announce",
        status_code=200,
        opt=_documented("announceWorker", "Say that a worker is there", "Announced", "WorkerIn"),
    )
    async def announce(request: Request) -> Reply:
        name, fields = await _read(request)
        announcement = read_announcement(fields)
        fields.errors.check()
        worker, done = await decided(name, announcement, name)
        return json_reply(200, {"drain_requested": worker.draining}, headers=consistency(done.token))

    @post(
        "/api/workers/{name:str}/leave",
        status_code=200,
        opt=_documented("leave", "Say that a worker ends", "Empty", "LeaveIn"),
    )
    async def leave(request: Request) -> Reply:
        name, fields = await _read(request)
        instance = read_leaving(fields)
        fields.errors.check()
        _, done = await decided(name, Leave(instance), name)
        return json_reply(200, {}, headers=consistency(done.token))

    @post(
        "/api/workers/{name:str}/drain",
        status_code=200,
        opt=_documented("drainWorker", "Let a worker end what runs, take no more, and leave", "Worker", "DrainIn"),
    )
    async def drain(request: Request) -> Reply:
        name = path_id(request, "name", "worker")
        body, deep = await read_object(request)
        errors = Errors(deep)
        key = key_of(idempotency_key(request, errors), "POST", f"/api/workers/{name}/drain", body)
        Fields(body, "", errors).end()
        errors.check()
        worker, done = await decided(name, Drain(), key=key)
        headers = consistency(done.token) + (REPLAYED if done.decided.replayed is not None else ())
        if not worker.exists:  # it was forgotten since the request was made that this one repeats
            raise WorkerNotFound(f"there is no worker {name!r} any more")
        return json_reply(200, shown(view_of(worker), node.clock()), headers=headers)

    @get(
        "/api/workers",
        opt=op.documented(
            op.Operation(
                "listWorkers",
                "workers",
                "List workers by name",
                {200: op.Response("A page of workers.", ref("WorkerPage"), ("Link",))},
                parameters=(
                    parameter("queue", ID, "Only those that pull from this queue."),
                    parameter("status", words(*WORKER_STATUSES), "Only those that are so."),
                    *PAGE_PARAMETERS,
                    op.TOKEN,
                ),
                problems=("invalid", "unavailable"),
            )
        ),
    )
    async def list_workers(request: Request) -> Reply:
        query = Query(request.scope["query_string"])
        queue, status = query.id("queue"), query.one_of("status", WORKER_STATUSES)
        limit, cursor = query.page()
        now = node.clock()

        def asked(view: WorkerView) -> bool:
            return (queue is None or queue in view.info.queues) and status in (None, view.status(now))

        page = await node.queries.workers(asked, f"{queue} {status}", limit=limit, cursor=cursor)
        content = {"items": [shown(view, now) for view in page.items], "next_cursor": page.next_cursor}
        return json_reply(200, content, headers=next_link(request, query.pairs, page.next_cursor))

    @get(
        "/api/workers/{name:str}",
        opt=op.documented(
            op.Operation(
                "getWorker",
                "workers",
                "Read a worker",
                {200: op.Response("The worker.", ref("Worker"))},
                parameters=(NAME, op.TOKEN),
                problems=("not-found", "unavailable"),
            )
        ),
    )
    async def get_worker(request: Request) -> Reply:
        name = path_id(request, "name", "worker")
        view = await node.queries.worker(worker_id(name))
        if view is None:
            raise WorkerNotFound(f"there is no worker {name!r}")
        return json_reply(200, shown(view, node.clock()))

    return [announce, leave, drain, list_workers, get_worker]


def shown(view: WorkerView, now: Instant) -> dict[str, Any]:
    """A worker as clients see it."""
    info = view.info
    return {
        "name": view.name,
        "status": view.status(now),
        "queues": info.queues,
        "kinds": info.kinds,
        "concurrency": info.concurrency,
        "running": view.running,
        "version": info.version,
        "host": info.host,
        "pid": info.pid,
        "instance": info.instance,
        "started_at": format_instant(view.first_seen_at),
        "last_seen_at": format_instant(view.seen_at),
        "drain_requested_at": None if view.drain_at is None else format_instant(view.drain_at),
        "left_at": None if view.left_at is None else format_instant(view.left_at),
    }


async def _read(request: Request) -> tuple[str, Fields]:
    name = path_id(request, "name", "worker")
    body, deep = await read_object(request)
    errors = Errors(deep)
    # What is asked of a worker is the same however often it is asked: the key needs no remembering.
    idempotency_key(request, errors)
    return name, Fields(body, "", errors)


def _documented(id: str, summary: str, schema: str, body: str) -> dict[str, Any]:
    return op.documented(
        op.Operation(
            id,
            "workers",
            summary,
            {200: op.Response("So it is.", ref(schema), _HEADERS)},
            parameters=(NAME, op.KEY, op.TRACE),
            body=body,
            body_required=body != "DrainIn",
            problems=_WRITE if body != "DrainIn" else (*_WRITE, "conflict"),
        )
    )
