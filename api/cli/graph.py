"""`task graph`: what runs before and after a task."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from taskscheduler.api.cli.common import COMMON, Common
from taskscheduler.api.cli.errors import printable
from taskscheduler.api.cli.output import format_of, show

if TYPE_CHECKING:
    from taskscheduler.client import Graph, GraphEdge


def graph(
    task_id: str,
    /,
    *,
    hops: Annotated[int, Parameter(help="How far to look, in either direction.")] = 3,
    common: Common = COMMON,
) -> None:
    """Show what runs before and after a task."""
    with common.client() as client:
        found = client.graph(task_id, hops=hops)
    if format_of(common.output) != "table":
        show(found, {}, common.output)
        return
    sys.stdout.write("".join(f"{printable(line)}\n" for line in _lines(found)))


def _lines(of: Graph) -> Iterator[str]:
    before = list(_branches(of, of.task_id, up=True, depth=1, path=(of.task_id,)))
    if before:
        yield "runs after"
        yield from before
        yield ""
    yield f"{of.task_id}  {_status(of, of.task_id)}"
    yield from _branches(of, of.task_id, up=False, depth=1, path=(of.task_id,))
    if not of.complete:
        yield "(there is more: --hops looks further)"


def _branches(of: Graph, task_id: str, *, up: bool, depth: int, path: tuple[str, ...]) -> Iterator[str]:
    for edge in of.edges:
        other, this = (edge.before, edge.follower) if up else (edge.follower, edge.before)
        if this != task_id:
            continue
        yield f"{'  ' * depth}{'←' if up else '→'} {other}  {_status(of, other)}  {_kind(edge)}"
        if other not in path:
            yield from _branches(of, other, up=up, depth=depth + 1, path=(*path, other))


def _status(of: Graph, task_id: str) -> str:
    return next((node.status or "not there" for node in of.nodes if node.id == task_id), "not there")


def _kind(edge: GraphEdge) -> str:
    said = ", ".join(word for word in (edge.when, edge.on) if word)
    return f"{edge.kind} ({said})" if said else edge.kind
