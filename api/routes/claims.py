"""The worker protocol: claims from a queue, heartbeats, outcomes."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import post
from litestar.handlers import HTTPRouteHandler

from taskscheduler.api import operations as op
from taskscheduler.api import render
from taskscheduler.api.body import read_object
from taskscheduler.api.headers import idempotency_key, key_of
from taskscheduler.api.node import Node
from taskscheduler.api.problems import Problem, problem_of
from taskscheduler.api.reply import Reply, json_reply
from taskscheduler.api.routes.common import Request, consistency, path_id
from taskscheduler.api.schemas.fields import Errors, Fields
from taskscheduler.api.schemas.shapes import ref, text
from taskscheduler.api.schemas.work import (
    LONGEST_TOKEN,
    MOST_OUTCOMES,
    ClaimRequest,
    read_claim_request,
    read_failure,
    read_outcome,
    read_progress,
    read_result,
)
from taskscheduler.api.values import format_instant
from taskscheduler.domain.ids import digest
from taskscheduler.domain.messages import Key
from taskscheduler.streams.dispatch.queue import Given, Report

_TOKEN = op.path_parameter("token", "The token of the claim.", text(1, LONGEST_TOKEN, pattern="^[A-Za-z0-9_-]+$"))
_HEADERS = ("Consistency-Token",)
_PROBLEMS = ("not-found", "claim-lost", *op.ON_WRITE)


def handlers(node: Node) -> list[HTTPRouteHandler]:
    """The routes of workers."""

    def reply(content: object) -> Reply:
        return json_reply(200, content, headers=consistency(node.token()))

    @post(
        "/api/queues/{queue:str}/claims",
        status_code=200,
        opt=op.documented(
            op.Operation(
                "claimRuns",
                "workers",
                "Wait for work and claim it",
                {200: op.Response("Claims, none when the wait was in vain.", ref("Claims"), _HEADERS)},
                description="The same `request_id` (or Idempotency-Key) of a worker again returns the same claims.",
                parameters=(op.path_parameter("queue", "The name of the queue."), op.KEY),
                body="ClaimRequest",
                problems=("not-found", "unavailable"),
            )
        ),
    )
    async def claim(request: Request) -> Reply:
        queue = path_id(request, "queue", "queue")
        body, deep = await read_object(request)
        errors = Errors(deep)
        asked = read_claim_request(Fields(body, "", errors))
        given = idempotency_key(request, errors)
        errors.check()
        request_id = asked.request_id
        if request_id is None and given is not None:
            request_id = digest("claims", queue, given)
        claims = await _unless_gone(
            request,
            asked,
            node.queue.claim(
                queue,
                worker=asked.worker,
                kinds=asked.kinds,
                max=asked.max,
                wait=asked.wait,
                lease=asked.lease,
                request_id=request_id,
            ),
        )
        drain = {"drain_requested": True} if node.handler.worker(asked.worker).draining else {}
        return reply({"claims": [render.claim(one) for one in claims], **drain})

    async def read(request: Request, verb: str) -> tuple[str, Fields, Key | None]:
        token: str = request.path_params["token"]
        body, deep = await read_object(request)
        errors = Errors(deep)
        key = key_of(idempotency_key(request, errors), "POST", f"/api/claims/{token}/{verb}", body)
        return token, Fields(body, "", errors), key

    @post(
        "/api/claims/{token:str}/heartbeat",
        status_code=200,
        opt=_documented("heartbeat", "Keep a claim", "Beat", "HeartbeatIn"),
    )
    async def heartbeat(request: Request) -> Reply:
        token, fields, key = await read(request, "heartbeat")
        progress = read_progress(fields)
        fields.errors.check()
        beat = await node.queue.heartbeat(token, progress, key)
        until = format_instant(beat.lease_until)
        return reply({"cancel_requested": beat.cancel_requested, "lease_until": until})

    @post(
        "/api/claims/{token:str}/complete",
        status_code=200,
        opt=_documented("complete", "Report success", "Empty", "CompleteIn"),
    )
    async def complete(request: Request) -> Reply:
        token, fields, key = await read(request, "complete")
        outcome = read_result(fields)
        fields.errors.check()
        await node.queue.complete(token, outcome.result, key)
        return reply({})

    @post(
        "/api/claims/{token:str}/fail",
        status_code=200,
        opt=_documented("fail", "Report failure", "Empty", "FailIn"),
    )
    async def fail(request: Request) -> Reply:
        token, fields, key = await read(request, "fail")
        outcome = read_failure(fields)
        fields.errors.check()
        assert outcome.error is not None
        await node.queue.fail(token, outcome.error, outcome.retryable, outcome.retry_after, key)
        return reply({})

    @post(
        "/api/claims/{token:str}/release",
        status_code=200,
        opt=_documented("release", "Give back what has not begun", "Empty", "ReleaseIn"),
    )
    async def release(request: Request) -> Reply:
        token, fields, key = await read(request, "release")
        fields.end()
        fields.errors.check()
        await node.queue.release(token, key)
        return reply({})

    @post(
        "/api/claims/report",
        status_code=200,
        opt=op.documented(
            op.Operation(
                "reportOutcomes",
                "workers",
                "Report many outcomes",
                {200: op.Response("What became of each.", ref("ReportResults"), _HEADERS)},
                description="Each outcome is accepted or refused on its own; the same one again is accepted again.",
                parameters=(op.KEY,),
                body="ReportIn",
                problems=("unavailable",),
            )
        ),
    )
    async def report(request: Request) -> Reply:
        body, deep = await read_object(request)
        errors = Errors(deep)
        fields = Fields(body, "", errors)
        items = fields.list("outcomes", 0, MOST_OUTCOMES, required=True)
        fields.end()
        idempotency_key(request, errors)
        errors.check()
        results: list[dict[str, Any]] = [{"status": 200}] * len(items)
        reports: list[Report] = []
        places: list[int] = []
        for place, item in enumerate(items):
            try:
                reports.append(_report(item, deep))
                places.append(place)
            except Problem as problem:
                results[place] = _refused(problem)
        for place, answer in zip(places, await node.queue.report(reports), strict=True):
            if answer is not None:
                results[place] = _refused(problem_of(answer))
        return reply({"results": results})

    return [claim, heartbeat, complete, fail, release, report]


async def _unless_gone(request: Request, asked: ClaimRequest, claiming: Any) -> list[Given]:
    """The claims, as long as their worker waits for them: one that hung up must not be given any."""
    claims: asyncio.Task[list[Given]] = asyncio.ensure_future(claiming)
    if asked.wait == 0:
        return await claims
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({claims, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not claims.done():
            raise Problem("malformed", "the worker hung up")
        return claims.result()
    finally:
        gone.cancel()
        claims.cancel()


def _report(item: object, deep: bool) -> Report:
    errors = Errors(deep)
    if not isinstance(item, dict):
        errors.add("", "must be an object")
        errors.check()
    assert isinstance(item, dict)
    token, outcome = read_outcome(Fields(item, "", errors))
    errors.check()
    return Report(token, outcome.result, outcome.error, outcome.retryable, outcome.retry_after, outcome.released)


def _refused(problem: Problem) -> dict[str, Any]:
    return {"status": problem.status, "error": problem.document("/api/claims/report")}


def _documented(id: str, summary: str, schema: str, body: str) -> dict[str, Any]:
    return op.documented(
        op.Operation(
            id,
            "workers",
            summary,
            {200: op.Response("Accepted.", ref(schema), _HEADERS)},
            parameters=(_TOKEN, op.KEY),
            body=body,
            body_required=body == "FailIn",
            problems=_PROBLEMS,
        )
    )
