"""The graph that chains make of tasks, around one of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec

from taskscheduler.domain.definition import On
from taskscheduler.projections.ports import ViewReader
from taskscheduler.projections.task_view import TASKS, TaskView

MOST_NODES = 500
MOST_HOPS = 20

Kind: TypeAlias = Literal["then", "on_failure", "after"]


class Edge(msgspec.Struct, frozen=True, gc=False):
    """`follower` runs after `before`. `when` and `on` belong to `after`."""

    before: str
    follower: str
    kind: Kind
    when: str | None = None
    on: On | None = None


class Node(msgspec.Struct, frozen=True, gc=False):
    """A task in so many hops: below 0 it comes before. `view` is None for one that is no longer there."""

    id: str
    hops: int
    view: TaskView | None


class Graph(msgspec.Struct, frozen=True, gc=False):
    """What comes before and after a task, and how it hangs together. `complete`: nothing more hangs on it."""

    task_id: str
    nodes: list[Node]
    edges: list[Edge]
    complete: bool


class Graphs:
    """Answers from a store of read models."""

    def __init__(self, store: ViewReader) -> None:
        self._store = store

    async def around(self, view: TaskView, hops: int) -> Graph:
        """Up to `hops` hops in either direction, and `MOST_NODES` tasks in all."""
        nodes = {view.id: Node(view.id, 0, view)}
        complete = True
        for step in (-1, 1):
            edge = [view.id]
            for hop in range(1, hops + 1):
                found = dict.fromkeys(other for one in edge for other in _neighbours(nodes[one].view, step))
                edge = [other for other in found if other not in nodes]
                for other in edge[: MOST_NODES - len(nodes)]:
                    nodes[other] = Node(other, hop * step, await self._store.get(TASKS, (other,)))
                complete = complete and all(other in nodes for other in edge)
                edge = [other for other in edge if other in nodes]
            complete = complete and not any(
                other not in nodes for one in edge for other in _neighbours(nodes[one].view, step)
            )
        edges: dict[tuple[str, str, str], Edge] = {}
        for one in nodes.values():
            for between in _edges(one.view):
                key = between.before, between.follower, between.kind
                if between.before in nodes and between.follower in nodes:
                    edges[key] = between if between.when is not None or key not in edges else edges[key]
        return Graph(view.id, sorted(nodes.values(), key=lambda node: node.hops), list(edges.values()), complete)


def _neighbours(view: TaskView | None, step: int) -> list[str]:
    if view is None:
        return []
    if step > 0:
        return [edge.follower for edge in _edges(view) if edge.before == view.id]
    return [edge.before for edge in _edges(view) if edge.follower == view.id]


def _edges(view: TaskView | None) -> Iterator[Edge]:
    """By the definition of a task that can run, and by what others say of it."""
    if view is None or view.deleted_at is not None or view.status == "cancelled":
        return
    definition, name = view.definition, view.id
    for other in definition.then:
        yield Edge(name, other, "then")
    for other in definition.on_failure:
        yield Edge(name, other, "on_failure")
    after = definition.after
    if after is not None:
        for other in after.tasks:
            yield Edge(other, name, "after", after.when, after.on)
    for other, kinds in view.links.items():
        for kind in kinds:
            match kind:
                case "then" | "on_failure":
                    yield Edge(other, name, kind)
                case "after_success":
                    yield Edge(name, other, "after", on="success")
                case "after_failure":
                    yield Edge(name, other, "after", on="failure")
                case "after_end":
                    yield Edge(name, other, "after", on="end")
