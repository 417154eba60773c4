"""`export`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from taskscheduler.api.cli.common import COMMON, Common
from taskscheduler.api.cli.output import say, show_all
from taskscheduler.api.migration.tasks import exported

ENDED = ("completed", "failed", "cancelled")


def export(
    *,
    all: Annotated[
        bool, Parameter(negative="", help="Also those that have ended: imported, one-time tasks would run again.")
    ] = False,
    common: Common = COMMON,
) -> None:
    """Write all tasks as JSON lines, as `POST /api/tasks` takes them: `export > tasks.jsonl`, then `import tasks`."""
    ended = planned = 0
    with common.client() as client:
        for task in client.iter_tasks(sort="created_at"):
            if not all and task.status in ENDED:
                ended += 1
            else:
                planned += task.pending_schedule is not None
                show_all([exported(task)], {}, "jsonl")
    if ended:
        say(f"{ended} tasks that have ended were left out: --all writes them too")
    if planned:
        say(f"{planned} tasks have a planned change of schedule, which an export does not hold: plan it again")
