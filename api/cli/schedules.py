"""`schedule preview`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from taskscheduler.api.cli.common import COMMON, Common, instant
from taskscheduler.api.cli.definition import NO_SCHEDULE, ScheduleOptions
from taskscheduler.api.cli.errors import UsageError
from taskscheduler.api.cli.output import cell, format_of, say, show, show_all
from taskscheduler.api.cli.views import FIRE_TIMES


def preview(
    options: ScheduleOptions = NO_SCHEDULE,
    *,
    count: Annotated[int, Parameter(help="How many fire times, at most 1000.")] = 10,
    after: Annotated[str | None, Parameter(help="Those after this instant (default: now).")] = None,
    until: Annotated[str | None, Parameter(help="None after this instant.")] = None,
    task_id: Annotated[str | None, Parameter(help="The task whose H in a cron expression is meant.")] = None,
    common: Common = COMMON,
) -> None:
    """Show when a schedule would fire: `schedule preview --cron '0 2 * * *' --timezone Europe/Berlin`."""
    schedule = options.schedule()
    if schedule is None:
        raise UsageError("say which schedule: --cron, --rrule, --every, --delay or --at")
    with common.client() as client:
        begin, end = instant(after, "--after"), instant(until, "--until")
        found = client.preview(schedule, count, after=begin, until=end, task_id=task_id)
    if format_of(common.output) == "table":
        say(found.description)
        for warning in found.warnings:
            say(f"warning: {cell(warning)}")
        show_all(found.fire_times, FIRE_TIMES, "table")
    elif common.output == "jsonl":
        show_all(found.fire_times, FIRE_TIMES, "jsonl")
    else:
        show(found, FIRE_TIMES, common.output)
