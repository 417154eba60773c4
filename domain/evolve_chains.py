"""Folding the events of steps and chains."""

from __future__ import annotations

from msgspec.structs import replace

from taskscheduler.domain import events as ev
from taskscheduler.domain.state import Run, Task
from taskscheduler.domain.steps import with_heard


def made(task: Task, e: ev.StepsMade) -> Task:
    """Steps wait to be taken."""
    return replace(task, steps=e.number, unsent={**task.unsent, **dict.fromkeys(e.to, e.number)})


def taken(task: Task, e: ev.StepsTaken) -> Task:
    """Receivers that have taken everything wait for nothing more."""
    unsent = {to: number for to, number in task.unsent.items() if number > e.up_to.get(to, 0)}
    return replace(task, unsent=unsent)


def heard(task: Task, e: ev.UpstreamHeard) -> Task:
    """The end of another task's run, which may wait for those of others."""
    task = replace(task, heard=with_heard(task.heard, e.upstream, e.number))
    if e.outcome == "waits":
        run = ev.Upstream(e.run_id, e.status, e.ended_at, e.result, e.left_out, e.depth)
        return replace(task, arrived={**task.arrived, e.upstream: run})
    return replace(task, arrived={}) if e.outcome == "started" and not e.direct else task


def linked(task: Task, e: ev.ChainLinked) -> Task:
    """What another task says of this one."""
    links = {other: kinds for other, kinds in task.links.items() if other != e.other}
    if e.kinds:
        links[e.other] = e.kinds
    return replace(task, links=links, heard=with_heard(task.heard, e.other, e.number))


def unique_heard(task: Task, e: ev.UniqueHeard) -> Task:
    """What the stream of a unique key has said or asked."""
    return replace(task, heard=with_heard(task.heard, e.unique, e.number))


def ignored_run(e: ev.UpstreamHeard) -> Run:
    """The row that stands for a step that led to nothing. `row` must be set."""
    assert e.row is not None
    return Run(
        id=e.row,
        cause="chain",
        scheduled_for=e.at,
        status="skipped",
        reason=e.reason,
        finished_at=e.at,
        caused_by=e.upstream,
        upstream={e.upstream: ev.Upstream(e.run_id, e.status, e.ended_at)},
    )
