"""What a limit allows, and which limits the runs of a task may be under."""

from __future__ import annotations

import msgspec

from taskscheduler.domain.definition import Definition, ExecTarget, QueueTarget, lane_of
from taskscheduler.domain.values import Millis

LIMIT_STREAM = "limit/"
MOST_SLOTS = 10_000
"""What a limit of concurrency may be at most: its state holds a grant for each."""

MOST_PER_MILLI = 1_000
"""Runs a millisecond that a rate may allow at most."""


class Rate(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """`count` runs begin in each `per` (ms), evenly; after a lull up to `burst` at once."""

    count: int
    per: Millis
    burst: int = 1

    @property
    def gap(self) -> int:
        """Microseconds between two starts, rounded up, so that no more begin than are allowed."""
        return -(-self.per * 1_000 // self.count)


class LimitDefinition(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """How many attempts may be active at once, and how fast they may begin; None: as many, and as fast, as come."""

    concurrency: int | None = None
    rate: Rate | None = None
    note: str = ""


class Granted(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A slot for one attempt. `revoked` is how often grants for it had been revoked when it was asked for."""

    id: str
    task_id: str
    run_id: str
    number: int
    revoked: int = 0


def limit_id(name: str) -> str:
    """The id under which the state of a limit is kept."""
    return LIMIT_STREAM + name


def own_limit(definition: Definition) -> tuple[str, int] | None:
    """The limit that the task itself names: what it is called, and how many attempts may be active."""
    own = definition.concurrency
    return None if own is None else (f"key:{own.key}", own.limit)


def limits_of(definition: Definition) -> tuple[str, ...]:
    """The names of all limits that runs of the task are under where they are defined, in the order of names."""
    lane = lane_of(definition)
    names = [*lane.names, *(f"tag:{key}={value}" for key, value in definition.tags.items())]
    if isinstance(definition.target, QueueTarget | ExecTarget):
        names.append(lane.group)
    return tuple(sorted(names))
