"""Chains as the API shows them."""

from __future__ import annotations

from typing import Any

import msgspec

from taskscheduler.api.values import format_instant
from taskscheduler.domain.definition import After
from taskscheduler.domain.events import Upstream
from taskscheduler.domain.steps import EdgeKind
from taskscheduler.projections.graphs import Graph, Node
from taskscheduler.projections.runs import RunView


def after(of: After) -> dict[str, Any]:
    """Which tasks a task runs after."""
    return {"tasks": of.tasks, "when": of.when, "on": of.on}


def followers(links: dict[str, tuple[EdgeKind, ...]]) -> list[str]:
    """The tasks that say of themselves that they run after this one."""
    return [other for other, kinds in links.items() if any(kind.startswith("after") for kind in kinds)]


def caused_by(view: RunView) -> dict[str, str] | None:
    """The run that made a chain go on to this one."""
    if view.caused_by is None:
        return None
    cause = view.upstream.get(view.caused_by)
    return {"task_id": view.caused_by, "run_id": "" if cause is None else cause.run_id}


def upstream(of: dict[str, Upstream]) -> dict[str, Any]:
    """The runs that a run follows, by task."""
    return {task_id: _run(run) for task_id, run in of.items()}


def _run(run: Upstream) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "status": run.status,
        "ended_at": format_instant(run.ended_at),
        "result": None if run.result is None else msgspec.Raw(run.result.encode()),
        "left_out": run.left_out,
    }


def graph(of: Graph) -> dict[str, Any]:
    """The tasks around one, and what leads from one to another."""
    return {
        "task_id": of.task_id,
        "complete": of.complete,
        "nodes": [_node(node) for node in of.nodes],
        "edges": [
            {"from": edge.before, "to": edge.follower, "kind": edge.kind, "when": edge.when, "on": edge.on}
            for edge in of.edges
        ],
    }


def _node(node: Node) -> dict[str, Any]:
    view = node.view
    if view is None:
        return {"id": node.id, "hops": node.hops, "name": None, "status": None, "next_fire_at": None, "last_run": None}
    last = view.last_run
    return {
        "id": node.id,
        "hops": node.hops,
        "name": view.definition.name,
        "status": "deleted" if view.deleted_at is not None else view.status,
        "next_fire_at": None if view.next_fire_at is None else format_instant(view.next_fire_at),
        "last_run": None if last is None else {"id": last.id, "status": last.status, "cause": last.cause},
    }
