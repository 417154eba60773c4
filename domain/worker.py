"""A worker: the state of the stream `worker/<name>`, and the rules of it. What is seen of a worker is what it says."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from taskscheduler.domain import errors
from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.decided import Decided, folded, key_used, replayed
from taskscheduler.domain.evolve import with_key
from taskscheduler.domain.state import UsedKey
from taskscheduler.domain.values import DAY, SECOND, Instant
from taskscheduler.domain.worker_info import WorkerInfo

WORKER_STREAM = "worker/"

SEEN_EVERY = 25 * SECOND
"""The log hears of a worker no more often while nothing changes but how much it runs."""

GONE_AFTER = 90 * SECOND
"""A worker that was not heard of for so long is taken to be gone."""

FORGOTTEN_AFTER = DAY

WorkerStatus: TypeAlias = Literal["online", "draining", "gone"]


class Worker(msgspec.Struct, frozen=True, gc=False, tag="worker", omit_defaults=True):
    """`Worker(id)` is one that never was, or is forgotten; its id is the name of its stream.

    `info` is what it said when it was `seen_at` last, `running` how many runs it then had. It is to drain since
    `drain_at`, and said goodbye at `left_at`. At `forget_at` nothing of it is kept but the version of its stream.
    """

    id: str
    version: int = 0
    recorded_at: Instant = 0
    info: WorkerInfo | None = None
    running: int = 0
    first_seen_at: Instant = 0
    seen_at: Instant = 0
    drain_at: Instant | None = None
    left_at: Instant | None = None
    forget_at: Instant | None = None
    keys: dict[str, UsedKey] = {}

    @property
    def name(self) -> str:
        """What it calls itself."""
        return self.id.removeprefix(WORKER_STREAM)

    @property
    def exists(self) -> bool:
        """Whether it was seen and is not forgotten."""
        return self.info is not None

    @property
    def draining(self) -> bool:
        """Whether it was asked to take no more work and end."""
        return self.drain_at is not None and self.left_at is None


def worker_id(name: str) -> str:
    """The id under which the state of a worker is kept."""
    return WORKER_STREAM + name


def status_of(now: Instant, seen_at: Instant, drain_at: Instant | None, left_at: Instant | None) -> WorkerStatus:
    """How a worker is at an instant, as far as was heard of it."""
    if left_at is not None or now - seen_at > GONE_AFTER:
        return "gone"
    return "online" if drain_at is None else "draining"


def evolve(worker: Worker, event: ev.Event) -> Worker:
    """The state after `event`. Total; an event of something else changes nothing."""
    match event:
        case ev.WorkerSeen():
            # Another process under the same name is none that was asked to drain.
            same = worker.info is not None and worker.left_at is None and worker.info.instance == event.info.instance
            return replace(
                worker,
                info=event.info,
                running=event.running,
                first_seen_at=worker.first_seen_at if same else event.at,
                seen_at=event.at,
                drain_at=worker.drain_at if same else None,
                left_at=None,
                forget_at=event.forget_at,
            )
        case ev.WorkerDrainRequested():
            return replace(worker, drain_at=event.at)
        case ev.WorkerLeft():
            return replace(worker, left_at=event.at, seen_at=event.at, running=0, forget_at=event.forget_at)
        case ev.KeyUsed():
            return replace(worker, keys=with_key(worker.keys, event))
        case ev.WorkerForgotten():
            return Worker(worker.id, worker.version, worker.recorded_at)
        case _:
            return worker


def decide(worker: Worker, command: msg.Command, context: msg.Context, policy: msg.Policy) -> Decided:
    """Apply the command. Raises a DomainError when it is refused. What is known already is not written again."""
    if isinstance(command, msg.Drain) and (known := replayed(worker, context)) is not None:
        return known
    now = context.now
    events: list[ev.Event] = []
    if worker.forget_at is not None and worker.forget_at <= now:
        events.append(ev.WorkerForgotten(now))
        worker = evolve(worker, events[-1])
    match command:
        case msg.Wake():
            pass
        case msg.Announce():
            if _is_news(worker, command, now):
                events.append(ev.WorkerSeen(now, command.info, command.running, now + FORGOTTEN_AFTER))
        case msg.Drain():
            if not worker.exists:
                raise errors.WorkerNotFound(f"there is no worker {worker.name!r}")
            if worker.left_at is not None:
                raise errors.WrongState(f"the worker {worker.name!r} has left already")
            if worker.drain_at is None:
                events.append(ev.WorkerDrainRequested(now, by=context.actor))
            # Whatever else is said of a worker is the same however often it is said.
            events += key_used(context, "drain")
        case msg.Leave():
            same = worker.info is not None and worker.info.instance == command.instance
            if same and worker.left_at is None:
                events.append(ev.WorkerLeft(now, now + FORGOTTEN_AFTER))
        case _:
            raise errors.WrongState("a worker can only be seen, drained and leave")
    return folded(worker, events, evolve)


def wakeup(worker: Worker) -> Instant | None:
    """When it is to be forgotten."""
    return worker.forget_at


def _is_news(worker: Worker, command: msg.Announce, now: Instant) -> bool:
    return worker.info != command.info or worker.left_at is not None or now - worker.seen_at >= SEEN_EVERY
