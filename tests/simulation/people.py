"""Who uses the scheduler in the simulated months: owners of tasks, and workers of every kind."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from taskscheduler.domain import messages as msg
from taskscheduler.domain.decide import Decided
from taskscheduler.domain.definition import DefinitionPatch
from taskscheduler.domain.errors import DomainError
from taskscheduler.domain.events import Error
from taskscheduler.domain.schedule import Cron, Every
from taskscheduler.domain.state import Task
from taskscheduler.domain.values import DAY, HOUR, MINUTE, SECOND
from tests.simulation import wishes
from tests.simulation.decider import Ask, Decider

if TYPE_CHECKING:
    from tests.simulation.months import Life, Months

BETWEEN_COMMANDS = 10 * MINUTE
"""The mean time between commands of all users together, where there are 2,000 tasks."""


def settle_in(months: Months) -> None:
    """Let everybody begin: tasks are created throughout the first half."""
    months.live(_creates(months))
    months.live(_uses(months))


def _creates(months: Months) -> Life:
    gap = (months.end - months.now) / 2 / len(months.names)
    for name in months.names:
        yield int(months.chance.expovariate(1 / gap))
        months.live(_asks(months, name, msg.Create(wishes.definition(months.chance, months.now))))


def _uses(months: Months) -> Life:
    gap = BETWEEN_COMMANDS * 2_000 / len(months.names)
    while months.now < months.end:
        yield int(months.chance.expovariate(1 / gap))
        name = months.chance.choice(months.names)
        command = _command(months.chance, months.audit.state(name), months.now)
        if command is not None:
            months.live(_asks(months, name, command))
            if isinstance(command, msg.Backfill):
                months.at(
                    months.now + months.chance.randrange(3 * HOUR), months.live, _thinks_better_of_it(months, name)
                )
            if months.chance.random() < 0.05:
                # Two at once, by two people.
                months.live(_asks(months, name, msg.Trigger()))


def _thinks_better_of_it(months: Months, name: str) -> Life:
    """Mostly, what was asked for is wanted, or is made already."""
    backfills = months.audit.state(name).backfills
    if backfills and months.chance.random() < 0.5:
        yield from _asks(months, name, msg.CancelBackfill(months.chance.choice(list(backfills))))


def tidies_up(months: Months) -> Life:
    """After an outage some change their minds about what is to be caught up, while it is."""
    yield 6 * SECOND
    behind = [name for name in months.names if months.audit.state(name).backlog is not None]
    for name in behind:
        months.at(months.now + months.chance.randrange(MINUTE), months.live, _reconsiders(months, name))


def _reconsiders(months: Months, name: str) -> Life:
    task = months.audit.state(name)
    if task.exists:
        update = wishes.update(months.chance, months.now, task)
        commands = (
            update,
            update,
            msg.Cancel(),
            msg.Delete(),
            msg.Pause(),
            msg.Trigger(),
            msg.PurgeOwed(),
            msg.PurgeOwed(),
        )
        yield from _asks(months, name, months.chance.choice(commands))


def _command(chance: random.Random, task: Task, now: int) -> msg.Command | None:
    """What somebody might want, now that the task is as it is."""
    if task.definition is None:
        return msg.Create(wishes.definition(chance, now)) if task.version else None
    luck = chance.random()
    if task.runs and luck < 0.2:
        return msg.Cancel() if luck < 0.1 else msg.Delete()
    if task.deleted_at is not None:
        return msg.Create(wishes.definition(chance, now)) if luck < 0.1 else None
    if task.cancelled_at is not None:
        return msg.Delete() if luck < 0.5 else msg.Pause()
    if task.pause is not None and luck < 0.6:
        return wishes.resume(chance)
    if any(backfill.status == "running" for backfill in task.backfills.values()) and luck < 0.3:
        return msg.CancelBackfill(chance.choice(list(task.backfills)))
    if task.backlog is not None and luck < 0.4:
        return msg.PurgeOwed()
    if task.status == "failed" and luck < 0.7:
        return msg.Retry()
    if task.status in ("completed", "failed") and luck < 0.8:
        return msg.Update(DefinitionPatch(schedule=wishes.schedule(chance, now)))
    if luck < (0.3 if isinstance(task.definition.schedule, Every | Cron) else 0.02):
        return wishes.backfill(chance, now)
    if luck < 0.63:
        return wishes.update(chance, now, task)
    if luck < 0.72:
        return msg.Trigger()
    if luck < 0.87:
        return msg.Pause("p")
    if luck < 0.93:
        return msg.Retry()
    if luck < 0.96:
        return chance.choice((msg.Resume(), msg.PurgeOwed(), msg.CancelBackfill("none")))
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
    """A run can be claimed: mostly one takes it soon, sometimes two race, sometimes all are busy.

    Where an overlap is not just skipped, there shall be some.
    """
    luck = months.chance.random()
    soon = 0.97 if task.definition is None or task.definition.overlap == "skip" else 0.8
    wait = months.chance.randrange(20 * SECOND if luck < soon else 5 * HOUR)
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
