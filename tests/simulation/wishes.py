"""What people ask of a task in the simulated months: what it is, when it runs, and what they think better of."""

from __future__ import annotations

import random

from msgspec.structs import replace

from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import (
    CatchUp,
    Definition,
    DefinitionPatch,
    NoopTarget,
    Overlap,
    QueueTarget,
    Target,
)
from taskscheduler.domain.events import BackfillOverlap
from taskscheduler.domain.retry import Retry
from taskscheduler.domain.schedule import Cron, Every, OneTime, Schedule
from taskscheduler.domain.state import Task
from taskscheduler.domain.values import DAY, HOUR, MINUTE, SECOND
from tests.simulation.nominal import ZONES

OVERLAPS: tuple[Overlap, ...] = ("skip", "skip", "buffer_one", "buffer_all", "cancel_other", "allow_all")
BACKFILL_OVERLAPS: tuple[BackfillOverlap, ...] = ("buffer_all", "allow_all")


def schedule(chance: random.Random, now: int) -> Schedule:
    """Some of them bounded."""
    of = _named(chance, now)
    if chance.random() < 0.7:
        return of
    jitter = chance.choice((0, 10 * SECOND, HOUR, 3 * DAY))
    if isinstance(of, OneTime):
        return replace(of, jitter=min(jitter, HOUR))
    return replace(
        of,
        jitter=jitter,
        start_at=now + chance.randrange(3 * DAY) if chance.random() < 0.3 else None,
        end_at=now + 40 * DAY + chance.randrange(20 * DAY) if chance.random() < 0.3 else None,
        max_runs=chance.choice((1, 2, 5, 20)) if chance.random() < 0.3 else None,
    )


def _named(chance: random.Random, now: int) -> Schedule:
    """Few tasks fire often, many once."""
    zone = chance.choice(ZONES)
    often = chance.random()
    if often < 0.0015:
        return chance.choice([Cron("0 * * * *", zone), Every(every=40 * MINUTE, anchor=0)])
    if often < 0.013:
        return chance.choice([Cron("45 */6 * * *", zone), Every(every=chance.randrange(4, 9) * HOUR, anchor=0)])
    if often < 0.045:
        daily = ("45 1 * * *", "30 2 * * *", "0 9 * * MON-FRI", "30 1-3 * * *")
        some_day = now - 3 * DAY + chance.randrange(6 * DAY)
        return chance.choice([Cron(chance.choice(daily), zone), Every(DAY + chance.randrange(HOUR), some_day, True)])
    if often < 0.3:
        weekly = ("15 2 * * SUN", "30 */12 * * SAT,SUN", "0 6 1,15 * *")
        return chance.choice([Cron(chance.choice(weekly), zone), Every(every=7 * DAY, anchor=0)])
    match chance.randrange(3):
        case 0:
            return OneTime(at=0)
        case 1:
            return OneTime(at=now - HOUR + chance.randrange(30 * DAY), kind="at")
        case _:
            return OneTime(at=0, kind="delay", delay=chance.randrange(10 * DAY))


def target(chance: random.Random) -> Target:
    return QueueTarget(f"q{chance.randrange(2)}", "k") if chance.random() < 0.5 else NoopTarget()


def retry(chance: random.Random) -> Retry:
    return Retry(
        max_attempts=chance.choice((1, 3, 3, 6)),
        backoff=chance.choice(("exponential", "linear", "fixed")),
        initial=chance.choice((0, SECOND, MINUTE, HOUR)),
        jitter=chance.choice((0.0, 0.1, 1.0)),
        max_elapsed=chance.choice((None, None, 2 * HOUR)),
    )


def catch_up(chance: random.Random) -> CatchUp:
    window = chance.choice((0, HOUR, DAY, 3 * DAY, 7 * DAY))
    return CatchUp(chance.choice(("all", "all", "latest", "none")), window, chance.choice((1, 3, 10, 100)))


def definition(chance: random.Random, now: int) -> Definition:
    return Definition(
        name="t",
        schedule=schedule(chance, now),
        target=target(chance),
        retry=retry(chance),
        timeout=chance.choice((30 * SECOND, 5 * MINUTE, HOUR, DAY)),
        catch_up=catch_up(chance),
        priority=chance.randrange(1, 10),
        overlap=chance.choice(OVERLAPS),
        pause_on_failure=chance.choice((None, None, 1, 3)),
        queue_timeout=chance.choice((None, None, None, 10 * MINUTE, DAY)),
        heartbeat_timeout=chance.choice((None, None, 20 * SECOND)),
        deadline=chance.choice((None, None, None, 20 * MINUTE, DAY)),
    )


def update(chance: random.Random, now: int, task: Task) -> msg.Update:
    """A change of the definition: now, or of the schedule from some day on."""
    assert task.definition is not None
    if chance.random() < 0.15:
        return replan(chance, now)
    match chance.randrange(6):
        case 0 | 1:
            patch = DefinitionPatch(schedule=schedule(chance, now))
        case 5:
            patch = DefinitionPatch(overlap=chance.choice(OVERLAPS), pause_on_failure=chance.choice((None, 1, 2)))
        case 2:
            patch = DefinitionPatch(retry=retry(chance), timeout=chance.choice((MINUTE, HOUR)))
        case 3:
            patch = DefinitionPatch(catch_up=catch_up(chance), target=target(chance), schedule=task.definition.schedule)
        case _:
            patch = DefinitionPatch(name=f"n{chance.randrange(2)}")
    return msg.Update(patch)


def replan(chance: random.Random, now: int) -> msg.Update:
    """A change of the schedule from some day on, or that there shall be none."""
    if chance.random() < 0.1:
        return msg.Update(DefinitionPatch(), drop_pending=True)
    then = now + chance.choice((MINUTE, HOUR, DAY, 5 * DAY)) + chance.randrange(MINUTE)
    new = schedule(chance, then)
    while isinstance(new, OneTime) and new.kind == "at":
        new = schedule(chance, then)
    return msg.Update(DefinitionPatch(schedule=new), effective_from=then)


def resume(chance: random.Random) -> msg.Resume:
    return msg.Resume(missed=chance.choice(("skip", "latest", "all")))


def backfill(chance: random.Random, now: int) -> msg.Backfill:
    """For some of the last days."""
    until = now - SECOND - chance.choice((0, chance.randrange(2 * DAY)))
    return msg.Backfill(until - chance.choice((6 * HOUR, DAY, 7 * DAY)), until, chance.choice(BACKFILL_OVERLAPS))
