"""Who uses the scheduler in the simulated months: owners of tasks, and workers of every kind."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from taskscheduler.domain import messages as msg
from taskscheduler.domain.decide import Decided
from taskscheduler.domain.definition import CatchUp, Definition, DefinitionPatch, NoopTarget, QueueTarget, Target
from taskscheduler.domain.errors import DomainError
from taskscheduler.domain.events import Error
from taskscheduler.domain.retry import Retry
from taskscheduler.domain.schedule import Cron, Every, OneTime, Schedule
from taskscheduler.domain.state import Task
from taskscheduler.domain.values import DAY, HOUR, MINUTE, SECOND
from tests.simulation.decider import Ask, Decider
from tests.simulation.nominal import ZONES

if TYPE_CHECKING:
    from tests.simulation.months import Life, Months

BETWEEN_COMMANDS = 10 * MINUTE
"""The mean time between commands of all users together, where there are 2,000 tasks."""


def settle_in(months: Months) -> None:
    """Let everybody begin: tasks are created throughout the first half."""
    months.live(_creates(months))
    months.live(_uses(months))


def schedule(chance: random.Random, now: int) -> Schedule:
    """Few tasks fire often, many once."""
    zone = chance.choice(ZONES)
    often = chance.random()
    if often < 0.001:
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
    )


def _update(chance: random.Random, now: int, task: Task) -> msg.Update:
    assert task.definition is not None
    match chance.randrange(5):
        case 0 | 1:
            patch = DefinitionPatch(schedule=schedule(chance, now))
        case 2:
            patch = DefinitionPatch(retry=retry(chance), timeout=chance.choice((MINUTE, HOUR)))
        case 3:
            patch = DefinitionPatch(catch_up=catch_up(chance), target=target(chance), schedule=task.definition.schedule)
        case _:
            patch = DefinitionPatch(name=f"n{chance.randrange(2)}")
    return msg.Update(patch)


def _creates(months: Months) -> Life:
    gap = (months.end - months.now) / 2 / len(months.names)
    for name in months.names:
        yield int(months.chance.expovariate(1 / gap))
        months.live(_asks(months, name, msg.Create(definition(months.chance, months.now))))


def _uses(months: Months) -> Life:
    gap = BETWEEN_COMMANDS * 2_000 / len(months.names)
    while months.now < months.end:
        yield int(months.chance.expovariate(1 / gap))
        name = months.chance.choice(months.names)
        command = _command(months.chance, months.audit.state(name), months.now)
        if command is not None:
            months.live(_asks(months, name, command))
            if months.chance.random() < 0.05:
                # Two at once, by two people.
                months.live(_asks(months, name, msg.Trigger()))


def tidies_up(months: Months) -> Life:
    """After an outage some change their minds about what is to be caught up, while it is."""
    yield 6 * SECOND
    behind = [name for name in months.names if months.audit.state(name).backlog is not None]
    for name in behind:
        months.at(months.now + months.chance.randrange(MINUTE), months.live, _reconsiders(months, name))


def _reconsiders(months: Months, name: str) -> Life:
    task = months.audit.state(name)
    if task.exists:
        update = _update(months.chance, months.now, task)
        commands = (update, update, msg.Cancel(), msg.Delete(), msg.Pause(), msg.Trigger())
        yield from _asks(months, name, months.chance.choice(commands))


def _command(chance: random.Random, task: Task, now: int) -> msg.Command | None:
    """What somebody might want, now that the task is as it is."""
    if task.definition is None:
        return msg.Create(definition(chance, now)) if task.version else None
    luck = chance.random()
    if task.runs and luck < 0.2:
        return msg.Cancel() if luck < 0.1 else msg.Delete()
    if task.deleted_at is not None:
        return msg.Create(definition(chance, now)) if luck < 0.1 else None
    if task.cancelled_at is not None:
        return msg.Delete() if luck < 0.5 else msg.Pause()
    if task.pause is not None and luck < 0.6:
        return msg.Resume()
    if task.status == "failed" and luck < 0.7:
        return msg.Retry()
    if task.status in ("completed", "failed") and luck < 0.8:
        return msg.Update(DefinitionPatch(schedule=schedule(chance, now)))
    if luck < 0.63:
        return _update(chance, now, task)
    if luck < 0.72:
        return msg.Trigger()
    if luck < 0.87:
        return msg.Pause("p")
    if luck < 0.93:
        return msg.Retry()
    if luck < 0.96:
        return msg.Resume()
    return msg.Cancel() if luck < 0.985 else msg.Delete()


def _asks(months: Months, name: str, command: msg.Command) -> Life:
    """Somebody asks until there is an answer, always under the same key, but not for ever."""
    key = msg.Key(f"k{months.chance.getrandbits(60):x}", "b")
    began, wait = months.now, SECOND
    while months.now - began < DAY:
        answer = yield Ask(name, command, key)
        if answer is None:
            months.counts["asked again"] += 1
            wait = months.chance.randrange(wait, 3 * wait)
            yield wait
            continue
        if isinstance(answer, Decided):
            months.counts[type(command).__name__] += 1
            if months.chance.random() < 0.02:
                again = yield Ask(name, command, key)
                assert again is None or (isinstance(again, Decided) and again.replayed is not None), (
                    f"{again} to a repeat"
                )
        return


def offer(months: Months, task: Task, run_id: str) -> None:
    """A run can be claimed: mostly one takes it soon, sometimes two race, sometimes all are busy."""
    luck = months.chance.random()
    wait = months.chance.randrange(20 * SECOND if luck < 0.97 else 5 * HOUR)
    months.at(months.now + wait, months.live, _claims(months, task.id, run_id))
    if luck < 0.1:
        months.at(months.now + wait, months.live, _claims(months, task.id, run_id))


def _claims(months: Months, task_id: str, run_id: str) -> Life:
    chance = months.chance
    token = f"{chance.getrandbits(60):x}"
    lease = chance.choice((10 * SECOND, 30 * SECOND, 10 * MINUTE))
    claim = msg.Claim(run_id, f"w{chance.randrange(20)}", token, lease)
    for _ in range(10):
        answer = yield Ask(task_id, claim)
        if answer is not None:
            break
        yield months.until_up()
    if not isinstance(answer, Decided):
        return
    number = answer.task.runs[run_id].attempts[-1].number
    assert answer.lease_until is not None
    held = months.audit.account(task_id).attempts.active[run_id]
    assert (held.token, held.lease_until) == (token, answer.lease_until), "the claim that was given is not on the log"
    yield from _works(months, task_id, run_id, number, token, lease)


def _works(months: Months, task_id: str, run_id: str, number: int, token: str, lease: int) -> Life:
    chance = months.chance
    luck = chance.random()
    if luck < 0.02:
        return  # It dies.
    if luck < 0.04:
        yield 2 * lease  # It sleeps for too long.
    elif luck < 0.08:
        for _ in range(chance.randrange(1, 12)):
            yield lease // 3
            beat = yield Ask(task_id, msg.Renew(run_id, number, token))
            if isinstance(beat, DomainError) or (beat is not None and beat.cancel_requested):
                return
    else:
        yield chance.choice((10, 200, SECOND, 8 * SECOND))
    report: msg.Command = msg.Complete(run_id, number, token, "1")
    if chance.random() < 0.1:
        retry_after = chance.choice((None, None, 10 * MINUTE))
        report = msg.Fail(run_id, number, token, Error("E", "why"), chance.random() < 0.8, retry_after)
    for _ in range(3):
        answer = yield Ask(task_id, report)
        if answer is None:
            yield chance.randrange(10 * SECOND)
        elif chance.random() < 0.98:
            return


def lost_with(months: Months, decider: Decider) -> None:
    """A decider starts again: what its own workers held is lost."""
    for task_id, account in months.audit.accounts.items():
        for run_id, held in account.attempts.active.items():
            if held.status == "running" and months.chance.random() < 0.2:
                months.at(months.now, months.ask, Ask(task_id, msg.Lose(run_id, held.number, held.token)))
