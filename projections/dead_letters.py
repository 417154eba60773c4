"""Dead letters: runs that failed for good, by the month in which they ended, the latest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from taskscheduler.domain import events as ev
from taskscheduler.domain.decision import Accepted
from taskscheduler.domain.ids import run_id_floor
from taskscheduler.domain.values import HOUR, Instant
from taskscheduler.projections.calendar import month_of
from taskscheduler.projections.changes import Change, DeleteRange, Put
from taskscheduler.projections.runs import RUN_BUCKET
from taskscheduler.projections.tables import Column, Key, Table


class DeadLetter(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A run that failed for good, with the tags that its task had then. `month` is like `2026-11`, in UTC."""

    month: str
    finished_at: Instant
    task_id: str
    run_id: str
    task_name: str
    reason: str
    error_type: str
    tags: dict[str, str] = {}


class Month(msgspec.Struct, frozen=True, gc=False):
    """A month in which a run failed for good."""

    of: str
    month: str


MONTHS = Table("dead_letter_months", Month, (Column("of"),), (Column("month", descending=True),))
ALL_MONTHS = "dead_letters"

DEAD_LETTERS = Table(
    "dead_letters",
    DeadLetter,
    partition=(Column("month"),),
    clustering=(
        Column("finished_at", "int", descending=True),
        Column("task_id", descending=True),
        Column("run_id", descending=True),
    ),
    bucket=HOUR,
    spread=True,
)


def _also_by_month(row: DeadLetter) -> tuple[tuple[Table[Any], Key], ...]:
    return ((DEAD_LETTERS, DEAD_LETTERS.key(row)),)


DEAD_LETTERS_OF_TASK = Table(
    "dead_letters_of_task",
    DeadLetter,
    partition=(Column("task_id"),),
    clustering=(Column("run_id", descending=True),),
    companions=_also_by_month,
    bucket=RUN_BUCKET,
)


def project(accepted: Accepted) -> Sequence[Change]:
    """Rows come when a run fails for good and go with the run, or when the task is deleted."""
    after = accepted.after
    if not after.counts.failed and not accepted.before.counts.failed:
        return ()
    changes: list[Change] = []
    for event in accepted.record.events:
        if isinstance(event, ev.AttemptFailed):
            if event.reason is not None:
                changes += _dead(accepted, event, event.reason)
        elif isinstance(event, ev.RunFailed):
            changes += _dead(accepted, event, event.reason)
        elif isinstance(event, ev.RunsExpired):
            changes.append(DeleteRange(DEAD_LETTERS_OF_TASK, (after.id,), (run_id_floor(event.before),)))
        elif isinstance(event, (ev.TaskDeleted, ev.TaskPurged)):
            changes.append(DeleteRange(DEAD_LETTERS_OF_TASK, (after.id,)))
    return changes


def _dead(accepted: Accepted, event: ev.AttemptFailed | ev.RunFailed, reason: str) -> tuple[Change, ...]:
    definition = accepted.after.definition or accepted.before.definition
    month = month_of(event.at)
    row = DeadLetter(
        month=month,
        finished_at=event.at,
        task_id=accepted.after.id,
        run_id=event.run_id,
        task_name="" if definition is None else definition.name,
        reason=reason,
        error_type=event.error.type,
        tags={} if definition is None else definition.tags,
    )
    return Put(MONTHS, Month(ALL_MONTHS, month)), Put(DEAD_LETTERS, row), Put(DEAD_LETTERS_OF_TASK, row)
