"""Whether a claim holds the slots that it needs, by the definition in force."""

from __future__ import annotations

from taskscheduler.domain.definition import Definition
from taskscheduler.domain.errors import NotClaimable
from taskscheduler.domain.limit_definition import limits_of, own_limit
from taskscheduler.domain.messages import Under
from taskscheduler.domain.state import Run


def granted(definition: Definition, run: Run, under: Under | None) -> dict[str, str]:
    """The slots that the next attempt of the run holds. Raises NotClaimable when they do not fit it.

    Which other limits are defined is not known here; that the task itself names one is.
    """
    own = own_limit(definition)
    if under is None:
        if own is not None:
            raise NotClaimable(f"the run {run.id} is under the limit {own[0]}, and was not granted a slot")
        return {}
    if (under.number, under.revoked) != (len(run.attempts) + 1, run.revoked):
        raise NotClaimable(f"the slots that were granted for the run {run.id} were not used in time")
    if under.limits != limits_of(definition):
        raise NotClaimable(f"the task was changed: the run {run.id} is under other limits")
    if own is not None and own[0] not in under.grants:
        raise NotClaimable(f"the run {run.id} is under the limit {own[0]}, and was not granted a slot")
    return under.grants
