"""Schedules of every kind that there is, in every zone: mostly daily, weekly and rarer ones, a few that fire often."""

from __future__ import annotations

import random
from functools import cache
from importlib import resources

from msgspec.structs import replace

from taskscheduler.domain.excluded import ExceptDays, ExceptTime
from taskscheduler.domain.schedule import AnyOf, Cron, Every, LocalEvery, OneTime, Recurrence, Schedule
from taskscheduler.domain.values import DAY, HOUR, MINUTE, SECOND

START = 1_767_225_600_000
"""1 January 2026"""

RARE = (
    "@yearly",
    "@monthly",
    "0 0 L * *",
    "30 2 L-3 * *",
    "0 9 LW * *",
    "15 1 15W * *",
    "0 12 * * MON#2",
    "30 2 * * SUN#4",
    "0 3 * * 5L",
    "0 9 13 * FRI",
    "0 0 31 * *",
    "0 6 1,15 JAN-JUN/2 ?",
    "0 30 2 ? MAR,OCT SUN 2026-2027",
    "H H H * *",
    "0 0 0 29 2 ? *",
)
WEEKLY = (
    "@weekly",
    "30 2 * * SUN",
    "0 0 * * FRI-MON/3",
    "45 23 ? * MON",
    "0 0 2 * * SAT",
    "H H * * 3",
    "59 59 1 ? * SUN *",
)
DAILY = (
    "@daily",
    "@midnight",
    "0 2 * * *",
    "30 2 * * *",
    "30 1 * * *",
    "H H(0-5) * * *",
    "0 9 * * MON-FRI",
    "15 30 2 * * *",
    "0 0 12 ? * * 2026-2030",
    "0 0 * * FRI-TUE",
)
OFTEN = ("0 */6 * * *", "30 0-3 * * *", "15 22-4/2 * * *", "0 0,12 * * *", "40/10 2 * * *", "H H/8 * * *")
HOURLY = ("@hourly", "0 * * * *", "H * * * *", "30 0 * * * *")
MINUTELY = ("* * * * *", "*/5 * * * *", "10-50/20 * * * *")

TIMES = ((0.22, "once"), (0.47, "rare"), (0.78, "weekly"), (0.975, "daily"), (0.995, "often"), (0.998, "hourly"))
"""Up to which share of all tasks each kind goes; beyond the last, minutes and seconds, for a few days or hours."""


@cache
def zones() -> tuple[str, ...]:
    """All zones of the pinned time zone data."""
    return tuple(sorted((resources.files("tzdata") / "zones").read_text().split()))


def schedule(chance: random.Random, now: int, zone: str) -> Schedule:
    """A schedule for a task that gets it at `now`, in `zone` where it goes by one."""
    luck = chance.random()
    kind = next((kind for share, kind in TIMES if luck < share), "bursts")
    match kind:
        case "once":
            return _once(chance, now)
        case "rare":
            made = _either(chance, _cron(chance, RARE, zone), _every(chance, now, 20 * DAY, 90 * DAY))
        case "weekly":
            made = _either(chance, _cron(chance, WEEKLY, zone), _every(chance, now, 5 * DAY, 9 * DAY))
        case "daily":
            made = _either(chance, _cron(chance, DAILY, zone), _every(chance, now, 20 * HOUR, 30 * HOUR))
        case "often":
            made = _either(chance, _cron(chance, OFTEN, zone), _every(chance, now, 3 * HOUR, 9 * HOUR))
        case "hourly":
            made = _either(chance, _cron(chance, HOURLY, zone), _every(chance, now, 40 * MINUTE, 90 * MINUTE))
        case _:
            return _burst(chance, now, zone)
    return _bounded(chance, made, now)


def _either(chance: random.Random, cron: Cron, every: Every) -> Schedule:
    luck = chance.random()
    if luck < 0.55:
        return cron
    if luck < 0.75:
        return every
    if luck < 0.83:
        # A whole second: the clock of a zone is read in these.
        anchor = START + chance.randrange(40) * DAY + chance.randrange(DAY // SECOND) * SECOND
        days = max(1, every.every // DAY)
        return LocalEvery(timezone=cron.timezone, anchor=anchor, days=days, anchored=True, gap=cron.gap, fold=cron.fold)
    if luck < 0.92:
        frequency = "MONTHLY;BYDAY=2TU,-1FR" if every.every > 9 * DAY else "WEEKLY;BYDAY=MO,SU"
        if every.every < 2 * DAY:
            frequency = "DAILY;INTERVAL=1"
        return Recurrence(f"FREQ={frequency}", cron.timezone, "2026-01-04T02:30:00", gap=cron.gap, fold=cron.fold)
    summer = ExceptDays("2026-07-01", "2026-07-20")
    return AnyOf((cron, every), cron.timezone, excluded=(summer, ExceptTime(START + 90 * DAY, START + 99 * DAY)))


def _once(chance: random.Random, now: int) -> Schedule:
    match chance.randrange(3):
        case 0:
            return OneTime(at=0)
        case 1:
            return OneTime(at=now - HOUR + chance.randrange(60 * DAY), kind="at")
        case _:
            return OneTime(at=0, kind="delay", delay=chance.randrange(20 * DAY))


def _cron(chance: random.Random, expressions: tuple[str, ...], zone: str) -> Cron:
    return Cron(
        chance.choice(expressions),
        zone,
        gap=chance.choice((None, None, "skip", "shift")),
        fold=chance.choice((None, None, "first", "last", "both")),
        days=chance.choice((None, None, None, "and", "or")),
    )


def _every(chance: random.Random, now: int, low: int, high: int) -> Every:
    step = chance.randrange(low, high)
    if chance.random() < 0.3:
        return Every(every=step, anchor=now - chance.randrange(9 * DAY), anchored=True)
    return Every(every=step, anchor=0)


def _burst(chance: random.Random, now: int, zone: str) -> Schedule:
    start = now + chance.randrange(30 * DAY)
    if chance.random() < 0.3:
        made: Schedule = Every(every=chance.choice((SECOND, 7 * SECOND)), anchor=0)
        length = HOUR
    else:
        made, length = _cron(chance, MINUTELY, zone), 2 * DAY
    jitter = chance.choice((0, 0, 500, 30 * SECOND))
    most = chance.choice((None, None, None, 5, 40, 1_000))
    return replace(made, start_at=start, end_at=start + length, jitter=jitter, max_runs=most)


def _bounded(chance: random.Random, made: Schedule, now: int) -> Schedule:
    if chance.random() < 0.15:
        made = replace(made, start_at=now + chance.randrange(40 * DAY))
    if chance.random() < 0.15:
        made = replace(made, end_at=now + 40 * DAY + chance.randrange(400 * DAY))
    if chance.random() < 0.12:
        made = replace(made, max_runs=chance.choice((1, 2, 5, 40)))
    if chance.random() < 0.25:
        made = replace(made, jitter=chance.choice((500, 30 * SECOND, 20 * MINUTE, 3 * HOUR, 40 * HOUR)))
    return made
