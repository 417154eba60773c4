"""Every time zone, 2000 to 2037, with hundreds of expressions: what always holds, and what croniter and cronsim say.

The same seed each time, so that a failure comes back. Where the others mean something else, they are not asked:

- croniter, across a clock change: it goes by rules of its own there, and repeats or loses fires.
- cronsim, where the minute or hour begins with `*`: at changes by half an hour or at midnight it fires at times that do
  not match, misses some, or never returns.
- cronsim, from within a repeated hour: its first fires lie in the past.
- cronsim, a fire after a gap: it comes once for every time inside the gap. Here it comes once.
- both, a step through Sunday as 7: each reads it in a way of its own.
- both, `dst`, `W`, `L-3` and `H`: they do not have them.
"""

from __future__ import annotations

import random
import zoneinfo
from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from croniter import croniter
from cronsim import CronSim

from taskscheduler.domain.cron import InvalidCron, compile_cron, load_zone
from taskscheduler.domain.cron_hash import resolve_hash
from taskscheduler.domain.cron_parse import Fields, parse
from taskscheduler.domain.on_clock import Fold, Gap, OnClock
from taskscheduler.domain.zones import offsets

SEED = 2037
BEGIN = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp())
END = int(datetime(2037, 12, 31, tzinfo=UTC).timestamp())
DAY = 86_400
NAMES = sorted(zoneinfo.available_timezones())
SHARES = [NAMES[share::4] for share in range(4)]
GAPS: list[Gap | None] = [None, "skip", "shift"]
FOLDS: list[Fold | None] = [None, "first", "last", "both"]


def expressions(count: int, chance: random.Random, *, plain: bool) -> list[str]:
    """Expressions that fire at least once a year; plain ones mean the same in croniter and cronsim."""

    def one(low: int, high: int) -> str:
        first, last = sorted(chance.sample(range(low, high + 1), 2))
        kinds = [str(first), f"{first}-{last}", f"{first},{last}", f"{first}-{last}/{chance.randint(2, 5)}"]
        return chance.choice(kinds)

    found = []
    while len(found) < count:
        minute = chance.choice(["0", "30", "*", "*/5", "*/15", "*/20", "0-59/7", one(0, 59), one(0, 59)])
        hour = chance.choice(["*", "*/2", "*/3", "0", "1", "2", "3", "23", "0-3", one(0, 23), one(0, 23)])
        days = ["*", "*", "*", "1", "*/2", one(1, 28)]
        weekdays = ["*", "*", "*", "MON-FRI", "SUN", "1-5", one(0, 6)]
        if not plain:
            minute = chance.choice([minute, "50-10/5", "H", "H/20"])
            hour = chance.choice([hour, "22-4", "H(0-5)"])
            days += ["L", "LW", "L-2", "1W", "15W", "28-3", "?", "1,L"]
            weekdays += ["5L", "MON#2", "FRI-MON", "SUN#1,WEDL", "?"]
        fields = [
            minute,
            hour,
            chance.choice(days),
            chance.choice(["*", "*", "*", one(1, 12)]),
            chance.choice(weekdays),
        ]
        found.append(" ".join(fields))
    return found


EXPRESSIONS = expressions(400, random.Random(SEED), plain=False)
PLAIN = expressions(300, random.Random(SEED + 1), plain=True)


def change_near(name: str, chance: random.Random) -> tuple[int, int, int] | None:
    """A change of offset in a random year or the one before: the instant, the offset before and after."""
    zone, until = offsets(name), chance.randrange(BEGIN + 366 * DAY, END)
    at, found = until - 366 * DAY, []
    while at < until:
        start, end, offset, before = zone.segment(at)
        if before != offset and start >= at:
            found.append((start, before, offset))
        at = end
    return chance.choice(found) if found else None


def is_day(fields: Fields, day: date) -> bool:
    days, last = fields.days, monthrange(day.year, day.month)[1]
    weekdays = [other for other in range(1, last + 1) if date(day.year, day.month, other).weekday() < 5]
    near = {
        weekdays[-1] if wanted == 0 else min(weekdays, key=lambda other, wanted=wanted: abs(other - wanted))
        for wanted in days.near
        if wanted <= last
    }
    by_month = day.day in days.of_month or last - day.day in days.before_last or day.day in near
    sunday_first, nth = day.isoweekday() % 7, (day.day + 6) // 7
    by_week = (
        sunday_first in days.of_week
        or (sunday_first in days.last_of_week and day.day > last - 7)
        or (sunday_first, nth) in days.nth_of_week
    )
    return day.month in fields.months and (by_month or by_week if days.either else by_month and by_week)


def is_match(fields: Fields, local: datetime) -> bool:
    in_day = local.minute in fields.minutes and local.hour in fields.hours and local.second in fields.seconds
    return in_day and is_day(fields, local.date())


def check_fire(cron: OnClock, fields: Fields, info: zoneinfo.ZoneInfo, fire: int) -> None:
    """That a fire time (epoch seconds) is a matching local time, or stands for some that a gap swallowed."""
    local = datetime.fromtimestamp(fire, info).replace(tzinfo=None)
    comings = {int(local.replace(tzinfo=info, fold=fold).timestamp()) for fold in (0, 1)}
    if is_match(fields, local):
        allowed = {"first": {min(comings)}, "last": {max(comings)}, "both": comings}[cron.fold]
        assert fire in allowed
        return
    assert cron.gap == "shift"
    before = datetime.fromtimestamp(fire - 1, info).replace(tzinfo=None) + timedelta(seconds=1)
    assert before < local, "no clock went forward"
    minutes = (local - before) // timedelta(minutes=1)
    assert any(is_match(fields, before + timedelta(minutes=minute)) for minute in range(minutes))


def compiled(expression: str, seed: str, gap: Gap | None, fold: Fold | None) -> tuple[OnClock, Fields] | None:
    text = resolve_hash(expression, seed)
    try:
        return compile_cron(text, gap, fold), parse(text)
    except InvalidCron as refusal:
        if "never fires" not in str(refusal):
            raise
        return None


@pytest.mark.parametrize("share", range(4))
def test_what_always_holds(share: int) -> None:
    """Fire times exist, are chosen as asked, come in order, once each, and the same forwards, backwards and counted."""
    walks = 0
    for name in SHARES[share]:
        chance, info = random.Random(f"{SEED} {name}"), load_zone(name)
        for number in range(8):
            change = change_near(name, chance) if number % 2 else None
            start = chance.randrange(BEGIN, END) if change is None else change[0] - chance.randrange(-DAY // 4, 2 * DAY)
            made = compiled(chance.choice(EXPRESSIONS), name, chance.choice(GAPS), chance.choice(FOLDS))
            if made is None:
                continue
            cron, fields = made
            found = [start * 1000]
            for _ in range(10):
                fire = cron.next_after(found[-1], name)
                assert fire is not None
                assert fire > found[-1]
                check_fire(cron, fields, info, fire // 1000)
                found.append(fire)
            for earlier, later in pairwise(found[1:]):
                assert cron.prev_before(later, name) == earlier
                assert cron.next_after((earlier + later) // 2, name) == later
            assert cron.count(found[0] + 1, found[-1], name) == len(found) - 2
            walks += 1
    assert walks > 7 * len(SHARES[share])


def ours(expression: str, name: str, start: int, end: int) -> list[int]:
    cron, found = compile_cron(expression), [start * 1000]
    while len(found) < 20 and (fire := cron.next_after(found[-1], name)) is not None and fire < end * 1000:
        found.append(fire)
    return [fire // 1000 for fire in found[1:]]


def test_croniter_between_changes() -> None:
    compared = 0
    for name in NAMES:
        chance, info = random.Random(f"{SEED} {name} croniter"), load_zone(name)
        for _ in range(3):
            start, expression = chance.randrange(BEGIN, END), chance.choice(PLAIN)
            segment = offsets(name).segment(start)
            end = min(start + 40 * DAY, segment[1] - 2 * DAY)
            found = ours(expression, name, start, end)
            theirs = croniter(expression, datetime.fromtimestamp(start, info), implement_cron_bug=True)
            assert found == [int(theirs.get_next(float)) for _ in found]
            compared += len(found)
    assert compared > 10_000


def test_cronsim_through_changes() -> None:
    compared = 0
    for name in NAMES:
        chance, info = random.Random(f"{SEED} {name} cronsim"), load_zone(name)
        for _ in range(4):
            change, expression = change_near(name, chance), chance.choice(PLAIN)
            if change is None:
                continue
            at, before, after = change
            start = at - chance.randrange(abs(after - before), 2 * DAY)
            minute, hour, *_ = expression.split()
            if minute.startswith("*") or hour.startswith("*"):
                continue
            found = ours(expression, name, start, at + 2 * DAY)
            theirs, expected = CronSim(expression.upper(), datetime.fromtimestamp(start, info)), list[int]()
            while len(expected) < len(found):
                fire = int(next(theirs).timestamp())
                if fire not in expected[-1:]:
                    expected.append(fire)
            assert found == expected, (name, expression, start)
            compared += len(found)
    assert compared > 1_000
