"""Uniqueness: the stream `unique/<hash of a key>` says which task holds the key, if any does. Pure, as all rules are.

A key is reserved before its task is made, so that of several that want it at once one is first on the log. A task that
ends gives it back by a step, in the decision that ends it. Whoever reserved a key and made no task is found out by the
stream's own timer: it asks the task, and where there is none the key is free again. A task that was made too late, or
whose key was taken meanwhile, is told by the answer to the step with which it claims its key, and cancels itself.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from taskscheduler.domain import errors
from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.decided import Decided, folded, replayed
from taskscheduler.domain.definition import Definition
from taskscheduler.domain.evolve import with_key
from taskscheduler.domain.ids import digest
from taskscheduler.domain.state import UsedKey
from taskscheduler.domain.steps import UniqueCheck, UniqueClaimed, UniqueEnded, UniqueTaken, with_heard
from taskscheduler.domain.values import MINUTE, Instant, Millis

UNIQUE_STREAM = "unique/"

GRACE: Millis = MINUTE
"""So long after the reservation its task is asked for, if it has not said that it is there."""

MOST_KEYS = 200
"""Idempotency-Keys remembered here. A task that was made remembers its own."""


class Unique(msgspec.Struct, frozen=True, gc=False, tag="unique", omit_defaults=True):
    """`Unique(id)` is a key that nobody ever held; its id is the name of its stream.

    `holder` is the task that holds it, for ever or until `until`. At `check_at` it is asked whether it is there, and
    then `asked` until it has answered. `steps`, `unsent` and `heard` are as those of a task.
    """

    id: str
    version: int = 0
    recorded_at: Instant = 0
    holder: str | None = None
    until: Instant | None = None
    check_at: Instant | None = None
    asked: bool = False
    steps: int = 0
    unsent: dict[str, int] = {}
    heard: dict[str, int] = {}
    keys: dict[str, UsedKey] = {}

    def held_at(self, now: Instant) -> str | None:
        """The task that holds the key then."""
        return None if self.until is not None and self.until <= now else self.holder


def unique_id(key: str) -> str:
    """The id under which is kept who holds a key."""
    return UNIQUE_STREAM + digest("unique", key)


def unique_of(definition: Definition | None) -> str | None:
    """The same for the key of a task, None where it has none."""
    return None if definition is None or definition.unique is None else unique_id(definition.unique.key)


def evolve(unique: Unique, event: ev.Event) -> Unique:
    """The state after `event`. Total; an event of something else changes nothing."""
    match event:
        case ev.UniqueReserved():
            unique = _hear_number(unique, event.task_id, event.number)
            return replace(unique, holder=event.task_id, until=event.until, check_at=event.check_at, asked=False)
        case ev.UniqueReleased():
            unique = _hear_number(unique, event.task_id, event.number)
            if unique.holder != event.task_id:
                return unique
            return replace(unique, holder=None, until=None, check_at=None, asked=False)
        case ev.StepsMade():
            asks = isinstance(event.step, UniqueCheck)
            return replace(
                unique,
                steps=event.number,
                unsent={**unique.unsent, **dict.fromkeys(event.to, event.number)},
                asked=unique.asked or asks,
                check_at=None if asks else unique.check_at,
            )
        case ev.StepsTaken():
            unsent = {to: number for to, number in unique.unsent.items() if number > event.up_to.get(to, 0)}
            answered = unique.holder is not None and unique.holder not in unsent
            return replace(unique, unsent=unsent, asked=unique.asked and not answered)
        case ev.KeyUsed():
            keys = with_key(unique.keys, event)
            return replace(unique, keys=dict(list(keys.items())[-MOST_KEYS:]))
        case _:
            return unique


def wakeup(unique: Unique) -> Instant | None:
    """When the holder is to be asked for."""
    return unique.check_at


def decide(unique: Unique, command: msg.Command, context: msg.Context, policy: msg.Policy) -> Decided:
    """Apply the command. Raises a DomainError when it is refused."""
    if (known := replayed(unique, context)) is not None:
        return known
    match command:
        case msg.Reserve():
            events = _reserve(unique, command, context)
        case msg.Wake():
            events = _check(unique, context.now)
        case msg.Hear():
            events = _hear(unique, command, context.now)
        case msg.Taken():
            events = _taken(unique, command, context.now)
        case _:
            raise errors.WrongState("a unique key can only be reserved")
    return folded(unique, events, evolve)


def _reserve(unique: Unique, command: msg.Reserve, context: msg.Context) -> list[ev.Event]:
    now, wanted = context.now, command.unique
    holder, events = unique.held_at(now), list[ev.Event]()
    mine = holder == command.task_id
    unsure = unique.check_at is not None or unique.asked
    if command.patient and wanted.on_conflict == "replace" and holder is not None and not mine and unique.check_at:
        raise errors.BeingMade(f"the task {holder!r}, which has the unique key, is still being made", holder)
    if holder is None or (mine and unsure) or (wanted.on_conflict == "replace" and not mine):
        until = None if wanted.period is None else now + wanted.period
        events.append(ev.UniqueReserved(at=now, task_id=command.task_id, until=until, check_at=now + GRACE))
        if holder is not None and holder != command.task_id:
            step = UniqueTaken(command.task_id)
            events.append(ev.StepsMade(at=now, number=unique.steps + 1, to=(holder,), step=step))
        holder = command.task_id
    if holder != command.task_id and wanted.on_conflict == "reject":
        raise errors.NotUnique(f"the task {holder!r} has the unique key already", holder)
    if (key := context.key) is not None:
        verb = "reserve" if holder == command.task_id else "existing"
        events.append(ev.KeyUsed(at=now, key=key.key, fingerprint=key.fingerprint, verb=verb, task_id=holder))
    return events


def _check(unique: Unique, now: Instant) -> list[ev.Event]:
    if unique.check_at is None or unique.check_at > now or unique.holder is None:
        return []
    return [ev.StepsMade(at=now, number=unique.steps + 1, to=(unique.holder,), step=UniqueCheck())]


def _hear(unique: Unique, command: msg.Hear, now: Instant) -> list[ev.Event]:
    """What tasks say of themselves; what was heard before changes nothing."""
    sender, events = command.sender, list[ev.Event]()
    for told in command.steps:
        if told.number <= unique.heard.get(sender, 0):
            continue
        match told.step:
            case UniqueEnded():
                heard: list[ev.Event] = [ev.UniqueReleased(at=now, task_id=sender, why="ended", number=told.number)]
            case UniqueClaimed(period=period):
                heard = _claim(unique, sender, told.number, period, now)
            case _:
                raise errors.WrongState("a unique key has no use for such a step")
        for event in heard:
            unique = evolve(unique, event)
        events += heard
    return events


def _claim(unique: Unique, sender: str, number: int, period: Millis | None, now: Instant) -> list[ev.Event]:
    """A task was made that says that it holds the key."""
    holder = unique.held_at(now)
    if holder is None or holder == sender:
        until = unique.until if holder is not None else None if period is None else now + period
        return [ev.UniqueReserved(at=now, task_id=sender, until=until, check_at=None, number=number)]
    return [
        ev.UniqueReleased(at=now, task_id=sender, why="lost", number=number),
        ev.StepsMade(at=now, number=unique.steps + 1, to=(sender,), step=UniqueTaken(holder)),
    ]


def _taken(unique: Unique, command: msg.Taken, now: Instant) -> list[ev.Event]:
    up_to = {to: number for to, number in command.up_to.items() if to in unique.unsent}
    if not up_to:
        return []
    refused = {to: why for to, why in command.refused.items() if to in up_to}
    events: list[ev.Event] = []
    # Before the answer is folded, which ends the asking.
    if unique.asked and unique.holder in refused:
        events.append(ev.UniqueReleased(at=now, task_id=unique.holder, why="absent"))
    return [*events, ev.StepsTaken(at=now, up_to=up_to, refused=refused)]


def _hear_number(unique: Unique, sender: str, number: int | None) -> Unique:
    return unique if number is None else replace(unique, heard=with_heard(unique.heard, sender, number))
