"""Fire times that have come: resume with or without them, purge what is owed, run for them again."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from litestar import post
from litestar.handlers import HTTPRouteHandler

from taskscheduler.api import operations as op
from taskscheduler.api.body import read_object
from taskscheduler.api.node import Node
from taskscheduler.api.reply import Reply
from taskscheduler.api.routes.changing import change, no_fields, operation
from taskscheduler.api.routes.common import Request, path_id
from taskscheduler.api.schemas.backfill import read_backfill
from taskscheduler.api.schemas.fields import Errors, Fields
from taskscheduler.api.schemas.task import read_note
from taskscheduler.domain.events import Missed
from taskscheduler.domain.messages import CancelBackfill, PurgeOwed, Resume

MISSED: tuple[Missed, ...] = get_args(Missed)


def handlers(node: Node) -> list[HTTPRouteHandler]:
    """The routes of what has come."""

    @post(
        "/api/tasks/{task_id:str}/resume",
        status_code=200,
        opt=op.documented(
            operation(
                "resumeTask",
                "Let a paused task go on",
                200,
                "Task",
                "ResumeIn",
                description="`missed` says which of the fire times that came in the pause run now.",
            )
        ),
    )
    async def resume_task(request: Request) -> Reply:
        body, _ = await read_object(request)
        errors = Errors()
        fields = Fields(body, "", errors)
        command = Resume(read_note(fields), fields.choice("missed", MISSED, "skip"))
        fields.end()
        errors.check()
        return await change(node, request, command, "/resume", body, 200)

    @post(
        "/api/tasks/{task_id:str}/owed/purge",
        status_code=200,
        opt=op.documented(
            operation(
                "purgeOwed",
                "Skip the fire times that are owed",
                200,
                "Task",
                description="Those that wait to be caught up or for the end of a run, as `owed` of the task shows "
                "them, are skipped with reason `purged`.",
            )
        ),
    )
    async def purge_owed(request: Request) -> Reply:
        body = await no_fields(request)
        return await change(node, request, PurgeOwed(), "/owed/purge", body, 200)

    @post(
        "/api/tasks/{task_id:str}/backfill",
        status_code=200,
        opt=op.documented(
            replace(
                operation(
                    "backfillTask",
                    "Run for fire times that are over",
                    202,
                    "BackfilledTask",
                    "BackfillIn",
                    description="Makes a run for each nominal time in from ≤ t < to, by the schedule in force now, "
                    "beside those that the schedule makes. While the task is paused none is made.",
                ),
                body_required=True,
            )
        ),
    )
    async def backfill_task(request: Request) -> Reply:
        body, _ = await read_object(request)
        errors = Errors()
        command = read_backfill(Fields(body, "", errors))
        errors.check()
        return await change(node, request, command, "/backfill", body, 202)

    @post(
        "/api/tasks/{task_id:str}/backfill/{backfill_id:str}/cancel",
        status_code=200,
        opt=op.documented(
            replace(
                operation("cancelBackfill", "Cancel a backfill and its active runs", 200, "Task"),
                parameters=(op.TASK_ID, op.BACKFILL_ID, op.IF_MATCH, op.KEY, op.TRACE),
            )
        ),
    )
    async def cancel_backfill(request: Request) -> Reply:
        backfill_id = path_id(request, "backfill_id", "backfill")
        body = await no_fields(request)
        return await change(node, request, CancelBackfill(backfill_id), f"/backfill/{backfill_id}/cancel", body, 200)

    return [resume_task, purge_owed, backfill_task, cancel_backfill]
