"""The runs of a task, newest first. Ids of runs sort by the time they were scheduled for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from taskscheduler.domain import events as ev
from taskscheduler.domain.decision import Accepted
from taskscheduler.domain.evolve import evolve, skipped_run
from taskscheduler.domain.evolve_chains import ignored_run
from taskscheduler.domain.ids import run_id_floor
from taskscheduler.domain.state import Attempt, Run, RunStatus, Task
from taskscheduler.domain.values import Instant, Json, Millis
from taskscheduler.projections.changes import Change, DeleteRange, Later, Put
from taskscheduler.projections.late_reports import LATE_REPORTS, late_report
from taskscheduler.projections.tables import Column, Table


class AttemptView(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """An attempt as clients see it: its outcome is None while it runs."""

    number: int
    worker: str
    started_at: Instant
    finished_at: Instant | None = None
    outcome: Literal["succeeded", "failed", "timed_out", "lost", "cancelled", "released"] | None = None
    error: ev.Error | None = None
    progress: Json | None = None


class RunView(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A run, or `count` skipped fire times from `nominal_at` to `nominal_until`. `result` is JSON text.

    `error` says why it failed where that is the error of no attempt. One that a chain made follows the runs in
    `upstream`, by task; `caused_by` is the task whose run came last.
    """

    task_id: str
    id: str
    cause: ev.RunCause
    status: RunStatus
    scheduled_for: Instant
    nominal_at: Instant | None = None
    retry_of: str | None = None
    reason: str | None = None
    attempts: tuple[AttemptView, ...] = ()
    lateness_ms: Millis | None = None
    retry_at: Instant | None = None
    finished_at: Instant | None = None
    nominal_until: Instant | None = None
    count: int = 1
    result: Json | None = None
    backfill_id: str | None = None
    deadline: Instant | None = None
    error: ev.Error | None = None
    caused_by: str | None = None
    upstream: dict[str, ev.Upstream] = {}


_OF_A_RUN = (
    ev.RunQueued,
    ev.AttemptClaimed,
    ev.AttemptSucceeded,
    ev.AttemptFailed,
    ev.RunFailed,
    ev.AttemptReleased,
    ev.RunRequeued,
    ev.RunCancelled,
)

RUN_BUCKET = 5
"""Characters of a run's id that are the same for about three days."""

RUNS = Table(
    "runs",
    RunView,
    partition=(Column("task_id"),),
    clustering=(Column("id", descending=True),),
    bucket=RUN_BUCKET,
)


def run_view(task_id: str, run: Run, result: Json | None = None) -> RunView:
    """A run of the state as clients see it."""
    return _view(task_id, run, result, tuple([_attempt(a, a.progress) for a in run.attempts]))


def without_results(upstream: dict[str, ev.Upstream]) -> dict[str, ev.Upstream]:
    """The same runs by name only."""
    return {task_id: msgspec.structs.replace(run, result=None) for task_id, run in upstream.items()}


def brief_run_view(task_id: str, run: Run) -> RunView:
    """The same without results and without progress, which may be large."""
    run = msgspec.structs.replace(run, upstream=without_results(run.upstream)) if run.upstream else run
    return _view(task_id, run, None, tuple([_attempt(a, None) for a in run.attempts]))


def _attempt(a: Attempt, progress: Json | None) -> AttemptView:
    return AttemptView(a.number, a.worker, a.started_at, a.finished_at, a.outcome, a.error, progress)


def _view(task_id: str, run: Run, result: Json | None, attempts: tuple[AttemptView, ...]) -> RunView:
    return RunView(
        task_id,
        run.id,
        run.cause,
        run.status,
        run.scheduled_for,
        run.nominal_at,
        run.retry_of,
        run.reason,
        attempts,
        next((a.started_at - run.scheduled_for for a in attempts if a.outcome != "released"), None),
        run.retry_at,
        run.finished_at,
        run.nominal_until,
        run.count,
        result,
        run.backfill_id,
        run.deadline,
        run.error,
        run.caused_by,
        run.upstream,
    )


def project(accepted: Accepted) -> Sequence[Change]:
    """A row for each run that the decision made or moved on, and for each range of skipped fire times.

    A late report has a row of its own and changes none of a run; leases that are only renewed are no news.
    """
    after = accepted.after
    task_id, last = after.id, after.last_finished
    changes: list[Change] = []
    others: dict[str, Run] | None = None
    for event in accepted.record.events:
        if isinstance(event, _OF_A_RUN) or (isinstance(event, ev.AttemptRenewed) and event.progress is not None):
            run = after.runs.get(event.run_id)
            if run is None:
                if last is not None and last.id == event.run_id:
                    run = last
                else:
                    others = _runs_left(accepted) if others is None else others
                    run = others[event.run_id]
            result = event.result if isinstance(event, ev.AttemptSucceeded) else None
            changes.append(Later(RUNS, (task_id, run.id), run_view, (task_id, run, result)))
        elif isinstance(event, ev.FiresSkipped):
            run = skipped_run(event)
            changes.append(Later(RUNS, (task_id, run.id), run_view, (task_id, run)))
        elif isinstance(event, ev.UpstreamHeard) and event.row is not None:
            run = ignored_run(event)
            changes.append(Later(RUNS, (task_id, run.id), run_view, (task_id, run)))
        elif isinstance(event, ev.ReportedLate):
            changes.append(Put(LATE_REPORTS, late_report(task_id, event)))
        elif isinstance(event, ev.RunsExpired):
            floor = run_id_floor(event.before)
            changes.append(DeleteRange(RUNS, (task_id,), (floor,)))
            changes.append(DeleteRange(LATE_REPORTS, (task_id,), None, (floor,)))
        elif isinstance(event, ev.TaskPurged):
            changes += [DeleteRange(RUNS, (task_id,)), DeleteRange(LATE_REPORTS, (task_id,))]
    return changes


def _runs_left(accepted: Accepted) -> dict[str, Run]:
    """Every run that the decision changed, as it left it. The state keeps no finished run but the last one made."""
    before = accepted.before
    tasks: dict[str, Task] = {}
    for event in accepted.record.events:
        if isinstance(event, (*_OF_A_RUN, ev.AttemptRenewed)):
            run_id = event.run_id
            task = tasks.get(run_id)
            if task is None:
                known = {run_id: before.runs[run_id]} if run_id in before.runs else {}
                task = Task(before.id, runs=known, last_run_id=run_id)
            tasks[run_id] = evolve(task, event)
    return {run_id: run for run_id, task in tasks.items() if (run := task.last_run) is not None}
