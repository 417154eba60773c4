"""Steps: what a decision on one stream sets off on others.

A step is made by an event on the stream that it comes from (`StepsMade`) and waits in an outbox, which is folded from
that stream alone. Whoever carries it out asks its receiver to hear it; the receiver keeps the number of the last one
that it heard of each sender, so a step that comes again changes nothing. Then the sender is told that it was taken
(`StepsTaken`), and it leaves the outbox. Steps from one stream to another are heard in the order of their numbers.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from taskscheduler.domain.values import Instant, Json, Millis

RunEnd: TypeAlias = Literal["succeeded", "failed", "cancelled"]
"""How a run ended."""

EdgeKind: TypeAlias = Literal["then", "on_failure", "after_success", "after_failure", "after_end"]
"""What one task says of another: that it is to run then, or that itself runs after it."""

MOST_HEARD = 1_000
"""Senders whose last step a stream remembers; the one heard least recently is forgotten first."""


class RunEnded(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="run_ended", omit_defaults=True):
    """A run of the sender has ended. `direct`: the receiver runs because of it, whatever it waits for otherwise.

    `depth` is how many runs in a row were made by chains up to it.
    """

    run_id: str
    status: RunEnd
    at: Instant
    direct: bool = False
    depth: int = 0


class Link(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="link", omit_defaults=True):
    """What the definition of the sender says of the receiver; nothing any more when there are no `kinds`."""

    kinds: tuple[EdgeKind, ...] = ()


class UniqueClaimed(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="unique_claimed", omit_defaults=True):
    """The sender, a task, was made and holds the key that the receiver is about; for a period, if one is given."""

    period: Millis | None = None


class UniqueEnded(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="unique_ended", omit_defaults=True):
    """The sender, a task, has ended and needs its unique key no more."""


class UniqueCheck(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="unique_check", omit_defaults=True):
    """The receiver has reserved the key that the sender is about: is it there?"""


class UniqueTaken(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="unique_taken", omit_defaults=True):
    """Another task, `by`, has the key that the sender is about: the receiver is to be cancelled."""

    by: str


Step: TypeAlias = RunEnded | Link | UniqueClaimed | UniqueEnded | UniqueCheck | UniqueTaken


class Told(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A step with its number. `result` is what the run that ended left, as JSON text."""

    number: int
    step: Step
    result: Json | None = None


def with_heard(heard: dict[str, int], sender: str, number: int) -> dict[str, int]:
    """What was heard of each sender, with one more step."""
    heard = {name: last for name, last in heard.items() if name != sender}
    while len(heard) >= MOST_HEARD:
        del heard[next(iter(heard))]
    heard[sender] = number
    return heard
