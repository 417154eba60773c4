"""Many tasks in one request, each with its own success or error."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec
from litestar import post
from litestar.handlers import HTTPRouteHandler
from msgspec.structs import replace

from taskscheduler.api import operations as op
from taskscheduler.api import render
from taskscheduler.api.body import BATCH_LIMIT, read_object
from taskscheduler.api.calendars.fill_in import fill_in
from taskscheduler.api.chains import check_chain, linked
from taskscheduler.api.headers import KEY_HINT, id_of_key, idempotency_key, is_key, key_of, new_id
from taskscheduler.api.node import Node
from taskscheduler.api.problems import Problem, problem_of
from taskscheduler.api.reply import Reply, encode, json_reply
from taskscheduler.api.routes.common import Request, consistency, is_known
from taskscheduler.api.routes.tasks import made
from taskscheduler.api.schemas.fields import Errors, Fields
from taskscheduler.api.schemas.shapes import ref
from taskscheduler.api.schemas.target import Rules
from taskscheduler.api.schemas.task import read_new_task
from taskscheduler.api.tracing import trace_parent
from taskscheduler.api.uniques import Existing, reserve
from taskscheduler.commands.handler import Answer, Ask, Done, Unavailable
from taskscheduler.domain.chains import edges_of
from taskscheduler.domain.definition import Definition, Uniqueness
from taskscheduler.domain.errors import DomainError
from taskscheduler.domain.messages import Create
from taskscheduler.projections.task_view import view_of

MOST_TASKS = 1_000
BREATH = 50
"""After so many tasks what is due gets its turn."""


class _Prepared(NamedTuple):
    """A task to be made, and the other tasks that it names."""

    ask: Ask
    named: Collection[str]
    definition: Definition
    errors: Errors


def handlers(node: Node, rules: Rules) -> list[HTTPRouteHandler]:
    """The route of batches."""

    async def prepare(item: object, key: str | None, deep: bool, trace: str | None) -> _Prepared:
        errors = Errors(deep)
        if not isinstance(item, dict):
            errors.add("", "must be an object")
            errors.check()
        assert isinstance(item, dict)
        now = node.clock()
        new = read_new_task(Fields(item, "", errors), now, rules, in_batch=True)
        given = key if new.key is None else new.key
        if given is not None and not is_key(given):
            errors.add("/idempotency_key", KEY_HINT)
            given = None
        if errors.found:
            errors.check()
        definition = replace(new.definition, schedule=await fill_in(node, new.definition.schedule, errors))
        body = {name: value for name, value in item.items() if name != "idempotency_key"}
        used = key_of(given, "POST", "/api/tasks", body)
        task_id = new.id or (new_id(now) if given is None else id_of_key(given))
        if errors.late:
            errors.check(repeated=is_known(node, task_id, used))
        ask = Ask(task_id, Create(definition), key=used, trace=trace)
        return _Prepared(ask, edges_of(definition).keys(), definition, errors)

    async def handle_all(asks: list[Ask]) -> list[Answer | Existing]:
        """Those with a unique key each on its own way, the others together."""
        plain = [ask for ask in asks if _unique(ask) is None]
        unique = [(ask, of) for ask in asks if (of := _unique(ask)) is not None]
        apart = asyncio.gather(*[handle_unique(ask, of) for ask, of in unique])
        answers: dict[int, Answer | Existing] = {}
        answers.update(zip(map(id, plain), await node.handler.handle_many(plain), strict=True))
        answers.update(zip([id(ask) for ask, _ in unique], await apart, strict=True))
        return [answers[id(ask)] for ask in asks]

    async def handle_unique(ask: Ask, unique: Uniqueness) -> Answer | Existing:
        try:
            existing = await reserve(node, ask.task_id, unique, ask.key, ask.trace)
        except (DomainError, Unavailable) as error:
            return error
        if existing is not None:
            return existing
        [answer] = await node.handler.handle_many([ask])
        return answer

    async def create(prepared: Sequence[_Prepared]) -> list[Problem | Done | Existing]:
        """Tasks that name none of each other."""
        found: dict[int, Problem | Done | Existing] = {}
        asks: list[Ask] = []
        places: list[int] = []
        for place, (ask, named, definition, errors) in enumerate(prepared):
            try:
                if named:
                    await check_chain(node, ask.task_id, None, definition, errors)
                    errors.check(repeated=is_known(node, ask.task_id, ask.key))
            except Problem as problem:
                found[place] = problem
            else:
                asks.append(ask)
                places.append(place)
        for place, answer in zip(places, await handle_all(asks), strict=True):
            if isinstance(answer, Existing):
                found[place] = answer
                continue
            try:
                if isinstance(answer, Exception):
                    raise answer
                await linked(node, answer)
                found[place] = answer
            except (DomainError, Unavailable) as error:
                found[place] = problem_of(error, "/idempotency_key")
        return [found[place] for place in range(len(prepared))]

    @post(
        "/api/tasks/batch",
        status_code=200,
        opt=op.documented(
            op.Operation(
                "createTasks",
                "tasks",
                "Create up to 1,000 tasks",
                {200: op.Response("What became of each.", ref("BatchResults"), ("Consistency-Token",))},
                description="Each task is created or refused on its own. A task with an `idempotency_key` is the same "
                "as one created alone under that Idempotency-Key; the others get theirs from the one of the request "
                "and their place in it. A task may name others of the same request in its chains. The body is at "
                "most 16 MiB.",
                parameters=(op.KEY, op.TRACE),
                body="BatchIn",
                problems=op.ON_WRITE,
            )
        ),
    )
    async def create_tasks(request: Request) -> Reply:
        body, deep = await read_object(request, limit=BATCH_LIMIT)
        errors = Errors()
        fields = Fields(body, "", errors)
        items = fields.list("tasks", 0, MOST_TASKS, required=True)
        fields.end()
        key = idempotency_key(request, errors)
        errors.check()
        trace = trace_parent.get()
        # Each result is encoded at once: a thousand trees of dicts would only keep the garbage collector busy.
        results: list[msgspec.Raw] = [msgspec.Raw()] * len(items)
        prepared: dict[int, _Prepared] = {}
        for place, item in enumerate(items):
            try:
                prepared[place] = await prepare(item, None if key is None else f"{key}#{place}", deep, trace)
            except Problem as problem:
                results[place] = _refused(problem)
            if place % BREATH == BREATH - 1:
                await asyncio.sleep(0)
        tokens: dict[str, int] = {}
        while prepared:
            places = _first(prepared)
            for count, (place, answer) in enumerate(
                zip(places, await create([prepared.pop(place) for place in places]), strict=True)
            ):
                if isinstance(answer, Existing):
                    shown = render.task(view_of(answer.task))
                    results[place] = msgspec.Raw(encode({"status": 200, "task": shown}))
                elif isinstance(answer, Done):
                    results[place] = msgspec.Raw(encode({"status": 201, "task": made(answer)[0]}))
                    partition, _, position = answer.token.partition(":")
                    tokens[partition] = max(tokens.get(partition, 0), int(position))
                else:
                    results[place] = _refused(answer)
                if count % BREATH == BREATH - 1:
                    await asyncio.sleep(0)
        token = ",".join(f"{partition}:{position}" for partition, position in tokens.items())
        return json_reply(200, {"results": results}, headers=consistency(token or node.token()))

    return [create_tasks]


def _unique(ask: Ask) -> Uniqueness | None:
    assert isinstance(ask.command, Create)
    return ask.command.definition.unique


def _first(prepared: dict[int, _Prepared]) -> list[int]:
    """Those that name none of the others; where each names one, all: they are refused."""
    if not any(one.named for one in prepared.values()):
        return list(prepared)
    waiting = {one.ask.task_id for one in prepared.values()}
    return [place for place, one in prepared.items() if waiting.isdisjoint(one.named)] or list(prepared)


def _refused(problem: Problem) -> msgspec.Raw:
    return msgspec.Raw(encode({"status": problem.status, "error": problem.document("/api/tasks/batch")}))
