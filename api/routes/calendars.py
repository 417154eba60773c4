"""Calendars: sets of days that schedules may leave out."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any

from litestar import delete, get, put
from litestar.handlers import HTTPRouteHandler

from taskscheduler.api import operations as op
from taskscheduler.api import render_calendar as render
from taskscheduler.api.body import read_object
from taskscheduler.api.calendars.resolve import resolve
from taskscheduler.api.headers import idempotency_key, key_of
from taskscheduler.api.node import Node
from taskscheduler.api.problems import Problem
from taskscheduler.api.reply import Reply, json_reply
from taskscheduler.api.routes.common import (
    Request,
    etag,
    next_link,
    path_id,
    put_headers,
    version_asked,
    was_made,
    written,
)
from taskscheduler.api.schemas.calendar import DATE, SHOWN_USERS, read_calendar, read_date
from taskscheduler.api.schemas.fields import Errors, Fields
from taskscheduler.api.schemas.query import PAGE_PARAMETERS, Query, parameter
from taskscheduler.api.schemas.shapes import ref
from taskscheduler.api.tracing import trace_parent
from taskscheduler.commands.handler import Done
from taskscheduler.domain.calendar import calendar_id
from taskscheduler.domain.errors import CalendarNotFound
from taskscheduler.domain.events import CalendarDefined
from taskscheduler.domain.messages import DefineCalendar, DeleteCalendar
from taskscheduler.projections.calendars import view_of
from taskscheduler.projections.filters import TaskFilter

NAME = op.path_parameter("name", "The name of the calendar.")
_HEADERS = ("ETag", "Consistency-Token", "Idempotent-Replayed")


def handlers(node: Node) -> list[HTTPRouteHandler]:
    """The routes of calendars."""

    @put(
        "/api/calendars/{name:str}",
        status_code=200,
        opt=op.documented(
            op.Operation(
                "putCalendar",
                "calendars",
                "Make a calendar, or let it be another one",
                {
                    200: op.Response("It was there already; tasks that use it follow.", ref("Calendar"), _HEADERS),
                    201: op.Response("It was made.", ref("Calendar"), ("Location", *_HEADERS)),
                },
                description="Holidays and repeating events are worked out now, for this year and the next ten: put it "
                "again to renew that. What is there already in the same words and with the same days does not change.",
                parameters=(NAME, op.IF_MATCH, op.KEY, op.TRACE),
                body="CalendarIn",
                problems=("not-found", "revision-mismatch", *op.ON_WRITE),
            )
        ),
    )
    async def put_calendar(request: Request) -> Reply:
        name = path_id(request, "name", "calendar")
        body, _ = await read_object(request)
        errors = Errors()
        definition = read_calendar(Fields(body, "", errors))
        key = key_of(idempotency_key(request, errors), "PUT", f"/api/calendars/{name}", body)
        errors.check()
        # Reading the library of holidays, or a long file, takes a while, and what is due must not wait for it.
        resolved, wrong = await asyncio.to_thread(resolve, definition, node.clock())
        errors.found += wrong
        errors.check()
        assert resolved is not None
        done = await node.handler.handle(
            calendar_id(name),
            DefineCalendar(definition, resolved),
            key=key,
            if_match=version_asked(request, node.handler.calendar(name).defined),
            trace=trace_parent.get(),
        )
        return _defined(done)

    def _defined(done: Done) -> Reply:
        calendar = done.decided.calendar
        created = was_made(done, calendar.created_version, CalendarDefined)
        if not calendar.exists:  # it was deleted since the request was made that this one repeats
            raise CalendarNotFound(f"there is no calendar {calendar.name!r} any more")
        headers = put_headers(f"/api/calendars/{calendar.name}", done, calendar.defined, created=created)
        users = node.users_of(calendar.name, SHOWN_USERS)
        return json_reply(201 if created else 200, render.calendar(view_of(calendar), users), headers=headers)

    @get(
        "/api/calendars",
        opt=op.documented(
            op.Operation(
                "listCalendars",
                "calendars",
                "List calendars by name",
                {200: op.Response("A page of calendars.", ref("CalendarPage"), ("Link",))},
                parameters=(*PAGE_PARAMETERS, op.TOKEN),
                problems=("invalid", "unavailable"),
            )
        ),
    )
    async def list_calendars(request: Request) -> Reply:
        query = Query(request.scope["query_string"])
        limit, cursor = query.page()
        page = await node.queries.calendars(limit=limit, cursor=cursor)
        content = {"items": [render.summary(view) for view in page.items], "next_cursor": page.next_cursor}
        return json_reply(200, content, headers=next_link(request, query.pairs, page.next_cursor))

    @get(
        "/api/calendars/{name:str}",
        opt=op.documented(
            op.Operation(
                "getCalendar",
                "calendars",
                "Read a calendar",
                {200: op.Response("The calendar.", ref("Calendar"), ("ETag",))},
                parameters=(
                    NAME,
                    parameter("from", DATE, "Only days from this one on."),
                    parameter("to", DATE, "Only days up to this one, itself included."),
                    op.TOKEN,
                ),
                problems=("not-found", "invalid", "unavailable"),
            )
        ),
    )
    async def get_calendar(request: Request) -> Reply:
        name = path_id(request, "name", "calendar")
        query = Query(request.scope["query_string"])
        since, until = _day(query, "from"), _day(query, "to")
        query.end()
        query.errors.check()
        view = await node.queries.calendar(calendar_id(name))
        if view is None:
            raise CalendarNotFound(f"there is no calendar {name!r}")
        users = await node.queries.tasks(TaskFilter(calendar=name), limit=SHOWN_USERS)
        content = render.calendar(view, [task.id for task in users.items], since, until)
        return json_reply(200, content, headers=etag(view.version))

    @delete(
        "/api/calendars/{name:str}",
        status_code=200,
        opt=op.documented(
            op.Operation(
                "deleteCalendar",
                "calendars",
                "Delete a calendar that no task uses",
                {204: op.Response("Deleted.", None, _HEADERS[1:])},
                parameters=(NAME, op.IF_MATCH, op.KEY, op.TRACE),
                problems=("not-found", "conflict", "invalid", "revision-mismatch", *op.ON_WRITE),
            )
        ),
    )
    async def delete_calendar(request: Request) -> Reply:
        name = path_id(request, "name", "calendar")
        errors = Errors()
        key = key_of(idempotency_key(request, errors), "DELETE", f"/api/calendars/{name}", None)
        errors.check()
        calendar = node.handler.calendar(name)
        if calendar.exists and (users := node.users_of(name, SHOWN_USERS + 1)):
            raise Problem("conflict", _in_use(name, users))
        match = version_asked(request, calendar.defined)
        command = DeleteCalendar()
        done = await node.handler.handle(calendar.id, command, key=key, if_match=match, trace=trace_parent.get())
        return Reply(204, headers=written(done))

    return [put_calendar, list_calendars, get_calendar, delete_calendar]


def _in_use(name: str, users: list[str]) -> str:
    shown = ", ".join(users[:SHOWN_USERS]) + (" and others" if len(users) > SHOWN_USERS else "")
    return (
        f"the calendar {name!r} is used by {shown}: take it out of their schedules first, or cancel them; "
        f"GET /api/tasks?calendar={name} lists them"
    )


def _day(query: Query, name: str) -> date | None:
    value: Any = query.take(name)
    if value is None:
        return None
    try:
        return read_date(value)
    except ValueError as error:
        query.error(name, str(error))
        return None
