"""Dead letters: runs that failed for good, by when they ended, by task and by the type of their error.

What each was to do then, and what has become of it since, lies beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from taskscheduler.domain import events as ev
from taskscheduler.domain.decision import Accepted
from taskscheduler.domain.definition import Definition
from taskscheduler.domain.ids import run_id_floor
from taskscheduler.domain.values import HOUR, Instant
from taskscheduler.projections.calendar import month_of
from taskscheduler.projections.changes import Change, Delete, DeleteRange, Put
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


class ErrorType(msgspec.Struct, frozen=True, gc=False):
    """A type of error that a run failed with for good."""

    of: str
    error_type: str


class Meant(msgspec.Struct, frozen=True, gc=False):
    """What a run that failed for good was to do: its task as it was defined then, at this version."""

    task_id: str
    run_id: str
    version: int
    definition: Definition


class Retried(msgspec.Struct, frozen=True, gc=False):
    """The last run that was made of a dead letter since."""

    task_id: str
    run_id: str
    by_run: str
    at: Instant
    actor: str


MONTHS = Table("dead_letter_months", Month, (Column("of"),), (Column("month", descending=True),))
ERROR_TYPES = Table("dead_letter_errors", ErrorType, (Column("of"),), (Column("error_type"),))
ALL_MONTHS = ALL_TYPES = "dead_letters"

_PLACE = (
    Column("finished_at", "int", descending=True),
    Column("task_id", descending=True),
    Column("run_id", descending=True),
)
_OF_TASK = (Column("task_id"),), (Column("run_id", descending=True),)

DEAD_LETTERS = Table("dead_letters", DeadLetter, (Column("month"),), _PLACE, bucket=HOUR, spread=True)
BY_ERROR = Table("dead_letters_by_error", DeadLetter, (Column("error_type"),), _PLACE, bucket=HOUR, spread=True)


def _also_elsewhere(row: DeadLetter) -> tuple[tuple[Table[Any], Key], ...]:
    return ((DEAD_LETTERS, DEAD_LETTERS.key(row)), (BY_ERROR, BY_ERROR.key(row)))


DEAD_LETTERS_OF_TASK = Table(
    "dead_letters_of_task", DeadLetter, *_OF_TASK, companions=_also_elsewhere, bucket=RUN_BUCKET
)
MEANT = Table("dead_letters_meant", Meant, *_OF_TASK, bucket=RUN_BUCKET)
RETRIED = Table("dead_letters_retried", Retried, *_OF_TASK, bucket=RUN_BUCKET)

TABLES: tuple[Table[Any], ...] = (
    *(DEAD_LETTERS, DEAD_LETTERS_OF_TASK, BY_ERROR),
    *(MONTHS, ERROR_TYPES, MEANT, RETRIED),
)


def project(accepted: Accepted) -> Sequence[Change]:
    """Rows come when a run fails for good and go with the run, when they are purged, or when the task is deleted."""
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
        elif isinstance(event, ev.RunQueued):
            if event.retry_of is not None:
                row = Retried(after.id, event.retry_of, event.run_id, event.at, accepted.record.actor)
                changes.append(Put(RETRIED, row))
        elif isinstance(event, ev.DeadLetterPurged):
            changes += _purged(after.id, event)
        elif isinstance(event, ev.RunsExpired):
            changes += _gone(after.id, (run_id_floor(event.before),))
        elif isinstance(event, (ev.TaskDeleted, ev.TaskPurged)):
            changes += _gone(after.id, None)
    return changes


def _dead(accepted: Accepted, event: ev.AttemptFailed | ev.RunFailed, reason: str) -> list[Change]:
    definition = accepted.after.definition or accepted.before.definition
    month, error_type = month_of(event.at), event.error.type
    row = DeadLetter(
        month=month,
        finished_at=event.at,
        task_id=accepted.after.id,
        run_id=event.run_id,
        task_name="" if definition is None else definition.name,
        reason=reason,
        error_type=error_type,
        tags={} if definition is None else definition.tags,
    )
    changes: list[Change] = [Put(MONTHS, Month(ALL_MONTHS, month)), Put(ERROR_TYPES, ErrorType(ALL_TYPES, error_type))]
    changes += [Put(table, row) for table in (DEAD_LETTERS, BY_ERROR, DEAD_LETTERS_OF_TASK)]
    if definition is not None:
        changes.append(Put(MEANT, Meant(accepted.after.id, event.run_id, accepted.after.version, definition)))
    return changes


def _purged(task_id: str, event: ev.DeadLetterPurged) -> list[Change]:
    place = event.failed_at, task_id, event.run_id
    return [
        Delete(DEAD_LETTERS, (month_of(event.failed_at), *place)),
        Delete(BY_ERROR, (event.error_type, *place)),
        *[Delete(table, (task_id, event.run_id)) for table in (DEAD_LETTERS_OF_TASK, MEANT, RETRIED)],
    ]


def _gone(task_id: str, start: Key | None) -> list[Change]:
    return [DeleteRange(table, (task_id,), start) for table in (DEAD_LETTERS_OF_TASK, MEANT, RETRIED)]
