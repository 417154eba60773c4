"""`worker list`, `get` and `drain`."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from taskscheduler.api.cli.common import COMMON, Common
from taskscheduler.api.cli.output import Columns, say, show, show_all

WORKERS: Columns = {
    "name": lambda worker: worker.name,
    "status": lambda worker: worker.status,
    "queues": lambda worker: " ".join(worker.queues),
    "running": lambda worker: f"{worker.running}/{worker.concurrency}",
    "version": lambda worker: worker.version,
    "last seen": lambda worker: worker.last_seen_at,
}
WORKER: Columns = {
    **WORKERS,
    "kinds": lambda worker: " ".join(worker.kinds),
    "host": lambda worker: worker.host,
    "pid": lambda worker: worker.pid,
    "started": lambda worker: worker.started_at,
    "drain requested": lambda worker: worker.drain_requested_at,
    "left": lambda worker: worker.left_at,
}


def list_workers(
    *,
    queue: Annotated[str | None, Parameter(help="Only those that pull from this queue.")] = None,
    status: Annotated[Literal["online", "draining", "gone"] | None, Parameter(help="Only those that are so.")] = None,
    limit: Annotated[int, Parameter(help="At most so many.")] = 50,
    common: Common = COMMON,
) -> None:
    """List the workers that were seen, by name."""
    with common.client() as client:
        page = client.list_workers(queue=queue, status=status, limit=limit)
        show_all(page.items, WORKERS, common.output)
        if page.next_cursor is not None:
            say(f"there are more: --limit {limit} shows no more than {limit}")


def get(name: str, /, *, common: Common = COMMON) -> None:
    """Show a worker as it was seen last."""
    with common.client() as client:
        show(client.get_worker(name), WORKER, common.output)


def drain(name: str, /, *, common: Common = COMMON) -> None:
    """Let a worker end what runs, take no more, and leave. It hears of it within seconds."""
    with common.client() as client:
        show(client.drain_worker(name), WORKER, common.output)
