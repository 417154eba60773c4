"""What an attempt is given to work on, for targets that send it to somebody."""

from __future__ import annotations

import msgspec

from taskscheduler.domain.events import Upstream
from taskscheduler.streams.dispatch.dispatcher import Attempted


def payload_of(attempt: Attempted) -> bytes | None:
    """The task's payload as JSON; where it has none, what the runs before it in a chain came to, if there are any."""
    payload = attempt.definition.payload
    if payload is None and attempt.run.upstream:
        return msgspec.json.encode({"upstream": {name: _upstream(run) for name, run in attempt.run.upstream.items()}})
    return None if payload is None else payload.encode()


def cause_of(attempt: Attempted) -> str | None:
    """The run that made this one happen in a chain, `<task>/<run>`."""
    run = attempt.run
    cause = run.upstream.get(run.caused_by or "")
    return None if cause is None else f"{run.caused_by}/{cause.run_id}"


def _upstream(run: Upstream) -> dict[str, object]:
    result = None if run.result is None else msgspec.Raw(run.result.encode())
    return {"run_id": run.run_id, "status": run.status, "result": result, "left_out": run.left_out}
