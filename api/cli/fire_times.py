"""`task resume`, `purge-owed`, `backfill` and `cancel-backfill`: what becomes of fire times that have come."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from taskscheduler.api.cli.bulk import ONE, AllMatching, do_to_many
from taskscheduler.api.cli.common import COMMON, Common, Key, instant
from taskscheduler.api.cli.output import show
from taskscheduler.api.cli.tasks import Note
from taskscheduler.api.cli.views import TASK
from taskscheduler.api.cli.waiting import wait_for_backfill


def resume(
    task_id: str | None = None,
    /,
    *,
    matching: AllMatching = ONE,
    missed: Annotated[
        Literal["skip", "latest", "all"] | None,
        Parameter(help="Which of the fire times that came in the pause run now; by default none (skip)."),
    ] = None,
    note: Note = None,
    idempotency_key: Key = None,
    common: Common = COMMON,
) -> None:
    """End a pause."""
    if matching.means(task_id):
        do_to_many("resume", matching, {"note": note, "missed": missed}, common, key=idempotency_key)
        return
    assert task_id is not None
    with common.client() as client:
        task = client.resume(task_id, note=note, missed=missed, idempotency_key=idempotency_key)
        show(task, TASK, common.output)


def purge_owed(task_id: str, /, *, idempotency_key: Key = None, common: Common = COMMON) -> None:
    """Skip the fire times that wait to be caught up, or for the end of a run."""
    with common.client() as client:
        show(client.purge_owed(task_id, idempotency_key=idempotency_key), TASK, common.output)


def backfill(
    task_id: str,
    /,
    *,
    from_: Annotated[str, Parameter(name="--from", help="The first instant: 2030-01-01T00:00:00Z.")],
    to: Annotated[str, Parameter(help="The instant before which it ends: now or earlier.")],
    overlap: Annotated[
        Literal["buffer_all", "allow_all"] | None,
        Parameter(help="One run after another (buffer_all, the default), or many at once (allow_all)."),
    ] = None,
    wait: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Wait until all of its runs have ended; exit 1 if one failed."),
    ] = False,
    idempotency_key: Key = None,
    common: Common = COMMON,
) -> None:
    """Run a task for fire times that are over, by the schedule it has now."""
    since, until = instant(from_, "--from"), instant(to, "--to")
    assert since is not None and until is not None
    with common.client() as client:
        task = client.backfill(task_id, since, until, overlap=overlap, idempotency_key=idempotency_key)
        if wait:
            wait_for_backfill(client, task_id, task.backfill_id, common)
        else:
            show(task, {"backfill": lambda of: of.backfill_id, **TASK}, common.output)


def cancel_backfill(task_id: str, backfill_id: str, /, *, idempotency_key: Key = None, common: Common = COMMON) -> None:
    """Cancel a backfill and its active runs; `task get` shows the backfills there are."""
    with common.client() as client:
        show(client.cancel_backfill(task_id, backfill_id, idempotency_key=idempotency_key), TASK, common.output)
