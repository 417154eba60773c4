"""Waiting for a run, or for all runs of a backfill, to end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from taskscheduler.api.cli.common import Common
from taskscheduler.api.cli.errors import Failed
from taskscheduler.api.cli.output import say, show
from taskscheduler.api.cli.views import BACKFILLS, RUNS

if TYPE_CHECKING:
    from taskscheduler.client import Client, Run

_ENDED = ("succeeded", "failed", "cancelled", "skipped")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


def wait_for_first_run(client: Client, task_id: str, common: Common) -> None:
    """Show the first run of a task once it has ended. Raises Failed when it did not succeed, or there will be none."""
    pause = _FIRST_PAUSE
    say(f"waiting for the first run of task {task_id}")
    while True:
        oldest = client.runs(task_id, limit=200).items[-1:]
        if oldest:
            wait_for_run(client, task_id, oldest[0].id, common)
            return
        if client.get_task(task_id).status == "cancelled":
            say(f"task {task_id} was cancelled")
            raise Failed
        pause = _rest(pause)


def wait_for_run(client: Client, task_id: str, run_id: str, common: Common) -> None:
    """Show a run once it has ended. Raises Failed when it did not succeed."""
    pause = _FIRST_PAUSE
    while (run := client.run(task_id, run_id)).status not in _ENDED:
        pause = _rest(pause)
    _conclude(run, common)


def wait_for_backfill(client: Client, task_id: str, backfill_id: str, common: Common) -> None:
    """Show a backfill once it has ended. Raises Failed when a run of it failed, or it was cancelled."""
    pause = _FIRST_PAUSE
    while True:
        task = client.get_task(task_id)
        found = next((backfill for backfill in task.backfills if backfill.id == backfill_id), None)
        if found is None:
            say(f"backfill {backfill_id} ended long ago: task runs {task_id} shows its runs")
            return
        if found.status != "running":
            break
        pause = _rest(pause)
    show(found, BACKFILLS, common.output)
    if found.failed or found.status != "completed":
        raise Failed


def _conclude(run: Run, common: Common) -> None:
    show(run, {**RUNS, "result": lambda one: one.result}, common.output)
    if run.status != "succeeded":
        raise Failed


def _rest(pause: float) -> float:
    time.sleep(pause)
    return min(2 * pause, _LONGEST_PAUSE)
