"""Random but repeatable commands for a task, chosen by small numbers, so that hypothesis can shrink them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

from msgspec.structs import replace

from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import (
    After,
    CatchUp,
    Definition,
    DefinitionPatch,
    NoopTarget,
    Overlap,
    QueueTarget,
)
from taskscheduler.domain.events import BackfillOverlap, Error, Missed
from taskscheduler.domain.excluded import ExceptCalendar, ExceptCron, ExceptDays, ExceptTime
from taskscheduler.domain.ids import mix
from taskscheduler.domain.retry import Retry
from taskscheduler.domain.schedule import AnyOf, Cron, Every, LocalEvery, Manual, OneTime, Recurrence, Schedule
from taskscheduler.domain.state import Task
from taskscheduler.domain.steps import Link, RunEnded, Told
from taskscheduler.domain.values import DAY, HOUR, MINUTE, SECOND

WAITS = (None, None, None, 0, 1, 20 * SECOND, MINUTE, MINUTE + 1, 3 * MINUTE, 10 * MINUTE, HOUR, 5 * HOUR, 3 * DAY)
"""How long to wait before a move; None is until the task's wakeup, and then to wake it."""
KINDS = 26


class Dice:
    """Choices that follow from one number."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._throws = 0

    def pick(self, count: int) -> int:
        self._throws += 1
        return mix(self._seed, self._throws) % count

    def chance(self, one_in: int) -> bool:
        return self.pick(one_in) == 0


def schedule(dice: Dice, now: int) -> Schedule:
    match dice.pick(15):
        case 0:
            return OneTime(at=0)
        case 13:
            return Manual()
        case 1:
            return OneTime(at=now - HOUR + dice.pick(2 * DAY), kind="at")
        case 2:
            return OneTime(at=0, kind="delay", delay=dice.pick(DAY))
        case 3:
            return Every(every=(25 * SECOND, 10 * MINUTE, HOUR)[dice.pick(3)], anchor=0)
        case 4:
            return Every(every=HOUR + dice.pick(DAY), anchor=now - DAY + dice.pick(2 * DAY), anchored=True)
        case 5:
            return Cron("*/20 * * * *")
        case 6:
            return Cron("30 1-3 * * *", "Europe/Berlin")
        case 7:
            return Cron("H/20 * L,1-31 * ?", "Europe/Berlin", gap="shift", fold="last")
        case 10:
            rule = ("FREQ=DAILY;INTERVAL=2;COUNT=3", "FREQ=MONTHLY;BYDAY=MO,TU;BYSETPOS=-1,2", "FREQ=HOURLY;INTERVAL=5")
            return Recurrence(rule[dice.pick(3)], "Europe/Berlin", "2026-02-25T02:30:00")
        case 8:
            return LocalEvery("Europe/Berlin", 0, days=1 + dice.pick(2))
        case 11:
            out = (ExceptCron("* 3-5 * * *"), ExceptDays("2026-03-29", "2026-03-30"), ExceptTime(now + HOUR, now + DAY))
            return Cron("*/20 * * * *", "Europe/Berlin", excluded=out[: 1 + dice.pick(3)])
        case 12:
            members = (Cron("0 */2 * * *", "Europe/Berlin"), Every(HOUR, 0), OneTime(now + dice.pick(DAY), "at"))
            calendar = ExceptCalendar("c", 1, ("2026-02-28", "2026-03-03/2026-03-05"))
            return AnyOf(members[: 2 + dice.pick(2)], "Europe/Berlin", excluded=(calendar,) if dice.chance(2) else ())
        case 9:
            anchor = (now - 60 * DAY + dice.pick(62 * DAY)) // SECOND * SECOND
            return LocalEvery("Africa/Cairo", anchor, months=1, anchored=True, gap="skip", fold="both")
        case _:
            return Every(every=(25 * SECOND, 2 * MINUTE)[dice.pick(2)], anchor=0)


def bounded(dice: Dice, now: int) -> Schedule:
    """Half of them carry bounds."""
    of = schedule(dice, now)
    if dice.chance(2) or isinstance(of, Manual):
        return of
    jitter = (0, 10 * SECOND, HOUR, 30 * DAY)[dice.pick(4)]
    if isinstance(of, OneTime):
        return replace(of, jitter=jitter)
    return replace(
        of,
        start_at=now + dice.pick(2 * HOUR) if dice.chance(3) else None,
        end_at=now + DAY + dice.pick(5 * DAY) if dice.chance(3) else None,
        max_runs=1 + dice.pick(4) if dice.chance(3) else None,
        jitter=jitter,
        excluded=of.excluded or ((calendar(dice, now),) if dice.chance(3) else ()),
    )


def calendar(dice: Dice, now: int) -> ExceptCalendar:
    """Some of the days around now, as some version of a calendar has them."""
    today = datetime.fromtimestamp(now / 1000, UTC).date()
    days = [today + timedelta(days=number) for number in range(-2, 6) if dice.chance(3)]
    return ExceptCalendar("c", 1 + dice.pick(9), tuple(day.isoformat() for day in days[::2]))


def definition(dice: Dice, now: int) -> Definition:
    policies = ("all", "all", "latest", "none")
    return Definition(
        name="t",
        schedule=bounded(dice, now),
        target=QueueTarget(f"q{dice.pick(2)}", f"k{dice.pick(2)}") if dice.chance(2) else NoopTarget(),
        retry=Retry(
            max_attempts=1 + dice.pick(4),
            initial=dice.pick(3) * 30 * SECOND,
            jitter=(0.0, 0.5, "full", "equal")[dice.pick(4)],  # type: ignore[arg-type]
            max_elapsed=HOUR if dice.chance(4) else None,
            retry_on=("E", "Lost") if dice.chance(4) else (),
        ),
        timeout=(MINUTE, 10 * MINUTE, 10 * HOUR, 3 * DAY)[dice.pick(4)],
        catch_up=CatchUp(
            policies[dice.pick(4)],  # type: ignore[arg-type]
            (0, MINUTE, 5 * MINUTE, HOUR, DAY)[dice.pick(5)],
            (1, 3, 10, 100)[dice.pick(4)],
        ),
        priority=1 + dice.pick(9),
        overlap=get_args(Overlap)[dice.pick(5)],
        pause_on_failure=1 + dice.pick(3) if dice.chance(3) else None,
        queue_timeout=(1, MINUTE, 3 * MINUTE, HOUR)[dice.pick(4)] if dice.chance(3) else None,
        heartbeat_timeout=(SECOND, MINUTE, 2 * HOUR)[dice.pick(3)] if dice.chance(3) else None,
        deadline=(1, 2 * MINUTE, 20 * MINUTE, DAY)[dice.pick(4)] if dice.chance(3) else None,
        then=("u", "v")[: dice.pick(3)],
        on_failure=("u",)[: dice.pick(2)],
        after=After(("x", "y"), ("all", "any")[dice.pick(2)], "end") if dice.chance(3) else None,  # type: ignore[arg-type]
    )


def patch(dice: Dice, now: int) -> DefinitionPatch:
    other = definition(dice, now)
    match dice.pick(5):
        case 0:
            return DefinitionPatch(schedule=other.schedule, then=other.then, after=other.after)
        case 3:
            return DefinitionPatch(pause_on_failure=other.pause_on_failure)
        case 1:
            more = {name: getattr(other, name) for name in ("queue_timeout", "heartbeat_timeout", "deadline")}
            return DefinitionPatch(retry=other.retry, timeout=other.timeout, priority=other.priority, **more)
        case 2:
            return DefinitionPatch(catch_up=other.catch_up, target=other.target)
        case _:
            return DefinitionPatch(name=f"n{dice.pick(2)}")


def replan(dice: Dice, now: int) -> msg.Update:
    """A change of the schedule from an instant on, or that there shall be none."""
    if dice.chance(6):
        return msg.Update(DefinitionPatch(), drop_pending=True)
    ahead = (1, 3 * MINUTE, HOUR, DAY)[dice.pick(4)]
    return msg.Update(DefinitionPatch(schedule=bounded(dice, now)), now + ahead - dice.pick(2) * dice.pick(MINUTE))


def backfill(dice: Dice, now: int) -> msg.Backfill:
    """What it asks for is mostly not much."""
    until = now - dice.pick(3) * dice.pick(DAY)
    span = (10 * MINUTE, 2 * HOUR, 2 * HOUR, DAY)[dice.pick(4)]
    return msg.Backfill(until - dice.pick(span), until + dice.pick(2), get_args(BackfillOverlap)[dice.pick(2)])


def hear(dice: Dice, task: Task, now: int) -> msg.Hear:
    """Steps of some other task, of which the first may have been heard before."""
    sender = ("w", "x", "y")[dice.pick(3)]
    last = max(1, task.heard.get(sender, 0))
    ends = (
        Link(()),
        Link(("after_end",)),
        RunEnded("r", "succeeded", now, True),
        RunEnded("r", "failed", now, depth=99),
    )
    return msg.Hear(sender, tuple(Told(last + number, ends[dice.pick(4)], '"r"') for number in range(1 + dice.pick(2))))


def command(kind: int, dice: Dice, task: Task, now: int) -> msg.Command:
    """One of KINDS kinds of command; those about attempts name one that is there, when one is."""
    runs = list(task.runs.values())
    run = runs[dice.pick(len(runs))] if runs else task.last_finished
    run_id = run.id if run is not None else "none"
    attempt = run.attempts[-1 - dice.pick(len(run.attempts))] if run is not None and run.attempts else None
    number, token = (attempt.number, attempt.token_hash) if attempt is not None else (1, "none")
    match kind % KINDS:
        case 0 | 1:
            return msg.Wake()
        case 2 | 3 | 9:
            return msg.Claim(run_id, "w", f"t{dice.pick(1 << 30)}", (SECOND, MINUTE, HOUR, 10 * HOUR)[dice.pick(4)])
        case 4 | 5:
            return msg.Complete(run_id, number, token)
        case 6 | 7:
            retry_after = dice.pick(HOUR) if dice.chance(4) else None
            return msg.Fail(run_id, number, token, Error("E", "why"), not dice.chance(4), retry_after)
        case 8 if dice.chance(3):
            return msg.Revoke(run_id, number + dice.pick(2), dice.pick(2))
        case 8:
            return msg.Renew(run_id, number, token)
        case 10:
            return msg.Update(patch(dice, now))
        case 11:
            return msg.Pause("p")
        case 12:
            return msg.Resume(missed=get_args(Missed)[dice.pick(3)])
        case 13:
            return msg.Trigger()
        case 14:
            return msg.Retry()
        case 15:
            return (msg.Lose, msg.Release)[dice.pick(2)](run_id, number, token)
        case 16:
            return backfill(dice, now)
        case 17:
            known = list(task.backfills)
            return msg.CancelBackfill(known[dice.pick(len(known))] if known else "none")
        case 18:
            return msg.PurgeOwed()
        case 19:
            return replan(dice, now)
        case 20:
            return msg.Follow(calendar(dice, now))
        case 21:
            return msg.Retry(run_id)
        case 22:
            return hear(dice, task, now)
        case 23:
            return msg.Taken({name: number - dice.pick(2) for name, number in task.unsent.items()})
        case 24:
            return msg.PurgeDeadLetter(run_id, now, "E")
        case _ if dice.chance(8):
            return msg.Cancel()
        case _ if dice.chance(8):
            return msg.Delete()
        case _:
            return msg.Create(definition(dice, now))
