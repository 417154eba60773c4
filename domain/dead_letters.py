"""Dead letters on the side that decides: to run one again, and to take one off the list.

The state holds no run that ended long ago. Which run is a dead letter is known to the read models, and who asks has
looked there; here is decided what the state can tell.
"""

from __future__ import annotations

from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.draft import Draft
from taskscheduler.domain.errors import WrongState
from taskscheduler.domain.state import Task


def retry(draft: Draft, command: msg.Retry, run_id: str) -> str:
    """Make a run of it, whose id is returned. Raises WrongState where a retry of it has not ended."""
    _check(draft.task, run_id)
    upstream = command.upstream
    depth = 1 + max([one.depth for one in upstream.values()]) if upstream else 0
    return draft.queue("retry", draft.now, retry_of=run_id, caused_by=command.caused_by, upstream=upstream, depth=depth)


def _check(task: Task, run_id: str) -> None:
    if run_id in task.runs:
        raise WrongState(f"the run {run_id} has not ended: it is {task.runs[run_id].status}")
    last = task.last_finished
    if last is not None and last.id == run_id and last.status != "failed":
        raise WrongState(f"only a failed run can be retried: the run {run_id} is {last.status}")
    for run in task.runs.values():
        if run.retry_of == run_id:
            raise WrongState(f"the run {run_id} is being retried already, by the run {run.id}")


def purge(draft: Draft, command: msg.PurgeDeadLetter, by: str) -> None:
    """Take it off the list; the run stays in the history of its task."""
    draft.add(
        ev.DeadLetterPurged(
            at=draft.now, run_id=command.run_id, failed_at=command.failed_at, error_type=command.error_type, by=by
        )
    )
