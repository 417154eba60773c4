"""What events make of the backfills of a task."""

from __future__ import annotations

from msgspec.structs import replace

from taskscheduler.domain import events as ev
from taskscheduler.domain.state import MAX_BACKFILLS, Backfill, Task


def requested(task: Task, e: ev.BackfillRequested) -> Task:
    """Remember it in the place of the oldest that has ended, where so many are remembered."""
    if len(task.backfills) >= MAX_BACKFILLS:
        oldest = next((known.id for known in task.backfills.values() if known.status != "running"), None)
        task = replace(task, backfills={key: known for key, known in task.backfills.items() if key != oldest})
    backfill = Backfill(
        id=e.backfill_id,
        by=e.by,
        requested_at=e.at,
        schedule=e.schedule,
        start=e.start,
        until=e.until,
        overlap=e.overlap,
        total=e.total,
        next=e.next,
    )
    return _with(task, backfill)


def advanced(task: Task, e: ev.BackfillAdvanced) -> Task:
    """Its cursor moves on."""
    backfill = task.backfills.get(e.backfill_id)
    if backfill is None:
        return task
    return _with(task, replace(backfill, next=e.next, fired=e.fired))


def ended(task: Task, e: ev.BackfillEnded) -> Task:
    """No more of its runs will be made."""
    backfill = task.backfills.get(e.backfill_id)
    if backfill is None:
        return task
    return _with(task, replace(backfill, next=None, reason=e.reason))


def count(task: Task, backfill_id: str, more: int, failed: int = 0) -> Task:
    """One of its runs was made, or has ended."""
    backfill = task.backfills.get(backfill_id)
    if backfill is None:
        return task
    return _with(task, replace(backfill, active=backfill.active + more, failed=backfill.failed + failed))


def _with(task: Task, backfill: Backfill) -> Task:
    return replace(task, backfills={**task.backfills, backfill.id: backfill})
