"""A limit: the state of the stream `limit/<name>`, and the rules of it. Pure, as those of a task are.

Slots are granted to attempts that are about to be claimed, and released when those have ended. Nothing here looks at
tasks: who asks for a release has seen on the task's stream that the attempt cannot be active any more (see `fate_of`).
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import replace

from taskscheduler.domain import errors
from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.decided import Decided, check_version, folded, key_used, replayed
from taskscheduler.domain.evolve import with_key
from taskscheduler.domain.limit_definition import LIMIT_STREAM, Granted, LimitDefinition, Rate
from taskscheduler.domain.state import Task, UsedKey
from taskscheduler.domain.values import SECOND, Instant

UNCLAIMED_FOR = 30 * SECOND
"""After so long a grant that nobody has claimed with is taken back."""


class Slot(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A grant that is held, since `at`."""

    grant: Granted
    at: Instant


class Limit(msgspec.Struct, frozen=True, gc=False, tag="limit", omit_defaults=True):
    """`Limit(id)` is one that never existed; its id is the name of its stream.

    `own` is what a task asked for last that names the limit itself: it holds where no concurrency is defined.
    `next_start` (microseconds) is when the next attempt would begin if they began evenly: the token bucket in one
    number, which needs no timer (the generic cell rate algorithm, ITU-T I.371).
    `defined` is the version of the decision that gave the definition. `version` counts accepted decisions.
    """

    id: str
    version: int = 0
    recorded_at: Instant = 0
    definition: LimitDefinition | None = None
    defined: int = 0
    created_version: int = 0
    created_at: Instant = 0
    updated_at: Instant = 0
    own: int | None = None
    next_start: int = 0
    slots: dict[str, Slot] = {}
    keys: dict[str, UsedKey] = {}

    @property
    def name(self) -> str:
        """What users call it: `queue:mail`, `tag:team=billing`, `key:customer-42`, `host:example.com`."""
        return self.id.removeprefix(LIMIT_STREAM)

    @property
    def exists(self) -> bool:
        """Defined and not deleted."""
        return self.definition is not None

    @property
    def in_force(self) -> int:
        """The version of the definition that holds, 0 without one."""
        return self.defined if self.exists else 0

    @property
    def rate(self) -> Rate | None:
        """How fast attempts may begin."""
        return None if self.definition is None else self.definition.rate

    def most(self, own: int | None) -> int | None:
        """How many attempts may be active, for a task that itself allows `own`."""
        defined = None if self.definition is None else self.definition.concurrency
        return own if defined is None else defined


def starts_allowed(next_start: int, rate: Rate, now: Instant) -> int:
    """How many attempts may begin now."""
    ahead = max(next_start - now * 1_000, 0)
    return max(0, rate.burst - -(-ahead // rate.gap))


def next_allowed(next_start: int, rate: Rate) -> Instant:
    """From when on one attempt may begin."""
    return -(-(next_start - (rate.burst - 1) * rate.gap) // 1_000)


def _next_start_at(limit: Limit, rate: Rate | None, now: Instant) -> int:
    """The state of another rate from now on, under which as many may begin at once as did before, 0 for the same one.

    What stood for the old rate is a time, and says nothing at another pace: an hour's wait of one that was slow would
    hold up a fast one for an hour.
    """
    old = limit.rate
    if rate is None or rate == old:
        return 0
    full = rate.burst * rate.gap
    if old is None:
        return now * 1_000
    ahead = max(limit.next_start - now * 1_000, 0)
    return now * 1_000 + full - min((old.burst * old.gap - ahead) * rate.gap // old.gap, full)


def fate_of(task: Task, limit: str, grant: Granted) -> Literal["waiting", "active", "over"]:
    """What became of a grant of the limit of this name, by the state of the task.

    It is over when no attempt is active under it, and none can be any more: what could still claim with it was decided
    on an older version of the task, and loses. A task that has not seen the run yet looks the same as one that has
    seen it end: ask only of a state that is as new as the grant.
    """
    run = task.runs.get(grant.run_id)
    if run is None:
        return "over"
    if len(run.attempts) < grant.number:
        return "over" if run.revoked > grant.revoked else "waiting"
    attempt = run.attempts[grant.number - 1]
    return "active" if attempt.outcome is None and attempt.grants.get(limit) == grant.id else "over"


def evolve(limit: Limit, event: ev.Event) -> Limit:
    """The state after `event`. Total; an event of something else changes nothing."""
    match event:
        case ev.SlotsGranted():
            slots = limit.slots
            if event.held:
                slots = slots.copy()
                slots.update((grant.id, Slot(grant, event.at)) for grant in event.grants)
            own = limit.own if event.own is None else event.own
            return replace(limit, slots=slots, own=own, next_start=event.next_start or limit.next_start)
        case ev.SlotsReleased():
            slots = limit.slots.copy()
            for id in event.ids:
                slots.pop(id, None)
            return replace(limit, slots=slots)
        case ev.LimitDefined():
            return replace(
                limit,
                definition=event.definition,
                defined=limit.version + 1,
                created_version=limit.created_version if limit.exists else limit.version + 1,
                created_at=limit.created_at if limit.exists else event.at,
                updated_at=event.at,
                next_start=event.next_start or limit.next_start,
            )
        case ev.LimitDeleted():
            return replace(limit, definition=None, updated_at=event.at, next_start=0)
        case ev.KeyUsed():
            return replace(limit, keys=with_key(limit.keys, event))
        case _:
            return limit


def decide(limit: Limit, command: msg.Command, context: msg.Context, policy: msg.Policy) -> Decided:
    """Apply the command. Raises a DomainError when it is refused. Slots that are not to be had are no refusal."""
    match command:
        case msg.GrantSlots():
            return _grant(limit, command, context.now)
        case msg.ReleaseSlots():
            ids = tuple(id for id in command.ids if id in limit.slots)
            return folded(limit, [ev.SlotsReleased(context.now, ids)] if ids else [], evolve)
    if (known := replayed(limit, context)) is not None:
        return known
    events: list[ev.Event] = []
    match command:
        case msg.DefineLimit():
            check_version("limit", limit.in_force, context)
            if command.definition != limit.definition:
                next_start = _next_start_at(limit, command.definition.rate, context.now)
                events.append(ev.LimitDefined(context.now, command.definition, next_start))
            verb = "replace" if limit.exists else "create"
        case msg.DeleteLimit():
            if not limit.exists:
                raise errors.LimitNotFound(f"there is no limit {limit.name!r}")
            check_version("limit", limit.in_force, context)
            events.append(ev.LimitDeleted(context.now, by=context.actor))
            verb = "delete"
        case _:
            raise errors.WrongState("a limit can only be defined and deleted, and grant and release slots")
    return folded(limit, events + key_used(context, verb), evolve)


def wakeup(limit: Limit) -> Instant | None:
    """A limit never needs attention by itself: tokens are computed, and what is to be released follows from tasks."""
    return None


def _grant(limit: Limit, command: msg.GrantSlots, now: Instant) -> Decided:
    rate, drafted = limit.rate, limit
    granted: list[str] = []
    made: list[tuple[bool, int | None, list[Granted]]] = []
    """In the order in which they were granted, each with whether they are held and what their tasks allow."""
    in_use, starts = len(limit.slots), None if rate is None else starts_allowed(limit.next_start, rate, now)
    for want in command.wants:
        most = limit.most(want.own)
        if want.grant.id in limit.slots:
            granted.append(want.grant.id)
            continue
        if (most is not None and in_use >= most) or starts == 0:
            continue
        granted.append(want.grant.id)
        if starts is not None:
            starts -= 1
        if most is not None:
            in_use += 1
        if most is not None or starts is not None:
            if not made or made[-1][:2] != (most is not None, want.own):
                made.append((most is not None, want.own, []))
            made[-1][2].append(want.grant)
    events: list[ev.Event] = []
    for held, own, grants in made:
        next_start = 0 if rate is None else max(drafted.next_start, now * 1_000) + len(grants) * rate.gap
        events.append(ev.SlotsGranted(now, tuple(grants), own, next_start, held))
        drafted = evolve(drafted, events[-1])
    return Decided(events=tuple(events), state=drafted, granted=tuple(granted))
