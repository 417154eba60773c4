"""Operations over many tasks as the API shows them."""

from __future__ import annotations

from typing import Any

from taskscheduler.api.values import format_instant
from taskscheduler.domain.operation_definition import OperationDefinition
from taskscheduler.projections.operations import OperationView
from taskscheduler.projections.task_view import TaskView


def operation(view: OperationView) -> dict[str, Any]:
    """An operation and how far it is."""
    definition = view.definition
    return {
        "id": view.name,
        "action": definition.action,
        "filter": _selection(definition),
        "arguments": _arguments(definition),
        "status": view.status,
        "by": view.by,
        "started_at": format_instant(view.started_at),
        "ended_at": None if view.ended_at is None else format_instant(view.ended_at),
        "cancelled_by": view.cancelled_by,
        "expected": definition.expected,
        "expected_more": definition.expected_more,
        "matched": view.picked,
        "done": view.changed + view.unchanged + sum(view.refused.values()),
        "changed": view.changed,
        "unchanged": view.unchanged,
        "refused": {
            reason: {"count": count, "example": view.examples.get(reason, "")} for reason, count in view.refused.items()
        },
    }


def preview(matched: int, more: bool, sample: list[TaskView]) -> dict[str, Any]:
    """What an operation would be about."""
    return {
        "matched": matched,
        "more": more,
        "sample": [{"id": view.id, "name": view.definition.name, "status": view.status} for view in sample],
    }


def _selection(definition: OperationDefinition) -> dict[str, Any]:
    selection = definition.selection
    due = selection.due_before
    shown = {
        "status": selection.status,
        "name": selection.name_contains,
        "tags": selection.tags or None,
        "due_before": None if due is None else format_instant(due),
        "ids": selection.ids or None,
    }
    return {name: value for name, value in shown.items() if value is not None}


def _arguments(definition: OperationDefinition) -> dict[str, Any]:
    match definition.action:
        case "pause":
            return {"note": definition.note}
        case "resume":
            return {"note": definition.note, "missed": definition.missed}
        case "tag":
            return {"tags": definition.tags}
        case "untag":
            return {"tags": list(definition.tags)}
        case _:
            return {}
