"""Chains: a run that ends lets other tasks run.

The definition of a task names those that run after it (`then`, `on_failure`) and those that it runs after (`after`).
Both sides know of each other by links, so that the end of a run finds all that follow it on its own stream alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import Definition
from taskscheduler.domain.draft import Draft
from taskscheduler.domain.state import MAX_ACTIVE_RUNS, Task
from taskscheduler.domain.steps import EdgeKind, Link, RunEnd, RunEnded, Step, Told
from taskscheduler.domain.values import Json

MAX_DEPTH = 100
"""Runs in a row that chains make. More are taken for a circle that two changes closed at the same moment."""

MOST_HANDED_ON = 256 * 1024
"""Bytes of the results that a run is given; of what is beyond only the run is named."""

_AFTER: dict[str, EdgeKind] = {"success": "after_success", "failure": "after_failure", "end": "after_end"}
_FOLLOWS: dict[RunEnd, tuple[EdgeKind, ...]] = {
    "succeeded": ("after_success", "after_end"),
    "failed": ("after_failure", "after_end"),
    "cancelled": ("after_end",),
}


def edges_of(definition: Definition | None) -> dict[str, tuple[EdgeKind, ...]]:
    """What a definition says of other tasks."""
    if definition is None:
        return {}
    edges: dict[str, tuple[EdgeKind, ...]] = dict.fromkeys(definition.then, ("then",))
    for other in definition.on_failure:
        edges[other] = (*edges.get(other, ()), "on_failure")
    if definition.after is not None:
        for other in definition.after.tasks:
            edges[other] = (*edges.get(other, ()), _AFTER[definition.after.on])
    return edges


def downstream_of(task: Task) -> list[str]:
    """The tasks that may run because of a run of this one."""
    definition = _live(task)
    if definition is None:
        return []
    return list(dict.fromkeys((*definition.then, *definition.on_failure, *followers_of(task))))


def followers_of(task: Task) -> list[str]:
    """The tasks whose definitions say that they run after this one."""
    return [other for other, kinds in task.links.items() if any(kind.startswith("after") for kind in kinds)]


def pass_on(draft: Draft, before: Task) -> None:
    """Make the steps that follow from what was decided: links that changed, and runs that ended."""
    task = draft.task
    if task.definition is not before.definition or task.deleted_at != before.deleted_at or _ended_now(task, before):
        _relink(draft, edges_of(_live(before)), edges_of(_live(task)))
    definition = task.definition
    if definition is None or not (task.links or definition.then or definition.on_failure):
        return
    for run_id, status in list(_ends(draft.events)):
        _pass_on_end(draft, definition, before, run_id, status)


def hear(draft: Draft, definition: Definition, command: msg.Hear) -> None:
    """Take in the steps of another stream, as many as there is room for; those heard before change nothing."""
    for told in command.steps:
        if told.number <= draft.task.heard.get(command.sender, 0):
            continue
        match told.step:
            case Link(kinds=kinds):
                draft.add(ev.ChainLinked(at=draft.now, other=command.sender, number=told.number, kinds=kinds))
            case RunEnded():
                if not _hear_end(draft, definition, command.sender, told, told.step):
                    return


def taken(draft: Draft, command: msg.Taken) -> None:
    """Steps have reached their receivers."""
    unsent = draft.task.unsent
    up_to = {to: number for to, number in command.up_to.items() if to in unsent}
    if up_to:
        refused = {to: why for to, why in command.refused.items() if to in up_to}
        draft.add(ev.StepsTaken(at=draft.now, up_to=up_to, refused=refused))


def _live(task: Task) -> Definition | None:
    """The definition of a task that can still run."""
    return task.definition if task.exists and task.cancelled_at is None else None


def _ended_now(task: Task, before: Task) -> bool:
    return task.cancelled_at != before.cancelled_at


def _make(draft: Draft, to: tuple[str, ...], step: Step) -> None:
    draft.add(ev.StepsMade(at=draft.now, number=draft.task.steps + 1, to=to, step=step))


def _relink(draft: Draft, old: dict[str, tuple[EdgeKind, ...]], new: dict[str, tuple[EdgeKind, ...]]) -> None:
    changed: dict[tuple[EdgeKind, ...], list[str]] = {}
    for other in dict.fromkeys((*old, *new)):
        kinds = new.get(other, ())
        if kinds != old.get(other, ()):
            changed.setdefault(kinds, []).append(other)
    for kinds, others in changed.items():
        _make(draft, tuple(others), Link(kinds))


def _ends(events: list[ev.Event]) -> Iterator[tuple[str, RunEnd]]:
    for event in events:
        match event:
            case ev.AttemptSucceeded():
                yield event.run_id, "succeeded"
            case ev.AttemptFailed() if event.reason is not None:
                yield event.run_id, "failed"
            case ev.RunFailed():
                yield event.run_id, "failed"
            case ev.RunCancelled():
                yield event.run_id, "cancelled"


def _pass_on_end(draft: Draft, definition: Definition, before: Task, run_id: str, status: RunEnd) -> None:
    direct = {"succeeded": definition.then, "failed": definition.on_failure, "cancelled": ()}[status]
    wanted = _FOLLOWS[status]
    followers = tuple(
        other
        for other, kinds in draft.task.links.items()
        if other not in direct and any(kind in wanted for kind in kinds)
    )
    for to, is_direct in ((direct, True), (followers, False)):
        if to:
            depth = _depth(draft.events, before, run_id)
            _make(draft, to, RunEnded(run_id, status, draft.now, is_direct, depth))


def _depth(events: list[ev.Event], before: Task, run_id: str) -> int:
    run = before.runs.get(run_id)
    if run is not None:
        return run.depth
    return next((e.depth for e in events if isinstance(e, ev.RunQueued) and e.run_id == run_id), 0)


def _hear_end(draft: Draft, definition: Definition, sender: str, told: Told, ended: RunEnded) -> bool:
    """Whether it could be heard: not while the task has as many active runs as it may."""
    if (reason := _ignored(draft.task, definition, sender, ended)) is not None:
        draft.add(_heard(draft, sender, told, ended, "ignored", reason=reason, row=draft.new_run_id(draft.now)))
        return True
    after = definition.after
    this = ev.Upstream(ended.run_id, ended.status, ended.at, told.result, False, ended.depth)
    upstream = {sender: this}
    if after is not None and after.when == "all" and not ended.direct:
        upstream = {**draft.task.arrived, sender: this}
        if any(other not in upstream for other in after.tasks):
            kept = _bounded({**draft.task.arrived, sender: this}, [*draft.task.arrived, sender])[sender]
            draft.add(_heard(draft, sender, told, ended, "waits", result=kept.result, left_out=kept.left_out))
            return True
    if len(draft.task.runs) >= MAX_ACTIVE_RUNS:
        return False
    upstream = _bounded(upstream, list(after.tasks) if after is not None and not ended.direct else [sender])
    draft.add(_heard(draft, sender, told, ended, "started"))
    depth = 1 + max(one.depth for one in upstream.values())
    draft.queue("chain", draft.now, caused_by=sender, upstream=upstream, depth=depth)
    return True


def _ignored(task: Task, definition: Definition, sender: str, ended: RunEnded) -> ev.IgnoreReason | None:
    kinds = edges_of(definition).get(sender, ())
    if not ended.direct and not any(kind in _FOLLOWS[ended.status] for kind in kinds):
        return "not_awaited"
    if task.pause is not None:
        return "paused"
    return "too_deep" if ended.depth >= MAX_DEPTH else None


def _heard(
    draft: Draft,
    sender: str,
    told: Told,
    ended: RunEnded,
    outcome: ev.Hearing,
    *,
    reason: ev.IgnoreReason | None = None,
    row: str | None = None,
    result: Json | None = None,
    left_out: bool = False,
) -> ev.UpstreamHeard:
    return ev.UpstreamHeard(
        at=draft.now,
        upstream=sender,
        number=told.number,
        run_id=ended.run_id,
        status=ended.status,
        outcome=outcome,
        ended_at=ended.at,
        reason=reason,
        row=row,
        direct=ended.direct,
        result=result,
        left_out=left_out,
        depth=ended.depth,
    )


def _bounded(upstream: dict[str, ev.Upstream], order: list[str]) -> dict[str, ev.Upstream]:
    """In order; results are left out from where they are too much together."""
    found: dict[str, ev.Upstream] = {}
    total = 0
    for task_id in order:
        one = upstream.get(task_id)
        if one is None:
            continue
        size = 0 if one.result is None else len(one.result.encode())
        if total + size > MOST_HANDED_ON:
            one = ev.Upstream(one.run_id, one.status, one.ended_at, None, True, one.depth)
        else:
            total += size
        found[task_id] = one
    return found
