"""Workers as clients see them, by name."""

from __future__ import annotations

import msgspec

from taskscheduler.domain.decision import AcceptedOther
from taskscheduler.domain.values import Instant
from taskscheduler.domain.worker import WORKER_STREAM, Worker, WorkerStatus, status_of
from taskscheduler.domain.worker_info import WorkerInfo
from taskscheduler.projections.changes import Change, Delete, Put
from taskscheduler.projections.tables import Column, Table


class WorkerView(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A worker as it was seen last."""

    list: str
    id: str
    info: WorkerInfo
    running: int
    first_seen_at: Instant
    seen_at: Instant
    drain_at: Instant | None = None
    left_at: Instant | None = None

    @property
    def name(self) -> str:
        """What it calls itself."""
        return self.id.removeprefix(WORKER_STREAM)

    def status(self, now: Instant) -> WorkerStatus:
        """How it is, as far as was heard of it."""
        return status_of(now, self.seen_at, self.drain_at, self.left_at)


ALL = "all"
WORKERS = Table("workers", WorkerView, partition=(Column("list"),), clustering=(Column("id"),))


def view_of(worker: Worker) -> WorkerView:
    """The view of a worker that was seen. Raises ValueError for any other."""
    if worker.info is None:
        raise ValueError(f"there is no worker {worker.name!r}")
    return WorkerView(
        ALL,
        worker.id,
        worker.info,
        worker.running,
        worker.first_seen_at,
        worker.seen_at,
        worker.drain_at,
        worker.left_at,
    )


def project(accepted: AcceptedOther) -> list[Change]:
    """The row after the decision."""
    worker = accepted.after
    assert isinstance(worker, Worker)
    return [Delete(WORKERS, (ALL, worker.id))] if worker.info is None else [Put(WORKERS, view_of(worker))]
